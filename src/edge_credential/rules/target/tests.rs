//! What is rendered, found again, and left alone.

use k8s_openapi::{apimachinery::pkg::apis::meta::v1::OwnerReference, jiff::SignedDuration};
use proptest::{collection::vec, option, prelude::*, sample::Index};
use secrecy::SecretString;
use serde_json::{Value, json};

use super::*;
use crate::{
    api::{Reason, names::is_label_value, target::TargetEntry},
    cluster::secret_index::MANAGED_BY,
    edge_credential::testing::{
        ask_to_renew, at, client, credentials, jwt, object, object_with, proven,
        rotated_credentials, sound_plan, target_with, token,
    },
    rules::{
        target::{NAME, Ownership, TargetProblem, check_ownership, owners},
        token_value::find_value,
    },
};

type Edit = fn(&mut Secret);

fn find(secret: &Secret, object: &EdgeCredential) -> Option<ProvenToken> {
    find_token(secret, object)
}

fn text(secret: &Secret, key: &str) -> String {
    let value = &secret.data.as_ref().unwrap()[key];
    String::from_utf8(value.0.clone()).unwrap()
}

fn entries(pairs: &[(&str, Source)]) -> Vec<TargetEntry> {
    pairs
        .iter()
        .map(|(key, source)| TargetEntry {
            key: (*key).into(),
            from: Some(*source),
            value: None,
        })
        .collect()
}

fn set_annotation(secret: &mut Secret, key: &str, value: &str) {
    let annotations = secret.metadata.annotations.get_or_insert_default();
    annotations.insert(key.into(), value.into());
}

/// Changes the annotation's JSON.
fn edit_proof(secret: &mut Secret, edit: impl FnOnce(&mut Value)) {
    let annotations = secret.metadata.annotations.as_ref().unwrap();
    let mut proof: Value = serde_json::from_str(&annotations[PROOF]).unwrap();
    edit(&mut proof);
    set_annotation(secret, PROOF, &proof.to_string());
}

#[test]
fn every_source_is_written_as_the_reference_says() {
    let mut object = object();
    object.spec.target.data = entries(&[
        ("token", Source::AccessToken),
        ("authorization", Source::Authorization),
        ("type", Source::TokenType),
        ("scope", Source::Scope),
        ("expires", Source::ExpiresAt),
        ("expires-unix", Source::ExpiresAtUnix),
        ("issued", Source::IssuedAt),
        ("tenant", Source::TenantId),
        ("organization", Source::OrganizationId),
        ("json", Source::Json),
    ]);
    object.spec.target.data.push(TargetEntry {
        key: "constant".into(),
        from: None,
        value: Some("https://edge.example".into()),
    });
    let token = token(0, 3600);
    let access_token = token.access_token.expose_secret().to_owned();
    let secret = target_with(&object, token);
    for (key, value) in [
        ("token", access_token.clone()),
        ("authorization", format!("Bearer {access_token}")),
        ("type", "Bearer".into()),
        ("scope", "edge.admin:manage".into()),
        ("expires", "2027-01-15T09:00:00Z".into()),
        ("expires-unix", "1800003600".into()),
        ("issued", "2027-01-15T08:00:00Z".into()),
        ("tenant", "tenant-1".into()),
        ("organization", "org_1".into()),
        ("constant", "https://edge.example".into()),
    ] {
        assert_eq!(text(&secret, key), value, "{key}");
    }
    assert_eq!(
        serde_json::from_str::<Value>(&text(&secret, "json")).unwrap(),
        json!({
            "access_token": access_token,
            "token_type": "Bearer",
            "scope": "edge.admin:manage",
            "expires_at": "2027-01-15T09:00:00Z",
        })
    );
    assert_eq!(secret.data.as_ref().unwrap().len(), 11);
}

