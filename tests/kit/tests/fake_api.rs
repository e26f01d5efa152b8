//! The fake API behaves as an API server where an operator can tell, and lives through days on a paused clock.

use std::{collections::BTreeMap, pin::pin, time::Duration};

use futures::{Stream, StreamExt, TryStreamExt};
use k8s_openapi::{
    ByteString,
    api::{
        authorization::v1::{
            ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
        },
        coordination::v1::Lease,
        core::v1::Secret,
        events::v1::Event as ClusterEvent,
    },
};
use kit::fake_api::{FakeApi, Fault, NamespaceState, Verb};
use kube::{
    Api, CustomResource, Resource, ResourceExt,
    api::{
        DeleteParams, ListParams, ObjectMeta, PartialObjectMeta, Patch, PatchParams, PostParams,
        Preconditions, WatchEvent, WatchParams,
    },
    core::Status,
    runtime::{
        WatchStreamExt,
        events::{Event, EventType, Recorder, Reporter},
        watcher::{self, watcher},
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

const NS: &str = "storefront";
const DAY: Duration = Duration::from_hours(24);

/// As much of the real resource as these tests need.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "edgecredentials.io",
    version = "v1alpha1",
    kind = "EdgeCredential",
    namespaced,
    derive = "PartialEq",
    status = "EdgeCredentialStatus",
    schema = "disabled"
)]
struct EdgeCredentialSpec {
    #[serde(default)]
    audience: String,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct EdgeCredentialStatus {
    #[serde(default)]
    passes: u64,
}

fn credential(name: &str) -> EdgeCredential {
    let mut credential = EdgeCredential::new(name, EdgeCredentialSpec::default());
    credential.metadata.namespace = Some(NS.to_owned());
    credential
}

fn secret(name: &str, value: &str) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(NS.to_owned()),
            ..ObjectMeta::default()
        },
        data: Some(BTreeMap::from([(
            "token".to_owned(),
            ByteString(value.into()),
        )])),
        ..Secret::default()
    }
}

fn labelled(name: &str, app: &str) -> Secret {
    let mut secret = secret(name, "x");
    secret.labels_mut().insert("app".to_owned(), app.to_owned());
    secret
}

fn owned(name: &str, owners: &[&EdgeCredential]) -> Secret {
    let mut secret = secret(name, "x");
    let references = owners.iter().filter_map(|o| o.controller_owner_ref(&()));
    secret.metadata.owner_references = Some(references.collect());
    secret
}

fn api<K>(fake: &FakeApi) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    Api::namespaced(fake.client(), NS)
}

fn post() -> PostParams {
    PostParams::default()
}

fn refusal<T: std::fmt::Debug>(result: kube::Result<T>) -> Status {
    match result {
        Err(kube::Error::Api(status)) => *status,
        other => panic!("not refused: {other:?}"),
    }
}

fn code<T: std::fmt::Debug>(result: kube::Result<T>) -> u16 {
    refusal(result).code
}

// === Create ===

#[tokio::test(start_paused = true)]
async fn creating_sets_what_the_server_sets() {
    let fake = FakeApi::new();
    sleep(Duration::from_millis(90_500)).await;
    let made = api(&fake).create(&post(), &credential("a")).await.unwrap();
    let other = api(&fake).create(&post(), &secret("b", "x")).await.unwrap();

    assert_eq!(made.metadata.generation, Some(1));
    assert_eq!(
        other.metadata.generation, None,
        "Secrets count no generations"
    );
    assert_ne!(made.uid(), other.uid());
    assert_eq!(made.uid().unwrap().len(), 36);
    let versions = [made.resource_version(), other.resource_version()];
    assert_eq!(versions.map(Option::unwrap), ["1", "2"]);
    let created = made.creation_timestamp().unwrap().0.to_string();
    assert_eq!(created, "2026-01-01T00:01:30Z");
    assert_eq!(other.type_.as_deref(), Some("Opaque"));
    assert_eq!(api::<Secret>(&fake).get("b").await.unwrap(), other);
}

#[tokio::test(start_paused = true)]
async fn the_wall_clock_can_be_the_tests_own() {
    let fake = FakeApi::with_clock(|| k8s_openapi::jiff::Timestamp::UNIX_EPOCH);
    let made = api(&fake).create(&post(), &secret("a", "x")).await.unwrap();
    assert_eq!(made.creation_timestamp().unwrap().0.as_second(), 0);
}

#[tokio::test(start_paused = true)]
async fn creating_what_exists_is_refused() {
    let fake = FakeApi::new();
    fake.apply_object(&secret("a", "x"));
    let status = refusal(api(&fake).create(&post(), &secret("a", "y")).await);
    assert!(status.is_already_exists(), "{status:?}");
    assert_eq!(status.code, 409);
}

#[tokio::test(start_paused = true)]
async fn a_secret_with_two_controllers_is_invalid() {
    let fake = FakeApi::new();
    let (a, b) = (
        fake.apply_object(&credential("a")),
        fake.apply_object(&credential("b")),
    );
    let secrets = api::<Secret>(&fake);
    assert_eq!(
        code(secrets.create(&post(), &owned("s", &[&a, &b])).await),
        422
    );
}

