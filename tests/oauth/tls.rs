//! Whose certificates are believed: a client secret goes to nobody else.

use edge_credential_operator::{
    clock::Clock,
    http::{
        Unreachable,
        origin::{AllowedOrigins, Origin},
        route::{Deadlines, HttpClient, Route},
    },
    oauth::{Token, TokenError, TokenSource, client::HttpTokenSource},
};
use kit::sitecore::{Certificate, Scenario, Sitecore, TlsFront, hostile::CERTIFICATES};

use super::{CANARY, ID, request_to, sitecore};

/// A route on which this authority is trusted beside the system's.
fn trusting(authority: Option<&str>) -> Route {
    Route {
        authorities: authority.map(|pem| pem.as_bytes().to_vec().into()),
        proxy: None,
    }
}

/// Asks over TLS, trusting this authority beside the system's.
async fn ask(front: &TlsFront, authority: Option<&str>) -> Result<Token, TokenError> {
    let allowed: AllowedOrigins = [front.url().parse::<Origin>().unwrap()]
        .into_iter()
        .collect();
    let client = HttpClient::new(&trusting(authority), Deadlines::default()).unwrap();
    HttpTokenSource::new(allowed, client, Clock::system())
        .request(&request_to(&front.token_url()))
        .await
        .result
}

async fn refused(
    sitecore: &Sitecore,
    front: &TlsFront,
    authority: Option<&str>,
    (row, cause): (&str, Unreachable),
) {
    let error = ask(front, authority).await.expect_err(row);
    assert_eq!(error, TokenError::Unreachable(cause), "{row}");
    assert!(!format!("{error} {error:?}").contains(CANARY), "{row}");
    assert_eq!(
        (front.handshakes(), sitecore.total_requests()),
        (0, 0),
        "{row}"
    );
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_once_it_is_named() {
    let sitecore = sitecore();
    let front = TlsFront::start(&sitecore, Certificate::Valid).unwrap();
    let unknown = ("unknown", Unreachable::Untrusted);
    refused(&sitecore, &front, None, unknown).await;
    let another = TlsFront::start(&sitecore, Certificate::Valid).unwrap();
    let other = ("another", Unreachable::Untrusted);
    refused(&sitecore, &front, Some(another.authority()), other).await;

    ask(&front, Some(front.authority())).await.unwrap();
    assert_eq!((front.handshakes(), sitecore.requests(ID)), (1, 1));
    let bundle = format!("{}{}", another.authority(), front.authority());
    ask(&front, Some(&bundle)).await.unwrap();
}

#[tokio::test]
async fn no_secret_goes_to_a_server_whose_certificate_is_not_good_and_why_is_told() {
    for (certificate, cause) in CERTIFICATES {
        let sitecore = sitecore();
        let front = TlsFront::start(&sitecore, certificate).unwrap();
        let row = format!("{certificate:?}");
        refused(&sitecore, &front, Some(front.authority()), (&row, cause)).await;
    }
}

#[tokio::test]
async fn a_redirect_over_tls_is_not_followed_either() {
    let elsewhere = sitecore();
    let sitecore = sitecore();
    let front = TlsFront::start(&sitecore, Certificate::Valid).unwrap();
    for location in [elsewhere.token_url(), "//127.0.0.1:1/CANARY".into()] {
        let status = 307;
        sitecore.set_scenario(ID, Scenario::Redirect { status, location });
        let error = ask(&front, Some(front.authority())).await.unwrap_err();
        assert_eq!(error, TokenError::Redirected { status });
    }
    assert_eq!(elsewhere.calls().iter().count(), 0);
}

#[tokio::test]
async fn a_file_without_a_usable_certificate_is_refused_before_anything_is_asked() {
    let garbage = "-----BEGIN CERTIFICATE-----\nZ2FyYmFnZQ==\n-----END CERTIFICATE-----\n";
    let key = "-----BEGIN PRIVATE KEY-----\nZ2FyYmFnZQ==\n-----END PRIVATE KEY-----\n";
    for pem in ["", "CANARY", key, garbage] {
        let made = HttpClient::new(&trusting(Some(pem)), Deadlines::default());
        let error = made.expect_err(pem);
        assert!(!format!("{error} {error:?}").contains(CANARY), "{pem}");
    }
}
