//! The steps of tests about EdgeTokens.

use edge_credential_operator::api::edge_token::DeployApi;
use edge_credential_operator::api::{ConditionType, EdgeToken, EdgeTokenSpec, Reason};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use super::PATIENCE;
use super::namespace::{CREDENTIALS, Namespace, edit, find_condition};

impl Namespace {
    /// An EdgeToken that uses [`CREDENTIALS`] and the stand-in's APIs, for a test to change before it is created.
    pub fn edge_token(&self, name: &str) -> EdgeToken {
        self.edge_token_at(name, &self.origin)
    }

    /// The same with all that it calls at another origin.
    pub fn edge_token_at(&self, name: &str, origin: &str) -> EdgeToken {
        let spec: EdgeTokenSpec = serde_json::from_value(json!({
            "credentialsSecretRef": {"name": CREDENTIALS},
            "tokenRequest": {"url": format!("{origin}/oauth/token")},
            "tokenAPI": {"url": format!("{origin}/api/apikey/v1")},
            "deliveryURL": format!("{origin}/api/graphql/v1"),
        }))
        .unwrap();
        EdgeToken::new(name, spec)
    }

    /// The same with a key of the Deploy API, for this environment.
    pub fn deployed_edge_token(&self, name: &str, environment_id: &str) -> EdgeToken {
        let mut object = self.edge_token(name);
        object.spec.token_api = None;
        object.spec.deploy_api = Some(DeployApi {
            url: self.origin.clone(),
            environment_id: environment_id.to_owned(),
        });
        object
    }

    /// Creates an EdgeToken.
    pub async fn create_edge_token(&self, object: &EdgeToken) -> EdgeToken {
        let created = self
            .edge_tokens
            .create(&PostParams::default(), object)
            .await;
        created.unwrap_or_else(|error| panic!("create {:?}: {error}", object.metadata.name))
    }

    /// Changes an EdgeToken. Tried again where the operator wrote in between.
    pub async fn edit_edge_token(&self, name: &str, change: impl Fn(&mut EdgeToken)) -> EdgeToken {
        edit(&self.edge_tokens, name, change).await
    }

    /// Sets an annotation of an EdgeToken.
    pub async fn annotate_edge_token(&self, name: &str, key: &str, value: &str) {
        self.edit_edge_token(name, |object| {
            let annotations = object.metadata.annotations.get_or_insert_default();
            annotations.insert(key.to_owned(), value.to_owned());
        })
        .await;
    }

    /// Deletes an EdgeToken.
    pub async fn delete_edge_token(&self, name: &str) {
        let deleted = self
            .edge_tokens
            .delete(name, &DeleteParams::default())
            .await;
        deleted.unwrap_or_else(|error| panic!("delete {name}: {error}"));
    }

    /// Waits until an EdgeToken is ready and nothing more is to be said of it, for its present generation.
    pub async fn edge_token_ready(&self, name: &str) -> EdgeToken {
        self.edge_token_that(name, "is ready", |object| {
            let ready = edge_token_condition(object, ConditionType::Ready);
            let is_listed = object.status.as_ref().and_then(|it| it.token.as_ref());
            let is_listed = is_listed.is_some_and(|token| token.hash.is_some());
            let is_fetched = object.spec.deploy_api.is_some();
            ready.status == "True" && ready.reason == "TokenValid" && (is_listed || is_fetched)
        })
        .await
    }

    /// Waits until a condition of an EdgeToken holds for this reason, for its present generation.
    pub async fn edge_token_says(
        &self,
        name: &str,
        type_: ConditionType,
        reason: Reason,
    ) -> EdgeToken {
        self.edge_token_that(name, &format!("says {reason}"), |object| {
            let condition = edge_token_condition(object, type_);
            condition.status == "True" && condition.reason == reason.as_str()
        })
        .await
    }

    /// Waits until the status of an EdgeToken's present generation is as wanted.
    pub async fn edge_token_that(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&EdgeToken) -> bool,
    ) -> EdgeToken {
        self.until(PATIENCE, &format!("EdgeToken {name} {what}"), async || {
            let object = self.edge_tokens.get(name).await.ok()?;
            let status = object.status.as_ref()?;
            let current = status.observed_generation == object.metadata.generation;
            (current && wanted(&object)).then_some(object)
        })
        .await
    }
}

/// A condition of an EdgeToken's status. One that is not there does not hold.
pub fn edge_token_condition(object: &EdgeToken, type_: ConditionType) -> Condition {
    let status = object.status.as_ref();
    find_condition(status.map(|status| &*status.conditions), type_)
}