#[tokio::test(start_paused = true)]
async fn string_data_becomes_data() {
    let fake = FakeApi::new();
    let mut new = secret("a", "x");
    new.string_data = Some(BTreeMap::from([("more".to_owned(), "y".to_owned())]));
    let made = api(&fake).create(&post(), &new).await.unwrap();
    let data = made.data.unwrap();
    assert_eq!(
        (&data["token"].0[..], &data["more"].0[..]),
        (&b"x"[..], &b"y"[..])
    );
    assert_eq!(made.string_data, None);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_created_in_a_namespace_that_goes_or_is_gone() {
    let fake = FakeApi::new();
    fake.set_namespace(NS, NamespaceState::Terminating);
    let status = refusal(api(&fake).create(&post(), &secret("a", "x")).await);
    assert_eq!(status.code, 403);
    assert_eq!(
        status.details.unwrap().causes[0].reason,
        "NamespaceTerminating"
    );

    fake.set_namespace(NS, NamespaceState::Absent);
    let status = refusal(api(&fake).create(&post(), &secret("a", "x")).await);
    assert_eq!(status.details.unwrap().kind, "namespaces");
}

#[tokio::test(start_paused = true)]
async fn an_absent_object_is_not_found_by_any_verb() {
    let fake = FakeApi::new();
    let secrets = api::<Secret>(&fake);
    assert_eq!(secrets.get_opt("a").await.unwrap(), None);
    assert_eq!(code(secrets.get("a").await), 404);
    assert_eq!(
        code(secrets.replace("a", &post(), &secret("a", "x")).await),
        404
    );
    assert_eq!(
        code(secrets.delete("a", &DeleteParams::default()).await),
        404
    );
    let patch = Patch::Merge(json!({"type": "x"}));
    assert_eq!(
        code(secrets.patch("a", &PatchParams::default(), &patch).await),
        404
    );
}

// === Replace ===

#[tokio::test(start_paused = true)]
async fn a_replacement_must_know_the_current_version() {
    let fake = FakeApi::new();
    let secrets = api::<Secret>(&fake);
    let first = fake.apply_object(&secret("a", "1"));
    let mut next = first.clone();
    next.data = secret("a", "2").data;
    let second = secrets.replace("a", &post(), &next).await.unwrap();
    assert_ne!(second.resource_version(), first.resource_version());

    assert!(refusal(secrets.replace("a", &post(), &next).await).is_conflict());
    next.metadata.resource_version = None;
    let unconditional = secrets
        .replace("a", &post(), &secret("a", "3"))
        .await
        .unwrap();
    assert_eq!(unconditional.uid(), first.uid());

    next.metadata.uid = Some("another".to_owned());
    assert_eq!(code(secrets.replace("a", &post(), &next).await), 409);
}

#[tokio::test(start_paused = true)]
async fn a_custom_resource_is_not_replaced_without_a_version() {
    let fake = FakeApi::new();
    fake.apply_object(&credential("a"));
    assert_eq!(
        code(api(&fake).replace("a", &post(), &credential("a")).await),
        422
    );
}

#[tokio::test(start_paused = true)]
async fn a_replacement_that_changes_nothing_is_no_new_version() {
    let fake = FakeApi::new();
    let first = fake.apply_object(&secret("a", "1"));
    let before = fake.revision();
    let second = api(&fake).replace("a", &post(), &first).await.unwrap();
    assert_eq!((second, fake.revision()), (first, before));
}

#[tokio::test(start_paused = true)]
async fn what_is_immutable_in_a_secret_stays() {
    let fake = FakeApi::new();
    let mut fixed = secret("a", "1");
    fixed.immutable = Some(true);
    fixed = fake.apply_object(&fixed);
    let secrets = api::<Secret>(&fake);
    let change = |change: &dyn Fn(&mut Secret)| {
        let mut changed = fixed.clone();
        change(&mut changed);
        changed
    };
    for refused in [
        change(&|s| s.data = None),
        change(&|s| s.immutable = None),
        change(&|s| s.type_ = Some("kubernetes.io/tls".to_owned())),
    ] {
        assert_eq!(code(secrets.replace("a", &post(), &refused).await), 422);
    }
    let labelled = change(&|s| drop(s.labels_mut().insert("a".to_owned(), "b".to_owned())));
    secrets.replace("a", &post(), &labelled).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lease_can_be_created_by_replacing_it_but_not_over_a_newer_one() {
    let fake = FakeApi::new();
    let leases = api::<Lease>(&fake);
    let lease = Lease {
        metadata: ObjectMeta {
            name: Some("leader".to_owned()),
            ..ObjectMeta::default()
        },
        ..Lease::default()
    };
    leases.replace("leader", &post(), &lease).await.unwrap();
    assert_eq!(code(leases.replace("leader", &post(), &lease).await), 422);
}

#[tokio::test(start_paused = true)]
async fn spec_and_status_are_written_apart_and_only_the_spec_counts() {
    let fake = FakeApi::new();
    let credentials = api::<EdgeCredential>(&fake);
    let status = |passes| Some(EdgeCredentialStatus { passes });
    let mut new = credential("a");
    new.status = status(1);
    let mut made = credentials.create(&post(), &new).await.unwrap();
    assert_eq!(made.status, None, "a new object has no status");

    made.spec.audience = "x".to_owned();
    made.status = status(2);
    let mut made = credentials.replace("a", &post(), &made).await.unwrap();
    assert_eq!((made.metadata.generation, &made.status), (Some(2), &None));

    made.spec.audience = "y".to_owned();
    made.status = status(3);
    let made = credentials
        .replace_status("a", &post(), &made)
        .await
        .unwrap();
    assert_eq!(
        (made.metadata.generation, &made.status),
        (Some(2), &status(3))
    );
    assert_eq!(made.spec.audience, "x");

    let edited: EdgeCredential = fake.edit(NS, "a", |o| o["status"] = Value::Null);
    assert_eq!((edited.metadata.generation, edited.status), (Some(2), None));
    let annotate = Patch::Merge(json!({"metadata": {"annotations": {"a": "b"}}}));
    let made = credentials
        .patch("a", &PatchParams::default(), &annotate)
        .await
        .unwrap();
    assert_eq!(made.metadata.generation, Some(2));
}

// === Patch ===

#[tokio::test(start_paused = true)]
async fn a_status_is_patched_in_whatever_object_has_the_name_but_replaced_only_by_uid() {
    let fake = FakeApi::new();
    let credentials = api::<EdgeCredential>(&fake);
    let plain = PatchParams::default();
    let patch = |uid: Option<&str>| {
        Patch::Merge(json!({"metadata": {"uid": uid}, "status": {"passes": 1}}))
    };
    assert_eq!(
        code(credentials.patch_status("a", &plain, &patch(None)).await),
        404
    );
    fake.apply_object(&credential("a"));
    // So the API server does: a uid in a status patch is no fence.
    let mut made = credentials
        .patch_status("a", &plain, &patch(Some("other")))
        .await
        .unwrap();
    assert_eq!(made.status.as_ref().unwrap().passes, 1);
    assert_eq!(made.metadata.generation, Some(1));
    made.metadata.uid = Some("other".to_owned());
    assert_eq!(
        code(credentials.replace_status("a", &post(), &made).await),
        409
    );
}

#[tokio::test(start_paused = true)]
async fn merge_and_json_patches_change_what_they_name() {
    let fake = FakeApi::new();
    let secrets = api::<Secret>(&fake);
    fake.apply_object(&secret("a", "x"));
    let plain = PatchParams::default();
    let merge = Patch::Merge(
        json!({"metadata": {"labels": {"l": "1"}}, "data": {"token": null, "new": "eA=="}}),
    );
    let made = secrets.patch("a", &plain, &merge).await.unwrap();
    assert_eq!(made.labels()["l"], "1");
    assert_eq!(made.data.unwrap().into_keys().collect::<Vec<_>>(), ["new"]);

    let json = |expected: &str| {
        Patch::<()>::Json(
            serde_json::from_value(json!([
                {"op": "test", "path": "/metadata/labels/l", "value": expected},
                {"op": "replace", "path": "/metadata/labels/l", "value": "2"},
                {"op": "remove", "path": "/data/new"},
                {"op": "add", "path": "/data/last", "value": "eA=="},
            ]))
            .unwrap(),
        )
    };
    assert_eq!(code(secrets.patch("a", &plain, &json("9")).await), 422);
    let made = secrets.patch("a", &plain, &json("1")).await.unwrap();
    assert_eq!(made.labels()["l"], "2");
    assert_eq!(made.data.unwrap().into_keys().collect::<Vec<_>>(), ["last"]);

    let stale = Patch::Merge(json!({"metadata": {"resourceVersion": "1"}}));
    assert_eq!(code(secrets.patch("a", &plain, &stale).await), 409);
    let same = Patch::Merge(json!({"metadata": {"labels": {"l": "2"}}}));
    let before = fake.revision();
    secrets.patch("a", &plain, &same).await.unwrap();
    assert_eq!(fake.revision(), before);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_simulated_is_refused_aloud() {
    let fake = FakeApi::new();
    fake.apply_object(&secret("a", "x"));
    let secrets = api::<Secret>(&fake);
    let me = PatchParams::apply("me");
    for patch in [
        Patch::Strategic(json!({"type": "x"})),
        Patch::Apply(json!({"type": "x"})),
    ] {
        assert_eq!(code(secrets.patch("a", &me, &patch).await), 415);
    }
    let dry = PostParams {
        dry_run: true,
        ..post()
    };
    assert_eq!(code(secrets.create(&dry, &secret("b", "x")).await), 400);
    assert_eq!(code(secrets.get_status("a").await), 404);
    let orphan = DeleteParams::orphan();
    assert_eq!(code(secrets.delete("a", &orphan).await), 400);
}

// === Delete ===

#[tokio::test(start_paused = true)]
async fn a_deletion_can_insist_on_what_it_deletes() {
    let fake = FakeApi::new();
    let secrets = api::<Secret>(&fake);
    let made = fake.apply_object(&secret("a", "x"));
    let only = |uid: Option<String>, resource_version: Option<String>| DeleteParams {
        preconditions: Some(Preconditions {
            uid,
            resource_version,
        }),
        ..DeleteParams::default()
    };
    let other = Some("other".to_owned());
    assert_eq!(
        code(secrets.delete("a", &only(other.clone(), None)).await),
        409
    );
    assert_eq!(code(secrets.delete("a", &only(None, other)).await), 409);
    let status = secrets
        .delete("a", &only(made.uid(), made.resource_version()))
        .await
        .unwrap();
    assert!(status.right().unwrap().is_success());
    assert_eq!(fake.get("secrets", NS, "a"), None);
}

#[tokio::test(start_paused = true)]
async fn what_an_object_owns_goes_with_it_unless_it_has_another_owner() {
    let fake = FakeApi::new();
    let (a, b) = (
        fake.apply_object(&credential("a")),
        fake.apply_object(&credential("b")),
    );
    fake.apply_object(&owned("only", &[&a]));
    let mut shared = owned("shared", &[&a, &b]);
    shared.owner_references_mut()[1].controller = Some(false);
    fake.apply_object(&shared);

    api::<EdgeCredential>(&fake)
        .delete("a", &DeleteParams::default())
        .await
        .unwrap();
    let left: Vec<Secret> = fake.list_as();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].owner_references().len(), 1);
    assert!(fake.delete_object::<EdgeCredential>(NS, "b"));
    assert!(!fake.delete_object::<EdgeCredential>(NS, "b"));
    assert_eq!(fake.list_as::<Secret>(), []);
}

fn held(name: &str) -> Secret {
    let mut secret = secret(name, "x");
    secret.metadata.finalizers = Some(vec!["tests/a".to_owned(), "tests/b".to_owned()]);
    secret
}

fn finalizers(left: &Value) -> Patch<Value> {
    Patch::Merge(json!({"metadata": {"finalizers": left}}))
}

#[tokio::test(start_paused = true)]
async fn what_has_finalizers_is_marked_and_goes_with_the_last_of_them() {
    let fake = FakeApi::new();
    let credentials = api::<EdgeCredential>(&fake);
    let mut new = credential("a");
    new.metadata.finalizers = held("a").metadata.finalizers;
    let owner = fake.apply_object(&new);
    fake.apply_object(&owned("s", &[&owner]));
    sleep(Duration::from_secs(60)).await;

    let (background, plain) = (DeleteParams::default(), PatchParams::default());
    let marked = credentials.delete("a", &background).await.unwrap();
    let marked = marked.left().expect("an object that is still there");
    let since = marked.metadata.deletion_timestamp.as_ref().unwrap();
    assert_eq!(since.0.to_string(), "2026-01-01T00:01:00Z");
    assert_eq!(marked.metadata.generation, Some(2));

    sleep(Duration::from_secs(60)).await;
    let again = credentials.delete("a", &background).await.unwrap();
    assert_eq!(again.left().as_ref(), Some(&marked), "it began once");
    let edit = Patch::Merge(json!({"spec": {"audience": "x"}}));
    let edited = credentials.patch("a", &plain, &edit).await.unwrap();
    assert_eq!(edited.spec.audience, "x");
    for (left, expected) in [
        (json!(["tests/a", "tests/b", "tests/c"]), 422),
        (json!(["tests/c"]), 422),
        (json!(["tests/b"]), 200),
        (json!(["tests/a", "tests/b"]), 422),
    ] {
        let result = credentials.patch("a", &plain, &finalizers(&left)).await;
        assert_eq!(
            result.map_or_else(|e| code::<()>(Err(e)), |_| 200),
            expected,
            "{left}"
        );
    }
    assert!(
        fake.get_as::<Secret>(NS, "s").is_some(),
        "its owner is there"
    );

    let last = credentials
        .patch("a", &plain, &finalizers(&Value::Null))
        .await;
    assert_eq!(last.unwrap().finalizers(), [] as [&str; 0]);
    assert_eq!(credentials.get_opt("a").await.unwrap(), None);
    assert_eq!(fake.list_as::<Secret>(), []);
}

#[tokio::test(start_paused = true)]
async fn what_is_collected_is_marked_too_while_it_has_finalizers() {
    let fake = FakeApi::new();
    let owner = fake.apply_object(&credential("a"));
    let mut held = held("s");
    held.metadata.owner_references = owned("s", &[&owner]).metadata.owner_references;
    fake.apply_object(&held);

    fake.delete_object::<EdgeCredential>(NS, "a");
    let marked: Secret = fake.get_as(NS, "s").unwrap();
    assert!(marked.metadata.deletion_timestamp.is_some());
    fake.edit::<Secret>(NS, "s", |secret| {
        secret["metadata"]["finalizers"] = json!([])
    });
    assert_eq!(fake.get_as::<Secret>(NS, "s"), None);
}

// === Kinds ===

/// Another kind of the same group.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "edgecredentials.io",
    version = "v1alpha1",
    kind = "EdgeToken",
    namespaced,
    status = "EdgeCredentialStatus",
    schema = "disabled"
)]
struct EdgeTokenSpec {}