#[test]
fn what_a_token_does_not_say_is_written_as_empty() {
    let mut object = object_with(json!({"tokenRequest": {"tokenFormat": "Any"}}));
    object.spec.target.data = entries(&[
        ("token", Source::AccessToken),
        ("scope", Source::Scope),
        ("tenant", Source::TenantId),
        ("organization", Source::OrganizationId),
    ]);
    let opaque = Token {
        access_token: "opaque".into(),
        scope: None,
        tenant_id: None,
        organization_id: None,
        ..token(0, 3600)
    };
    let secret = target_with(&object, opaque);
    for key in ["scope", "tenant", "organization"] {
        assert_eq!(text(&secret, key), "", "{key}");
    }
}

#[test]
fn a_new_target_is_opaque_and_owned_and_marked() {
    let object = object_with(json!({"target": {
        "name": "token",
        "labels": {"team": "web"},
        "annotations": {"note": "hello"},
    }}));
    let plan = sound_plan(&object);
    let secret = render(&object, &plan, &proven(token(0, 3600)), None);
    assert_eq!(secret.type_.as_deref(), Some("Opaque"));
    assert_eq!(secret.metadata.name.as_deref(), Some("token"));
    assert_eq!(secret.metadata.namespace.as_deref(), Some("shop"));
    assert_eq!(secret.metadata.uid, None);
    assert_eq!(
        secret.metadata.labels,
        Some(
            [
                ("team".into(), "web".into()),
                (MANAGED_BY.0.into(), MANAGED_BY.1.into()),
                (NAME.into(), "edge".into()),
            ]
            .into()
        )
    );
    assert_eq!(
        secret.metadata.annotations.as_ref().unwrap()["note"],
        "hello"
    );
    assert_eq!(
        secret.metadata.owner_references,
        Some(vec![OwnerReference {
            api_version: "edgecredentials.io/v1alpha1".into(),
            kind: "EdgeCredential".into(),
            name: "edge".into(),
            uid: "uid-1".into(),
            controller: Some(true),
            block_owner_deletion: Some(false),
        }])
    );
    assert_eq!(check_ownership(&secret, &object), Ok(Ownership::Ours));
}

#[test]
fn only_a_secret_made_for_this_very_edge_credential_may_be_written() {
    fn owner(secret: &mut Secret) -> &mut OwnerReference {
        &mut secret.metadata.owner_references.as_mut().unwrap()[0]
    }
    let rows: [(&str, Edit, Result<Ownership, TargetProblem>); 17] = [
        ("ours", |_| {}, Ok(Ownership::Ours)),
        (
            "ours beside another owner",
            |secret| {
                let mut other = owner(secret).clone();
                other.uid = "uid-2".into();
                other.controller = None;
                let owners = secret.metadata.owner_references.as_mut().unwrap();
                owners.insert(0, other);
            },
            Ok(Ownership::Ours),
        ),
        (
            "ours after a version was added to the API",
            |secret| owner(secret).api_version = "edgecredentials.io/v1".into(),
            Ok(Ownership::Ours),
        ),
        (
            "no owner",
            |secret| secret.metadata.owner_references = None,
            Ok(Ownership::Adoptable(TargetProblem::NotOwned)),
        ),
        (
            "not as controller",
            |secret| owner(secret).controller = None,
            Ok(Ownership::Adoptable(TargetProblem::NotOwned)),
        ),
        (
            "controller: false",
            |secret| owner(secret).controller = Some(false),
            Ok(Ownership::Adoptable(TargetProblem::NotOwned)),
        ),
        (
            "another kind",
            |secret| {
                owner(secret).kind = "Deployment".into();
                owner(secret).api_version = "apps/v1".into();
            },
            Err(TargetProblem::NotOwned),
        ),
        (
            "the other kind of this operator",
            |secret| owner(secret).kind = "EdgeToken".into(),
            Err(TargetProblem::OwnedByAnother),
        ),
        (
            "another group",
            |secret| owner(secret).api_version = "example.com/v1alpha1".into(),
            Err(TargetProblem::NotOwned),
        ),
        (
            "no group",
            |secret| owner(secret).api_version = "v1".into(),
            Err(TargetProblem::NotOwned),
        ),
        (
            "an earlier one of the same name",
            |secret| owner(secret).uid = "uid-2".into(),
            Ok(Ownership::Adoptable(TargetProblem::OwnedByPredecessor)),
        ),
        (
            "one of another name",
            |secret| {
                owner(secret).uid = "uid-2".into();
                owner(secret).name = "other".into();
            },
            Err(TargetProblem::OwnedByAnother),
        ),
        (
            "an earlier one of the same name, and immutable",
            |secret| {
                owner(secret).uid = "uid-2".into();
                secret.immutable = Some(true);
            },
            Err(TargetProblem::OwnedByPredecessor),
        ),
        (
            "no owner, and immutable",
            |secret| {
                secret.metadata.owner_references = None;
                secret.immutable = Some(true);
            },
            Err(TargetProblem::NotOwned),
        ),
        (
            "another type",
            |secret| secret.type_ = Some("kubernetes.io/service-account-token".into()),
            Err(TargetProblem::NotOwned),
        ),
        (
            "no type",
            |secret| secret.type_ = None,
            Err(TargetProblem::NotOwned),
        ),
        (
            "immutable, which is no question of whose it is",
            |secret| secret.immutable = Some(true),
            Ok(Ownership::Ours),
        ),
    ];
    for (row, change, expected) in rows {
        let object = object();
        let mut secret = target_with(&object, token(0, 3600));
        change(&mut secret);
        assert_eq!(check_ownership(&secret, &object), expected, "{row}");
    }
    let mut without_uid = object();
    let secret = target_with(&without_uid, token(0, 3600));
    without_uid.metadata.uid = None;
    assert_eq!(
        check_ownership(&secret, &without_uid),
        Err(TargetProblem::OwnedByAnother)
    );
}

