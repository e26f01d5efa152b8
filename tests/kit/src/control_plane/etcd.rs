//! etcd, through its HTTP gateway: the trouble that it makes, and what is stored in it.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{ControlPlane, Error, Result};

impl ControlPlane {
    /// Lets etcd refuse all writes, as it does by itself when its quota is used up: it then raises the same alarm. Reads
    /// go on, and the API server answers writes with 500.
    pub async fn fill_etcd(&self) -> Result<()> {
        self.space_alarm("ACTIVATE").await
    }

    /// Lets etcd accept writes again, as an administrator does after compacting and defragmenting it.
    pub async fn free_etcd(&self) -> Result<()> {
        self.space_alarm("DEACTIVATE").await
    }

    async fn space_alarm(&self, action: &str) -> Result<()> {
        let body = json!({"action": action, "alarm": "NOSPACE"});
        self.ask_etcd(
            "maintenance/alarm",
            &body,
            format!("{action} the alarm NOSPACE"),
        )
        .await
        .map(drop)
    }

    /// The bytes that are stored for an object, if it is there: below `/registry/`, for a custom resource
    /// `group/plural/namespace/name`.
    pub async fn stored_bytes(&self, path: &str) -> Result<Option<Vec<u8>>> {
        let key = STANDARD.encode(format!("/registry/{path}"));
        let answer = self
            .ask_etcd("kv/range", &json!({"key": key}), format!("read {path}"))
            .await?;
        let value = answer["kvs"][0]["value"].as_str();
        Ok(value.and_then(|value| STANDARD.decode(value).ok()))
    }

    async fn ask_etcd(&self, method: &str, body: &Value, action: String) -> Result<Value> {
        let url = format!("{}/v3/{method}", self.setup.etcd_url());
        let answer = async {
            let client = reqwest::Client::builder().no_proxy().build()?;
            let request = client.post(url).timeout(super::START_TIMEOUT).json(body);
            request.send().await?.error_for_status()?.json().await
        };
        answer
            .await
            .map_err(|source| Error::Etcd { action, source })
    }
}
