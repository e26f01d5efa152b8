//! Whose certificates are believed: no token and no key goes to anybody else.

use edge_credential_operator::{
    edge_api::{Cause, Verdict},
    http::{Unreachable, route::Route},
};
use kit::sitecore::{ApiFailure, Certificate, TlsFront, hostile::CERTIFICATES};

use super::{PATIENT, PREFIX, ROUTES, World, assert_harmless};

/// The world behind this front, for who trusts this authority beside the system's.
fn behind(world: World, front: &TlsFront, authority: Option<&str>) -> World {
    let route = Route {
        authorities: authority.map(|pem| pem.as_bytes().to_vec().into()),
        proxy: None,
    };
    world.reached(&front.url(), &route, PATIENT)
}

/// Expects each call to be given up before anything is sent.
async fn refuses(world: &World, front: &TlsFront, (row, cause): (&str, Unreachable)) {
    for route in ROUTES {
        let error = world.call(route).await.result.expect_err(row);
        assert_eq!(error.cause, Cause::Unreachable(cause), "{row}: {route}");
        assert!(error.is_outage() && error.is_not_created(), "{row}");
        assert_harmless(&format!("{error} {error:?}"));
        assert_eq!(world.calls(route), 0, "{row}");
    }
    assert_eq!(front.handshakes(), 0, "{row}");
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_once_it_is_named() {
    let world = World::new().await;
    let front = TlsFront::start(&world.sitecore, Certificate::Valid).unwrap();
    let another = TlsFront::start(&world.sitecore, Certificate::Valid).unwrap();
    let world = behind(world, &front, None);
    refuses(&world, &front, ("unknown", Unreachable::Untrusted)).await;
    let world = behind(world, &front, Some(another.authority()));
    refuses(&world, &front, ("another", Unreachable::Untrusted)).await;

    let world = behind(world, &front, Some(front.authority()));
    let key = world.create(PREFIX).await.result.unwrap();
    assert_eq!(world.probe(&key).await, Ok(Verdict::Accepted));
    let hash = world.list().await.unwrap()[0].hash.clone();
    assert_eq!(world.revoke(&hash).await, Ok(()));
    world.obtain().await.unwrap();
    assert!(ROUTES.iter().all(|route| world.calls(route) == 1));
}

#[tokio::test]
async fn no_token_and_no_key_goes_to_a_server_whose_certificate_is_not_good_and_why_is_told() {
    for (certificate, cause) in CERTIFICATES {
        let world = World::new().await;
        let front = TlsFront::start(&world.sitecore, certificate).unwrap();
        let world = behind(world, &front, Some(front.authority()));
        refuses(&world, &front, (&format!("{certificate:?}"), cause)).await;
    }
}

#[tokio::test]
async fn a_redirect_over_tls_is_not_followed_either() {
    let world = World::new().await;
    let front = TlsFront::start(&world.sitecore, Certificate::Valid).unwrap();
    let world = behind(world, &front, Some(front.authority()));
    for route in ROUTES {
        let redirect = ApiFailure::Raw {
            status: 307,
            headers: vec![("location".into(), "/api/graphql/v1?CANARY".into())],
            body: Vec::new(),
        };
        let before = world.calls(route);
        world.sitecore.fail_route(route, 1, redirect);
        let error = world.call(route).await.result.unwrap_err();
        assert_eq!(error.cause, Cause::Redirected { status: 307 }, "{route}");
        assert_eq!(world.calls(route), before + 1, "{route}");
    }
    assert!(ROUTES.iter().all(|route| world.calls(route) == 1));
}