#[test]
fn each_problem_has_its_reason() {
    for (problem, reason) in [
        (TargetProblem::NotOwned, Reason::TargetNotOwned),
        (TargetProblem::OwnedByAnother, Reason::TargetConflict),
        (TargetProblem::Immutable, Reason::TargetImmutable),
    ] {
        assert_eq!(problem.reason(), reason);
        assert!(problem.to_string().starts_with("it "));
    }
}

#[test]
fn a_token_for_other_parameters_is_none() {
    let object =
        object_with(json!({"tokenRequest": {"scopes": ["a", "b"], "extraParameters": {"x": "1"}}}));
    let secret = target_with(&object, token(0, 3600));
    assert!(find(&secret, &object).is_some());
    for spec in [
        json!({"tokenRequest": {"url": "https://auth-beta.sitecorecloud.io/oauth/token"}}),
        json!({"tokenRequest": {"url": "https://auth.sitecorecloud.io/oauth/token?x"}}),
        json!({"tokenRequest": {"audience": "https://other.example"}}),
        json!({"tokenRequest": {"scopes": []}}),
        json!({"tokenRequest": {"scopes": ["a"]}}),
        json!({"tokenRequest": {"scopes": ["a", "b", "c"]}}),
        json!({"tokenRequest": {"extraParameters": {}}}),
        json!({"tokenRequest": {"extraParameters": {"x": "2"}}}),
        json!({"tokenRequest": {"extraParameters": {"x": "1", "y": ""}}}),
    ] {
        let mut other =
            json!({"tokenRequest": {"scopes": ["a", "b"], "extraParameters": {"x": "1"}}});
        for (field, value) in spec["tokenRequest"].as_object().unwrap() {
            other["tokenRequest"][field] = value.clone();
        }
        assert!(find(&secret, &object_with(other)).is_none(), "{spec}");
    }
    for same in [
        json!({"tokenRequest": {"scopes": ["b", "a"], "extraParameters": {"x": "1"}}}),
        json!({
            "tokenRequest": {
                "scopes": ["a", "b"],
                "extraParameters": {"x": "1"},
                "format": "JSON",
                "clientAuthentication": "ClientSecretBasic",
                "tokenFormat": "Any",
            },
            "renewBefore": "8h",
        }),
    ] {
        assert!(
            find(&secret, &object_with(same.clone())).is_some(),
            "{same}"
        );
    }
}

