//! Trouble that etcd makes, through its HTTP gateway.

use serde_json::json;

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
        let url = format!("{}/v3/maintenance/alarm", self.setup.etcd_url());
        let body = json!({"action": action, "alarm": "NOSPACE"});
        let answer = async {
            let client = reqwest::Client::builder().no_proxy().build()?;
            let request = client.post(url).timeout(super::START_TIMEOUT).json(&body);
            request.send().await?.error_for_status()
        };
        answer.await.map(drop).map_err(|source| Error::Etcd {
            action: format!("{action} the alarm NOSPACE"),
            source,
        })
    }
}