#[tokio::test(start_paused = true)]
async fn kinds_of_one_group_do_not_mix() {
    let fake = FakeApi::new();
    let mut token = EdgeToken::new("a", EdgeTokenSpec {});
    token.metadata.namespace = Some(NS.to_owned());
    fake.apply_object(&credential("a"));
    let made = api(&fake).create(&post(), &token).await.unwrap();
    let status = Patch::Merge(json!({"status": {"passes": 1}}));
    let tokens = api::<EdgeToken>(&fake);
    let plain = PatchParams::default();
    let told = tokens.patch_status("a", &plain, &status).await.unwrap();
    assert_eq!(told.metadata.generation, Some(1));

    let credentials: Vec<EdgeCredential> = fake.list_as();
    assert_eq!((credentials.len(), &credentials[0].status), (1, &None));
    assert_ne!(credentials[0].uid(), made.uid());
    let params = WatchParams::default().disable_bookmarks();
    assert_eq!(follow(&tokens, &params, "1").await, ["+a", "~a"]);
    assert_eq!(
        follow(&api::<EdgeCredential>(&fake), &params, "0").await,
        ["+a"]
    );
    assert_eq!(fake.count(Verb::Patch, "edgetokens/status"), 1);

    fake.deny(Verb::Delete, "edgetokens", None);
    assert_eq!(
        code(tokens.delete("a", &DeleteParams::default()).await),
        403
    );
    assert!(fake.delete_object::<EdgeCredential>(NS, "a"));
    assert!(fake.get("edgetokens", NS, "a").is_some());
}