#[test]
fn an_opaque_token_is_none_once_a_jwt_is_wanted() {
    let any = object_with(json!({"tokenRequest": {"tokenFormat": "Any"}}));
    let opaque = Token {
        access_token: "opaque".into(),
        ..token(0, 3600)
    };
    let secret = target_with(&any, opaque);
    assert!(find(&secret, &any).is_some());
    assert!(find(&secret, &object()).is_none());
}

#[test]
fn other_credentials_leave_the_token_valid_but_are_noticed() {
    let object = object();
    let found = find(&target_with(&object, token(0, 3600)), &object).unwrap();
    assert!(found.is_of(&credentials().client));
    assert_eq!(found.token.tenant_id.as_deref(), Some("tenant-1"));
    assert_eq!(found.token.organization_id.as_deref(), Some("org_1"));
    assert!(!found.is_of(&rotated_credentials().client));
    let mut swapped = client("client-1");
    swapped.client_id = credentials().client.client_secret;
    assert!(!found.is_of(&swapped));
}

#[test]
fn a_secret_without_a_sound_proof_holds_no_token() {
    let object = object();
    let edits: [(&str, Edit); 9] = [
        ("no annotations", |secret| {
            secret.metadata.annotations = None
        }),
        ("no proof", |secret| {
            secret.metadata.annotations.as_mut().unwrap().remove(PROOF);
        }),
        ("an empty proof", |secret| set_annotation(secret, PROOF, "")),
        ("no data", |secret| secret.data = None),
        ("another version", |secret| {
            edit_proof(secret, |proof| proof["version"] = 2.into());
        }),
        ("another expiry", |secret| {
            edit_proof(secret, |proof| {
                proof["expiresAt"] = at(3601).to_string().into()
            });
        }),
        ("a later issue", |secret| {
            edit_proof(secret, |proof| proof["issuedAt"] = at(1).to_string().into());
        }),
        ("another scope", |secret| {
            edit_proof(secret, |proof| {
                proof["scope"] = "edge.admin:manage more".into()
            });
        }),
        ("no scope", |secret| {
            edit_proof(secret, |proof| {
                proof.as_object_mut().unwrap().remove("scope");
            });
        }),
    ];
    for (row, edit) in edits {
        let mut secret = target_with(&object, token(0, 3600));
        edit(&mut secret);
        assert!(find(&secret, &object).is_none(), "{row}");
    }
}

#[test]
fn a_value_that_cannot_stand_in_a_header_is_no_token_whoever_proves_it() {
    let mut object = object_with(json!({"tokenRequest": {"tokenFormat": "Any"}}));
    for source in CARRIERS {
        object.spec.target.data = entries(&[("token", source)]);
        for bytes in [
            "",
            "=",
            "two words",
            "line\nX-Injected: yes",
            "\"quoted\"",
            "é",
        ] {
            let bad = Token {
                access_token: bytes.into(),
                ..token(0, 3600)
            };
            let secret = target_with(&object, bad);
            assert!(find(&secret, &object).is_none(), "{source:?} {bytes}");
        }
    }
}

#[test]
fn times_are_compared_to_their_last_digit() {
    let object = object();
    for member in ["issuedAt", "expiresAt"] {
        let mut secret = target_with(&object, token(0, 3600));
        edit_proof(&mut secret, |proof| {
            let time = proof[member].as_str().unwrap().replace('Z', ".5Z");
            proof[member] = time.into();
        });
        assert!(find(&secret, &object).is_none(), "{member}");
    }
}

#[test]
fn a_forged_proof_puts_nothing_into_the_status_that_could_not_stand_there() {
    let object = object();
    let forge = |change: fn(&mut Token)| {
        let mut token = token(0, 3600);
        change(&mut token);
        // Whoever can write the Secret can compute the codes.
        find(&target_with(&object, token), &object).is_some()
    };
    assert!(forge(|_| {}));
    assert!(!forge(|token| token.scope = Some("two\nlines".into())));
    assert!(!forge(|token| token.scope = Some("x".repeat(5000))));
    assert!(!forge(|token| token.issued_at = token.expires_at));
    assert!(!forge(|token| token.issued_at = Timestamp::MIN));
}