// === List ===

#[tokio::test(start_paused = true)]
async fn lists_are_narrowed_by_selectors() {
    let fake = FakeApi::new();
    fake.apply_object(&labelled("web", "web"));
    fake.apply_object(&labelled("db", "db"));
    let mut release = secret("release", "x");
    release.type_ = Some("helm.sh/release.v1".to_owned());
    fake.apply_object(&release);
    let mut elsewhere = secret("web", "x");
    elsewhere.metadata.namespace = Some("other".to_owned());
    fake.apply_object(&elsewhere);

    let all = Api::<Secret>::all(fake.client());
    for (api, params, expected) in [
        (&api(&fake), ListParams::default(), "db release web"),
        (&all, ListParams::default(), "web db release web"),
        (&all, ListParams::default().labels("app!=db,app"), "web"),
        (
            &all,
            ListParams::default().fields("type!=helm.sh/release.v1"),
            "web db web",
        ),
        (
            &api(&fake),
            ListParams::default().fields("metadata.name=db"),
            "db",
        ),
    ] {
        let names = api
            .list(&params)
            .await
            .unwrap()
            .iter()
            .map(ResourceExt::name_any)
            .collect::<Vec<_>>();
        assert_eq!(names.join(" "), expected, "{params:?}");
    }
    assert_eq!(
        code(all.list(&ListParams::default().fields("data.x=1")).await),
        400
    );
}

#[tokio::test(start_paused = true)]
async fn all_pages_of_a_list_show_the_state_of_the_first() {
    let fake = FakeApi::new();
    for n in 0..5 {
        fake.apply_object(&secret(&format!("s{n}"), "x"));
    }
    let secrets = api::<Secret>(&fake);
    let first = secrets.list(&ListParams::default().limit(2)).await.unwrap();
    assert_eq!(first.metadata.remaining_item_count, Some(3));
    fake.delete_object::<Secret>(NS, "s3");
    fake.apply_object(&secret("s22", "x"));
    let next = ListParams::default()
        .limit(9)
        .continue_token(&first.metadata.continue_.unwrap());
    let second = secrets.list(&next).await.unwrap();
    let names: Vec<_> = second.iter().map(ResourceExt::name_any).collect();
    assert_eq!(names, ["s2", "s3", "s4"]);
    assert_eq!(
        second.metadata.resource_version,
        first.metadata.resource_version
    );
    assert_eq!(second.metadata.continue_, None);

    fake.expire_history();
    assert_eq!(code(secrets.list(&next).await), 410);
}

#[tokio::test(start_paused = true)]
async fn metadata_can_be_had_without_the_rest() {
    let fake = FakeApi::new();
    fake.apply_object(&labelled("a", "web"));
    let metadata = api::<PartialObjectMeta<Secret>>(&fake);
    let one = metadata.get("a").await.unwrap();
    assert_eq!(one.types.unwrap().kind, "PartialObjectMetadata");
    assert_eq!(
        metadata.list(&ListParams::default()).await.unwrap().items[0].labels()["app"],
        "web"
    );

    let raw = http::Request::get("/api/v1/secrets").header(
        "accept",
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
    );
    let text = fake
        .client()
        .request_text(raw.body(vec![]).unwrap())
        .await
        .unwrap();
    assert!(
        text.contains("PartialObjectMetadataList") && !text.contains("token"),
        "{text}"
    );
}

// === Watch ===