#[test]
fn whoever_has_the_proof_but_not_the_token_cannot_make_up_another_token() {
    let object = object();
    let mut secret = target_with(&object, token(0, 3600));
    let other = target_with(&object, token(10, 3600));
    secret.data = other.data;
    assert!(find(&secret, &object).is_none());
}

#[test]
fn what_others_put_there_stays_and_what_an_earlier_spec_put_there_goes() {
    let earlier = object_with(json!({"target": {
        "labels": {"old": "1", "kept": "1", "changed": "1"},
        "annotations": {"old-note": "1"},
    }}));
    let mut existing = target_with(&earlier, token(0, 3600));
    let labels = existing.metadata.labels.as_mut().unwrap();
    labels.insert("foreign".into(), "x".into());
    set_annotation(&mut existing, "foreign-note", "x");
    existing.immutable = Some(false);
    let mut foreign_owner = existing.metadata.owner_references.as_ref().unwrap()[0].clone();
    foreign_owner.uid = "uid-2".into();
    foreign_owner.controller = None;
    let owners = existing.metadata.owner_references.as_mut().unwrap();
    owners.push(foreign_owner);

    let object = object_with(json!({"target": {"labels": {"kept": "1", "changed": "2"}}}));
    let proven = find(&existing, &object).unwrap();
    let secret = render(&object, &sound_plan(&object), &proven, Some(&existing));
    let labels = secret.metadata.labels.unwrap();
    let labels: Vec<_> = labels
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_str()))
        .collect();
    assert_eq!(
        labels,
        [
            MANAGED_BY,
            ("changed", "2"),
            (NAME, "edge"),
            ("foreign", "x"),
            ("kept", "1")
        ]
    );
    let annotations = secret.metadata.annotations.unwrap();
    let annotations: Vec<_> = annotations.keys().collect();
    assert_eq!(annotations, [PROOF, "foreign-note"]);
    assert_eq!(secret.metadata.owner_references.unwrap().len(), 2);
    assert_eq!(secret.immutable, Some(false));
    assert_eq!(secret.metadata.uid, existing.metadata.uid);
    assert_eq!(
        secret.metadata.resource_version,
        existing.metadata.resource_version
    );
}

#[test]
fn a_proof_that_was_edited_cannot_have_the_marks_of_kubernetes_or_our_own_removed() {
    let object = object();
    let foreign = |secret: &mut Secret| {
        let labels = secret.metadata.labels.as_mut().unwrap();
        labels.insert("node.kubernetes.io/foreign".into(), "x".into());
    };
    let mut existing = target_with(&object, token(0, 3600));
    foreign(&mut existing);
    edit_proof(&mut existing, |proof| {
        proof["labels"] = json!([MANAGED_BY.0, NAME, "node.kubernetes.io/foreign"]);
        proof["annotations"] = json!([PROOF]);
    });
    let secret = render(
        &object,
        &sound_plan(&object),
        &find(&existing, &object).unwrap(),
        Some(&existing),
    );
    let mut right = target_with(&object, token(0, 3600));
    foreign(&mut right);
    assert_eq!(secret, right);
}

#[test]
fn a_label_has_the_name_of_the_edge_credential_or_as_much_of_it_as_fits() {
    let label = |name: &str| {
        let mut object = object();
        object.metadata.name = Some(name.into());
        let secret = target_with(&object, token(0, 3600));
        secret.metadata.labels.unwrap()[NAME].clone()
    };
    let long = "a".repeat(63);
    assert_eq!(label("edge.admin"), "edge.admin");
    assert_eq!(label(&long), long);
    let names = [
        format!("{long}b"),
        format!("{long}c"),
        "a.".repeat(126) + "a",
    ];
    let labels = names.map(|name| label(&name));
    for label in &labels {
        assert!(label.len() == 63 && is_label_value(label), "{label}");
    }
    assert_ne!(labels[0], labels[1]);
    let kept = "a".repeat(52);
    assert_eq!(labels[0], format!("{kept}-97aa7c540d"), "SHA-256");
}