async fn follow<K>(api: &Api<K>, params: &WatchParams, from: &str) -> Vec<String>
where
    K: Resource + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let events = api.watch(params, from).await.unwrap();
    let shown = events.map_ok(|event| match event {
        WatchEvent::Added(o) => format!("+{}", o.name_any()),
        WatchEvent::Modified(o) => format!("~{}", o.name_any()),
        WatchEvent::Deleted(o) => format!("-{}@{}", o.name_any(), o.resource_version().unwrap()),
        WatchEvent::Bookmark(b) => format!("bookmark@{}", b.metadata.resource_version),
        WatchEvent::Error(e) => format!("error {}", e.code),
    });
    shown.try_collect().await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_what_happened_since_its_version_until_its_time_is_over() {
    let fake = FakeApi::new();
    fake.apply_object(&secret("before", "x"));
    let start = Instant::now();
    let changes = async {
        sleep(Duration::from_secs(60)).await;
        fake.apply_object(&secret("a", "1"));
        fake.apply_object(&credential("not-a-secret"));
        fake.apply_object(&secret("a", "2"));
        fake.apply_object(&secret("a", "2"));
        fake.delete_object::<Secret>(NS, "a");
    };
    let params = WatchParams::default().timeout(290);
    let secrets = api(&fake);
    let (seen, ()) = tokio::join!(follow::<Secret>(&secrets, &params, "1"), changes);
    assert_eq!(seen, ["+a", "~a", "-a@5", "bookmark@5"]);
    assert_eq!(start.elapsed().as_secs(), 290);

    // What happened between two watches is not lost.
    let seen = follow(&secrets, &params, "3").await;
    assert_eq!(seen, ["~a", "-a@5", "bookmark@5"]);
    let metadata = api::<PartialObjectMeta<Secret>>(&fake);
    let seen = follow(&metadata, &params.disable_bookmarks(), "0").await;
    assert_eq!(seen, ["+before"], "version 0 starts with what there is");
}

#[tokio::test(start_paused = true)]
async fn objects_come_to_a_watch_and_leave_it_as_they_match_its_selector() {
    let fake = FakeApi::new();
    fake.apply_object(&labelled("a", "db"));
    fake.apply_object(&labelled("a", "web"));
    fake.apply_object(&{
        let mut same = labelled("a", "web");
        same.data = None;
        same
    });
    fake.apply_object(&labelled("a", "db"));
    fake.delete_object::<Secret>(NS, "a");
    let params = WatchParams::default().labels("app=web").disable_bookmarks();
    let seen = follow::<Secret>(&api(&fake), &params, "1").await;
    assert_eq!(seen, ["+a", "~a", "-a@4"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_a_forgotten_version_is_gone() {
    let fake = FakeApi::new();
    fake.apply_object(&secret("a", "x"));
    fake.expire_history();
    let seen = follow::<Secret>(&api(&fake), &WatchParams::default(), "1").await;
    assert_eq!(seen, ["error 410"]);
}

#[tokio::test(start_paused = true)]
async fn cut_watches_end_at_once() {
    let fake = FakeApi::new();
    let secrets = api::<Secret>(&fake);
    let start = Instant::now();
    let cut = async {
        sleep(Duration::from_secs(7)).await;
        fake.cut_watches();
    };
    let params = WatchParams::default();
    let (seen, ()) = tokio::join!(follow(&secrets, &params, "1"), cut);
    assert!(seen.is_empty());
    assert_eq!(start.elapsed().as_secs(), 7);
}

// === Other resources ===

#[tokio::test(start_paused = true)]
async fn events_can_be_recorded_and_repeated() {
    let fake = FakeApi::new();
    let object = fake.apply_object(&credential("a"));
    let recorder = Recorder::new(fake.client(), Reporter::from("tests"));
    let event = Event {
        type_: EventType::Normal,
        reason: "TokenRenewed".to_owned(),
        note: Some("renewed".to_owned()),
        action: "Renew".to_owned(),
        secondary: None,
    };
    recorder
        .publish(&event, &object.object_ref(&()))
        .await
        .unwrap();
    recorder
        .publish(&event, &object.object_ref(&()))
        .await
        .unwrap();
    let events: Vec<ClusterEvent> = fake.list_as();
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].series.as_ref().unwrap().count, 2);

    let long = Event {
        note: Some("x".repeat(1025)),
        reason: "Other".to_owned(),
        ..event
    };
    assert_eq!(
        code(recorder.publish(&long, &object.object_ref(&())).await),
        422
    );
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_refused_and_told_in_a_review() {
    let fake = FakeApi::new();
    fake.apply_object(&secret("a", "x"));
    let allowed = async |namespace: &str| {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(ResourceAttributes {
                    namespace: Some(namespace.to_owned()),
                    verb: Some("get".to_owned()),
                    resource: Some("secrets".to_owned()),
                    ..ResourceAttributes::default()
                }),
                ..SelfSubjectAccessReviewSpec::default()
            },
            ..SelfSubjectAccessReview::default()
        };
        let answer = Api::all(fake.client())
            .create(&post(), &review)
            .await
            .unwrap();
        answer.status.unwrap().allowed
    };
    assert!(allowed(NS).await);
    fake.deny(Verb::Get, "secrets", Some(NS));
    assert!(!allowed(NS).await);
    assert!(allowed("other").await);
    let status = refusal(api::<Secret>(&fake).get("a").await);
    assert!(status.is_forbidden(), "{status:?}");
    api::<Secret>(&fake)
        .list(&ListParams::default())
        .await
        .unwrap();
    fake.allow_all();
    api::<Secret>(&fake).get("a").await.unwrap();
}

// === Record and faults ===

#[tokio::test(start_paused = true)]
async fn requests_are_listed_and_counted() {
    let fake = FakeApi::new();
    fake.apply_object(&credential("a"));
    sleep(DAY).await;
    api::<EdgeCredential>(&fake)
        .patch_status(
            "a",
            &PatchParams::default(),
            &Patch::Merge(json!({"status": {"passes": 1}})),
        )
        .await
        .unwrap();
    let _ = api::<Secret>(&fake).get_opt("none").await.unwrap();

    let requests = fake.take_requests();
    let shown: Vec<_> = requests.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "patch edgecredentials/status storefront/a 200",
            "get secrets storefront/none 404"
        ]
    );
    assert_eq!(requests[0].at, DAY);
    assert_eq!((requests[0].number, requests[1].number), (1, 2));
    assert_eq!(fake.count(Verb::Patch, "edgecredentials/status"), 1);
    assert_eq!(fake.count(Verb::Patch, "edgecredentials"), 0);
    assert_eq!((fake.writes(), fake.counts().len()), (1, 2));

    fake.keep_requests(false);
    let _ = api::<Secret>(&fake).get_opt("none").await.unwrap();
    assert!(fake.requests().is_empty());
    assert_eq!(fake.count(Verb::Get, "secrets"), 2);
    fake.reset_counts();
    assert_eq!(fake.count(Verb::Get, "secrets"), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_can_fail_before_or_after_it_is_done() {
    let fake = FakeApi::new();
    let secrets = api::<Secret>(&fake);
    let create = async |fault: Fault| {
        fake.on_request(move |request| match request.verb {
            Verb::Create => fault.clone(),
            _ => Fault::None,
        });
        let result = secrets.create(&post(), &secret("a", "x")).await;
        (result, fake.delete_object::<Secret>(NS, "a"))
    };
    let (result, done) = create(Fault::Status(500, "InternalError".to_owned())).await;
    assert_eq!((code(result), done), (500, false));
    let (result, done) = create(Fault::DropConnection).await;
    assert!(matches!(result, Err(kube::Error::Service(_))), "{result:?}");
    assert!(!done);
    let (result, done) = create(Fault::CrashedAfter).await;
    assert!(matches!(result, Err(kube::Error::Service(_))), "{result:?}");
    assert!(done);
    let start = Instant::now();
    let (result, done) = create(Fault::Delay(Duration::from_secs(9))).await;
    assert!(result.is_ok() && done);
    assert_eq!(start.elapsed().as_secs(), 9);
    let codes: Vec<_> = fake.requests().iter().map(|request| request.code).collect();
    assert_eq!(codes, [500, 0, 0, 201]);
}

#[tokio::test(start_paused = true)]
async fn a_read_can_lag_behind() {
    let fake = FakeApi::new();
    let secrets = api::<Secret>(&fake);
    let first = fake.apply_object(&secret("a", "1"));
    let then = fake.revision();
    fake.apply_object(&secret("a", "2"));
    fake.apply_object(&secret("b", "1"));
    fake.on_request(move |_| Fault::Stale(then));
    assert_eq!(secrets.get("a").await.unwrap(), first);
    assert_eq!(secrets.get_opt("b").await.unwrap(), None);
    let list = secrets.list(&ListParams::default()).await.unwrap();
    assert_eq!(
        (list.items.len(), list.metadata.resource_version.unwrap()),
        (1, then.to_string())
    );
    fake.no_faults();
    assert_eq!(
        secrets
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len(),
        2
    );
}

// === kube-runtime ===

async fn next_name<S, K>(events: &mut S) -> String
where
    S: Stream<Item = watcher::Result<watcher::Event<K>>> + Unpin,
    K: ResourceExt,
{
    let event = timeout(Duration::from_secs(1), events.next()).await;
    event
        .expect("nothing within a second")
        .unwrap()
        .unwrap()
        .to_string()
}

#[tokio::test(start_paused = true)]
async fn a_watcher_misses_nothing_in_a_day_and_lists_once() {
    let fake = FakeApi::new();
    fake.apply_object(&secret("a", "x"));
    let secrets = api::<PartialObjectMeta<Secret>>(&fake);
    let mut events = pin!(watcher(secrets, watcher::Config::default()));
    for expected in ["Init", "InitApply(a)", "InitDone"] {
        assert_eq!(next_name(&mut events).await, expected);
    }
    for hour in 0..24 {
        assert!(
            timeout(Duration::from_hours(1), events.next())
                .await
                .is_err(),
            "something happened"
        );
        fake.apply_object(&secret("a", &hour.to_string()));
        assert_eq!(next_name(&mut events).await, "Apply(a)");
    }
    fake.delete_object::<Secret>(NS, "a");
    assert_eq!(next_name(&mut events).await, "Delete(a)");
    assert_eq!(fake.count(Verb::List, "secrets"), 1);
    let watches = fake.count(Verb::Watch, "secrets");
    assert!((297..=299).contains(&watches), "one each 290 s: {watches}");
}

#[tokio::test(start_paused = true)]
async fn a_watcher_lists_again_when_its_version_is_gone() {
    for strategy in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
    ] {
        let fake = FakeApi::new();
        fake.apply_object(&secret("a", "x"));
        let mut events = pin!(watcher(api::<Secret>(&fake), strategy).default_backoff());
        for expected in ["Init", "InitApply(a)", "InitDone"] {
            assert_eq!(next_name(&mut events).await, expected);
        }
        assert!(timeout(DAY, events.next()).await.is_err());
        fake.expire_history();
        fake.apply_object(&secret("b", "x"));
        let error = events.next().await.unwrap().unwrap_err();
        assert!(
            error.to_string().contains("too old resource version"),
            "{error}"
        );
        let mut seen = Vec::new();
        while seen.last().is_none_or(|event| event != "InitDone") {
            seen.push(events.next().await.unwrap().unwrap().to_string());
        }
        assert_eq!(seen, ["Init", "InitApply(a)", "InitApply(b)", "InitDone"]);
    }
}

// === Side by side with a real API server ===

/// What an operator may do, one request a line: the form, the path, the body. `apiVersion` and `kind` are added to
/// whole objects that have none. `$uid`, `$version` are those of the object that was answered last.
const SCRIPT: &str = r#"
create secrets {"metadata": {"name": "zero"}}
create secrets {"metadata": {"name": "a"}, "stringData": {"k": "x"}}
create secrets {"metadata": {"name": "a"}}
create secrets {"metadata": {"name": "b", "resourceVersion": "5"}}
create secrets {"metadata": {"name": "Upper"}}
create secrets {"metadata": {}}
create secrets {"metadata": {"name": "b"}, "data": {"k": "not base64"}}
create secrets {"metadata": {"name": "b"}, "data": {"a/b": "eA=="}}
create secrets {"metadata": {"name": "b", "ownerReferences": [$owner1, $owner2]}}
create secrets {"apiVersion": "edgecredentials.io/v1alpha1", "kind": "EdgeCredential", "metadata": {"name": "b"}}
create secrets {"metadata": {"name": "b", "namespace": "other"}}
put secrets/a {"metadata": {"name": "a", "resourceVersion": "$version"}, "data": {"k": "eA=="}}
put secrets/a {"metadata": {"name": "a", "resourceVersion": "1"}, "data": {"k": "eQ=="}}
put secrets/a {"metadata": {"name": "a", "uid": "other"}, "data": {"k": "eQ=="}}
put secrets/a {"metadata": {"name": "z"}}
put secrets/none {"metadata": {"name": "none"}}
put secrets/a {"metadata": {"name": "a"}, "type": "kubernetes.io/tls", "data": {"k": "eA=="}}
put secrets/a {"metadata": {"name": "a"}, "immutable": true, "data": {"k": "eA=="}}
merge secrets/a {"data": {"k": "eQ=="}}
merge secrets/a {"immutable": null}
merge secrets/a {"metadata": {"labels": {"l": "1"}}}
merge secrets/a {"metadata": {"labels": {"l": "1"}}}
merge secrets/a {"metadata": {"uid": "other"}}
merge secrets/a {"metadata": {"resourceVersion": "1"}}
merge secrets/a {"metadata": {"name": "other"}}
merge secrets/none {}
json secrets/a [{"op": "test", "path": "/type", "value": "no"}]
json secrets/a [{"op": "remove", "path": "/nothing"}]
json secrets/a [{"op": "add", "path": "/metadata/labels/m", "value": "2"}]
delete secrets/a {"preconditions": {"uid": "other"}}
delete secrets/a {"preconditions": {"resourceVersion": "1"}}
delete secrets/a {"preconditions": {"uid": "$uid", "resourceVersion": "$version"}}
delete secrets/a
get secrets/a
get secrets?fieldSelector=data.x%3D1