#[test]
fn a_label_that_says_whose_a_secret_is_goes_with_the_spec_that_named_it() {
    let named = object_with(json!({"target": {"labels": {"app.kubernetes.io/part-of": "shop"}}}));
    let existing = target_with(&named, token(0, 3600));
    let part_of = |secret: &Secret| {
        let labels = secret.metadata.labels.as_ref().unwrap();
        labels.get("app.kubernetes.io/part-of").cloned()
    };
    assert_eq!(part_of(&existing).as_deref(), Some("shop"));
    let object = object();
    let proven = find(&existing, &object).unwrap();
    let secret = render(&object, &sound_plan(&object), &proven, Some(&existing));
    assert_eq!(part_of(&secret), None);
}

/// Any change of what is ours in a target is seen by comparing it with what it should be.
#[test]
fn whatever_is_changed_around_the_token_is_set_right() {
    let object = object_with(json!({"target": {
        "labels": {"team": "web"},
        "annotations": {"note": "hello"},
        "data": [{"key": "a", "from": "AccessToken"}, {"key": "b", "value": "x"}],
    }}));
    let plan = sound_plan(&object);
    let right = target_with(&object, token(0, 3600));
    let edits: [(&str, Edit); 9] = [
        ("a constant is changed", |secret| {
            let data = secret.data.as_mut().unwrap();
            data.insert("b".into(), ByteString(b"y".into()));
        }),
        ("a key is added", |secret| {
            let data = secret.data.as_mut().unwrap();
            data.insert("c".into(), ByteString(b"y".into()));
        }),
        ("a key is removed", |secret| {
            secret.data.as_mut().unwrap().remove("b");
        }),
        ("the token is under another key too", |secret| {
            let data = secret.data.as_mut().unwrap();
            let token = data["a"].clone();
            data.insert("c".into(), token);
        }),
        ("a label is changed", |secret| {
            let labels = secret.metadata.labels.as_mut().unwrap();
            labels.insert("team".into(), "other".into());
        }),
        ("all labels are removed", |secret| {
            secret.metadata.labels = None
        }),
        ("an annotation is removed", |secret| {
            secret.metadata.annotations.as_mut().unwrap().remove("note");
        }),
        ("the owner's name is changed", |secret| {
            secret.metadata.owner_references.as_mut().unwrap()[0].name = "other".into();
        }),
        ("the deletion of the owner is blocked", |secret| {
            let owner = &mut secret.metadata.owner_references.as_mut().unwrap()[0];
            owner.block_owner_deletion = Some(true);
        }),
    ];
    for (row, edit) in edits {
        let mut edited = right.clone();
        edit(&mut edited);
        let proven = find(&edited, &object).expect(row);
        let rendered = render(&object, &plan, &proven, Some(&edited));
        assert_ne!(rendered, edited, "{row}");
        assert_eq!(rendered, right, "{row}");
    }
}

fn access_token() -> BoxedStrategy<String> {
    prop_oneof![
        "[A-Za-z0-9._~+/-]{1,60}={0,2}",
        "Bearer[A-Za-z0-9._~+/-]{0,20}",
        (0..100_000_i64).prop_map(|id| jwt(&json!({"id": id}))),
    ]
    .boxed()
}

fn some_token() -> BoxedStrategy<Token> {
    let scope = option::of("[!#-%'-;=?-Z^-~]{1,20}( [!#-%'-;=?-Z^-~]{1,20}){0,3}");
    (access_token(), scope, 0..100_000_i64, 1..100_000_i64)
        .prop_map(|(access_token, scope, issued, lifetime)| Token {
            access_token: access_token.into(),
            scope,
            tenant_id: None,
            organization_id: None,
            issued_at: at(issued),
            expires_at: at(issued) + SignedDuration::from_secs(lifetime),
        })
        .boxed()
}

const CARRIERS: [Source; 3] = [Source::AccessToken, Source::Authorization, Source::Json];