create secrets {"metadata": {"name": "s"}, "data": {"k": "eA=="}}
merge secrets/s {"metadata": {"ownerReferences": [$owner2]}}
merge secrets/s {"metadata": {"labels": {}}, "data": {"x": ""}}
merge secrets/s {"metadata": {"labels": {}}}
put secrets/s {"metadata": {"name": "s", "generation": 7, "creationTimestamp": null}, "data": {"x": ""}}
put secrets/s {"metadata": {"name": "s"}, "data": {"x": ""}}
get secrets/s/status

create secrets {"metadata": {"name": "f", "finalizers": ["tests/a"]}}
delete secrets/f
json secrets/f [{"op": "remove", "path": "/metadata/finalizers"}]
get secrets/f

put leases/l {"metadata": {"name": "l", "uid": "1"}}
put leases/l {"metadata": {"name": "l", "resourceVersion": "1"}}
put leases/l {"metadata": {"name": "l"}}
put leases/l {"metadata": {"name": "l", "resourceVersion": "1"}}
"#;

/// The same, once for each of [`KINDS`].
const CUSTOM_SCRIPT: &str = r#"
create edgecredentials {"metadata": {"name": "c"}, "spec": {"audience": "x"}, "status": {"passes": 1}}
put edgecredentials/c {"metadata": {"name": "c"}, "spec": {"audience": "y"}}
put edgecredentials/c {"metadata": {"name": "c", "resourceVersion": "$version"}, "spec": {"audience": "y"}}
put edgecredentials/c {"metadata": {"name": "c", "resourceVersion": "$version"}, "spec": {"audience": "y"}}
put edgecredentials/c/status {"metadata": {"name": "c"}, "status": {"passes": 1}}
put edgecredentials/c/status {"metadata": {"name": "c", "resourceVersion": "$version"}, "status": {"passes": 1}}
put edgecredentials/c/status {"metadata": {"name": "c", "resourceVersion": "1"}, "status": {"passes": 2}}
put edgecredentials/c/status {"metadata": {"name": "c", "resourceVersion": "$version", "uid": "other"}}
merge edgecredentials/c/status {"metadata": {"uid": "other"}, "status": {"passes": 9}}
merge edgecredentials/c/status {"metadata": {"labels": {"l": "1"}}, "status": {"passes": 10}}
json edgecredentials/c/status [{"op": "replace", "path": "/status/passes", "value": 11}]
merge edgecredentials/c {"metadata": {"annotations": {"a": "b"}}, "status": null}
merge edgecredentials/c {"metadata": {"uid": "other"}}
merge edgecredentials/c {"spec": {"audience": null}}
delete edgecredentials/c
create edgecredentials {"metadata": {"name": "f", "finalizers": ["tests/a", "tests/b"], "deletionTimestamp": "2026-01-01T00:00:00Z"}}
put edgecredentials/f {"metadata": {"name": "f", "resourceVersion": "$version", "finalizers": ["tests/a", "tests/b"]}}
delete edgecredentials/f {"preconditions": {"uid": "other"}}
delete edgecredentials/f
delete edgecredentials/f
merge edgecredentials/f {"spec": {"audience": "y"}}
merge edgecredentials/f {"metadata": {"deletionTimestamp": null}}
merge edgecredentials/f/status {"status": {"passes": 1}}
merge edgecredentials/f {"metadata": {"finalizers": ["tests/a", "tests/b", "tests/c"]}}
merge edgecredentials/f {"metadata": {"finalizers": ["tests/b"]}}
merge edgecredentials/f {"metadata": {"finalizers": ["tests/a", "tests/b"]}}
put edgecredentials/f {"metadata": {"name": "f", "resourceVersion": "1"}}
put edgecredentials/f {"metadata": {"name": "f", "resourceVersion": "$version"}}
get edgecredentials/f
"#;

/// Custom resources: the plural and the kind.
const KINDS: [(&str, &str); 2] = [
    ("edgecredentials", "EdgeCredential"),
    ("edgetokens", "EdgeToken"),
];

/// Plays the scripts and notes the answers, without what differs from run to run.
async fn play(client: kube::Client) -> Vec<String> {
    let mut last = Value::Null;
    let mut lines = Vec::new();
    let custom = KINDS.map(|(plural, _)| CUSTOM_SCRIPT.replace("edgecredentials", plural));
    let script = [SCRIPT, &custom.concat()].concat();
    for step in script.lines().filter(|line| !line.is_empty()) {
        let (code, answer) = send(&client, step, &last).await;
        let shown = if code >= 400 {
            // The causes of a 422 name fields in more ways than are worth simulating.
            json!([code, answer["reason"]])
        } else if answer["kind"] == "Status" {
            json!([code, answer["status"]])
        } else {
            let version = |object: &Value| object["metadata"]["resourceVersion"].clone();
            let metadata = &answer["metadata"];
            let owners = metadata["ownerReferences"].as_array().into_iter().flatten();
            let owners: Value = owners.map(|owner| owner["uid"].clone()).collect();
            let shown = json!({
                "code": code,
                "changed": version(&answer) != version(&last),
                "generation": metadata["generation"],
                "labels": metadata["labels"],
                "owners": owners,
                "finalizers": metadata["finalizers"],
                "deleted": metadata["deletionTimestamp"].is_string(),
                "grace": metadata["deletionGracePeriodSeconds"],
                "audience": answer["spec"]["audience"],
                "data": answer["data"],
                "type": answer["type"],
                "passes": answer["status"]["passes"],
            });
            last = answer;
            shown
        };
        lines.push(format!("{step}\n    {shown}"));
    }
    lines
}