/// Any mapping that carries the token, among other keys and constants.
fn mapping() -> BoxedStrategy<Vec<TargetEntry>> {
    let others = [
        Source::AccessToken,
        Source::Authorization,
        Source::TokenType,
        Source::Scope,
        Source::ExpiresAt,
        Source::ExpiresAtUnix,
        Source::IssuedAt,
        Source::TenantId,
        Source::OrganizationId,
        Source::Json,
    ];
    let other = prop_oneof![
        prop::sample::select(others.to_vec()).prop_map(Ok),
        access_token().prop_map(Err),
        any::<String>().prop_map(Err),
    ];
    let carrier = prop::sample::select(CARRIERS.to_vec()).prop_map(Ok);
    (vec(other, 0..6), carrier, any::<Index>())
        .prop_map(|(mut sources, carrier, place)| {
            sources.insert(place.index(sources.len() + 1), carrier);
            let entry = |(number, source): (usize, Result<Source, String>)| TargetEntry {
                key: format!("key-{number}"),
                from: source.as_ref().ok().copied(),
                value: source.err(),
            };
            sources.into_iter().enumerate().map(entry).collect()
        })
        .boxed()
}

fn essence(found: &ProvenToken) -> (&str, Option<&str>, Timestamp, Timestamp) {
    let token = &found.token;
    (
        token.access_token.expose_secret(),
        token.scope.as_deref(),
        token.issued_at,
        token.expires_at,
    )
}

proptest! {
    #[test]
    fn whatever_is_rendered_is_found_again(
        token in some_token(),
        data in mapping(),
        renew_request in option::of("[ -~]{1,64}"),
    ) {
        let mut object = object_with(json!({"tokenRequest": {"tokenFormat": "Any"}}));
        object.spec.target.data = data;
        let plan = sound_plan(&object);
        let client = credentials().client;
        if let Some(request) = &renew_request {
            ask_to_renew(&mut object, request);
        }
        let proven = ProvenToken::new(token, &client, &object, &plan);
        let secret = render(&object, &plan, &proven, None);

        let found = find_token(&secret, &object).expect("the token that was rendered");
        prop_assert_eq!(essence(&found), essence(&proven));
        prop_assert_eq!(&found.renew_request, &renew_request);
        prop_assert!(found.is_of(&client) && !found.is_of(&rotated_credentials().client));

        let again = render(&object, &plan, &found, Some(&secret));
        prop_assert_eq!(serde_json::to_string(&again)?, serde_json::to_string(&secret)?);
    }

    #[test]
    fn a_single_byte_of_the_token_edited_makes_it_no_token(
        token in some_token(),
        carrier in 0..2_usize,
        place in any::<Index>(),
        change in 1..=255_u8,
    ) {
        let mut object = object_with(json!({"tokenRequest": {"tokenFormat": "Any"}}));
        object.spec.target.data = entries(&[("token", CARRIERS[carrier])]);
        let mut secret = target_with(&object, token);
        let value = &mut secret.data.as_mut().unwrap().get_mut("token").unwrap().0;
        let place = place.index(value.len());
        value[place] ^= change;
        prop_assert!(find(&secret, &object).is_none());
    }

    #[test]
    fn a_single_byte_edited_anywhere_never_changes_what_is_believed(
        token in some_token(),
        data in mapping(),
        of_annotation in any::<bool>(),
        place in any::<Index>(),
        byte in 0..128_u8,
    ) {
        let mut object = object_with(json!({"tokenRequest": {"tokenFormat": "Any"}}));
        object.spec.target.data = data;
        let mut secret = target_with(&object, token);
        let before = find(&secret, &object).unwrap();
        if of_annotation {
            let annotations = secret.metadata.annotations.as_mut().unwrap();
            let proof = annotations.get_mut(PROOF).unwrap();
            let mut bytes = proof.clone().into_bytes();
            let place = place.index(bytes.len());
            bytes[place] = byte;
            *proof = String::from_utf8(bytes).unwrap();
        } else {
            let data = secret.data.as_mut().unwrap();
            let key = data.keys().nth(place.index(data.len())).unwrap().clone();
            let value = &mut data.get_mut(&key).unwrap().0;
            if !value.is_empty() {
                let place = place.index(value.len());
                value[place] = byte;
            }
        }
        if let Some(found) = find(&secret, &object) {
            prop_assert_eq!(essence(&found), essence(&before));
        }
    }

    #[test]
    fn an_arbitrary_annotation_and_value_is_no_token_and_no_panic(
        annotation in any::<String>(),
        value in vec(any::<u8>(), 0..100),
    ) {
        let object = object_with(json!({"tokenRequest": {"tokenFormat": "Any"}}));
        let mut secret = target_with(&object, token(0, 3600));
        set_annotation(&mut secret, PROOF, &annotation);
        secret.data = Some([("key".into(), ByteString(value))].into());
        prop_assert!(find(&secret, &object).is_none());
    }
}