async fn send(client: &kube::Client, step: &str, last: &Value) -> (u16, Value) {
    let mut words = step.splitn(3, ' ');
    let (form, path) = (words.next().unwrap(), words.next().unwrap());
    let (resource, rest) = path.split_at(path.find(['/', '?']).unwrap_or(path.len()));
    let (prefix, api_version, kind) = match resource {
        "secrets" => ("/api", "v1", "Secret"),
        "leases" => ("/apis", "coordination.k8s.io/v1", "Lease"),
        custom => {
            let (_, kind) = KINDS.iter().find(|(plural, _)| *plural == custom).unwrap();
            ("/apis", "edgecredentials.io/v1alpha1", *kind)
        }
    };
    let owner = |uid: &str| {
        let owner = json!({"apiVersion": "v1", "kind": "Secret", "name": "o", "uid": uid, "controller": true});
        owner.to_string()
    };
    let current = |field: &str| last["metadata"][field].as_str().unwrap_or_default();
    let text = words.next().unwrap_or_default();
    let text = text
        .replace("$owner1", &owner("1"))
        .replace("$owner2", &owner("2"));
    let text = text
        .replace("$uid", current("uid"))
        .replace("$version", current("resourceVersion"));
    let mut body: Value = serde_json::from_str(&text).unwrap_or_default();
    if matches!(form, "create" | "put") {
        if body["apiVersion"].is_null() {
            body["kind"] = json!(kind);
        }
        let given = body["apiVersion"].as_str().unwrap_or(api_version);
        body["apiVersion"] = json!(given);
    }
    let (method, content_type) = match form {
        "get" => ("GET", "application/json"),
        "create" => ("POST", "application/json"),
        "put" => ("PUT", "application/json"),
        "delete" => ("DELETE", "application/json"),
        "merge" => ("PATCH", "application/merge-patch+json"),
        _ => ("PATCH", "application/json-patch+json"),
    };
    let uri = format!("{prefix}/{api_version}/namespaces/{NS}/{resource}{rest}");
    let request = http::Request::builder()
        .method(method)
        .uri(uri)
        .header("content-type", content_type);
    let bytes = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    let response = client
        .send(request.body(bytes.into()).unwrap())
        .await
        .unwrap();
    let code = response.status().as_u16();
    let answer = response.into_body().collect_bytes().await.unwrap();
    (code, serde_json::from_slice(&answer).unwrap())
}

/// Changes a Secret so that it comes to a watch and leaves it, and notes what the watch tells.
async fn watch(client: kube::Client) -> Vec<String> {
    let secrets = Api::<Secret>::namespaced(client.clone(), NS);
    let metadata = Api::<PartialObjectMeta<Secret>>::namespaced(client, NS);
    let start = secrets.list(&ListParams::default()).await.unwrap();
    let start = start.metadata.resource_version.unwrap();
    let mut new = labelled("w", "db");
    new.metadata.finalizers = Some(vec!["tests/a".to_owned()]);
    secrets.create(&post(), &new).await.unwrap();
    let merge = async |patch: Value| {
        let patch = Patch::Merge(patch);
        secrets
            .patch("w", &PatchParams::default(), &patch)
            .await
            .unwrap()
    };
    merge(json!({"metadata": {"labels": {"app": "web"}}})).await;
    merge(json!({"data": {"token": "eQ=="}})).await;
    merge(json!({"data": {"token": "eQ=="}})).await;
    merge(json!({"metadata": {"labels": {"app": "db"}}})).await;
    let web = merge(json!({"metadata": {"labels": {"app": "web"}}})).await;
    secrets.delete("w", &DeleteParams::default()).await.unwrap();
    merge(json!({"metadata": {"finalizers": null}})).await;

    // What happened before is told at once; this is for a machine that is busy.
    let params = WatchParams::default().disable_bookmarks().timeout(3);
    let (labelled, named) = (
        params.clone().labels("app=web"),
        params.clone().fields("metadata.name=w"),
    );
    let version = web.resource_version().unwrap();
    let (seen_1, seen_2, seen_3) = tokio::join!(
        follow(&secrets, &labelled, &start),
        follow(&metadata, &named, &start),
        follow(&secrets, &params, &version),
    );
    let mut seen = [seen_1, seen_2, seen_3].concat();
    assert_eq!(seen.len(), 15, "{seen:?}");
    for event in &mut seen {
        // Where it was deleted differs, that it is later than any change does not.
        if let Some((name, version)) = event.clone().split_once('@') {
            let later =
                version.parse::<u64>().unwrap() > web.resource_version().unwrap().parse().unwrap();
            *event = format!("{name} {later}");
        }
    }
    seen
}

/// The real resources' definitions as far as they matter here: they have a status.
fn definition((plural, kind): (&str, &str)) -> String {
    let object = |fields: Value| json!({"type": "object", "properties": fields});
    let schema = object(json!({
        "spec": object(json!({"audience": {"type": "string"}})),
        "status": object(json!({"passes": {"type": "integer"}})),
    }));
    let version = json!({
        "name": "v1alpha1",
        "served": true,
        "storage": true,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
    });
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.edgecredentials.io")},
        "spec": {
            "group": "edgecredentials.io",
            "names": {"kind": kind, "plural": plural},
            "scope": "Namespaced",
            "versions": [version],
        },
    });
    format!("{definition}\n---\n")
}

#[tokio::test]
async fn the_fake_answers_as_a_real_api_server_does() {
    let plane = kit::control_plane::ControlPlane::start().await.unwrap();
    plane.apply(&KINDS.map(definition).concat()).await.unwrap();
    plane.kubectl(&["create", "namespace", NS]).await.unwrap();
    plane.wait_for_definitions().await.unwrap();
    // Its garbage collector would delete what names an owner that is not there.
    plane
        .pause(kit::control_plane::Server::ControllerManager)
        .unwrap();

    let real = plane.admin_client().await.unwrap();
    let fake = FakeApi::new().client();
    let (real, fake) = (
        [play(real.clone()).await, watch(real).await].concat(),
        [play(fake.clone()).await, watch(fake).await].concat(),
    );
    assert_eq!(real.len(), fake.len(), "{real:#?}\n{fake:#?}");
    let differences: Vec<_> = real
        .iter()
        .zip(&fake)
        .filter(|(real, fake)| real != fake)
        .collect();
    for (real, fake) in &differences {
        println!("real: {real}\nfake: {fake}\n");
    }
    // Not a panic while the control plane runs: it would keep the run's folder.
    drop(plane);
    assert!(
        differences.is_empty(),
        "{} of {} answers differ",
        differences.len(),
        real.len()
    );
}