#[test]
fn a_proof_of_a_later_version_of_this_program_is_read_with_what_is_known_of_it() {
    let object = object();
    let mut secret = target_with(&object, token(0, 3600));
    let annotations = secret.metadata.annotations.as_mut().unwrap();
    for proof in annotations.values_mut() {
        *proof = proof.replacen('{', r#"{"fieldOfTomorrow":{"a":[1]},"#, 1);
        assert!(proof.contains("fieldOfTomorrow"));
    }
    assert!(find_token(&secret, &object).is_some());
}

#[test]
fn of_the_owners_only_this_object_and_one_that_it_follows_are_replaced() {
    let object = object();
    let ours = owners(&object, None).remove(0);
    assert_eq!(
        (
            ours.uid.as_str(),
            ours.controller,
            ours.block_owner_deletion
        ),
        ("uid-1", Some(true), Some(false))
    );
    let owner = |uid: &str, kind: &str, controller| OwnerReference {
        uid: uid.into(),
        kind: kind.into(),
        controller,
        ..ours.clone()
    };
    let predecessor = owner("uid-2", "EdgeCredential", Some(true));
    let bystander = owner("uid-3", "EdgeCredential", None);
    let deployment = owner("uid-4", "Deployment", Some(true));
    let unmarked = owner("uid-1", "EdgeCredential", None);
    for (existing, expected) in [
        (vec![ours.clone()], vec![ours.clone()]),
        (vec![unmarked], vec![ours.clone()]),
        (
            vec![bystander.clone(), predecessor.clone()],
            vec![bystander.clone(), ours.clone()],
        ),
        (
            vec![deployment.clone(), ours.clone()],
            vec![deployment.clone(), ours.clone()],
        ),
        (
            vec![bystander.clone(), deployment.clone()],
            vec![bystander, deployment, ours.clone()],
        ),
    ] {
        assert_eq!(owners(&object, Some(&existing)), expected, "{existing:?}");
    }
}

#[test]
fn the_key_that_has_the_token_is_tried_first_and_of_others_no_more_than_a_target_can_have() {
    let mut object = object();
    object.spec.target.data =
        entries(&[("type", Source::TokenType), ("token", Source::AccessToken)]);
    let written = target_with(&object, token(0, 3600));
    let with_others = |count: usize| {
        let mut secret = written.clone();
        let data = secret.data.as_mut().unwrap();
        for number in 0..count {
            data.insert(format!("a-{number:05}"), ByteString(b"opaque".to_vec()));
        }
        secret
    };
    let is_found = |secret: &Secret| {
        let wanted = |value: &SecretString| value.expose_secret() == text(&written, "token");
        let found = find_value(secret, wanted).is_some();
        assert_eq!(find(secret, &object).is_some(), found);
        found
    };
    assert!(is_found(&with_others(20_000)));
    // Where the annotation does not name it.
    for (others, expected) in [(63, true), (64, false)] {
        let mut secret = with_others(others);
        edit_proof(&mut secret, |proof| proof["key"] = Value::Null);
        assert_eq!(is_found(&secret), expected, "{others}");
        edit_proof(&mut secret, |proof| proof["key"] = json!("type"));
        assert_eq!(is_found(&secret), others < 63, "{others}");
    }
}
