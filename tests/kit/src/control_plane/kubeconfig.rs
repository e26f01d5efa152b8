//! Kubeconfig files, and clients made from them.

use std::{path::Path, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use kube::config::{KubeConfigOptions, Kubeconfig};

use super::{
    certificates::Identity,
    error::{Error, Result},
};

/// Who the user of a kubeconfig is.
pub(super) enum User<'a> {
    Certificate(&'a Identity),
    Token(&'a str),
}

/// A kubeconfig with everything in it, so that it can be copied anywhere.
pub(super) fn render(
    server: &str,
    authority_pem: &str,
    user: &User<'_>,
    namespace: &str,
) -> String {
    let authority = STANDARD.encode(authority_pem);
    let user = match user {
        User::Certificate(identity) => format!(
            "client-certificate-data: {}\n    client-key-data: {}",
            STANDARD.encode(&identity.certificate),
            STANDARD.encode(&identity.key)
        ),
        User::Token(token) => format!("token: {token}"),
    };
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: kit
  cluster:
    server: {server}
    certificate-authority-data: {authority}
users:
- name: kit
  user:
    {user}
contexts:
- name: kit
  context:
    cluster: kit
    user: kit
    namespace: {namespace}
current-context: kit
"
    )
}

/// A client for the runtime that calls this. One that outlives its runtime fails in odd ways, so each test makes its own.
pub(super) async fn client(path: &Path) -> Result<kube::Client> {
    let error = |source| Error::Kubeconfig {
        path: path.to_owned(),
        source,
    };
    let kubeconfig = Kubeconfig::read_from(path).map_err(error)?;
    let options = KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .map_err(error)?;
    // Everything is on this machine: what has not been accepted by then never will be. No read timeout, since a watch
    // may be silent for as long as it likes.
    config.connect_timeout = Some(Duration::from_secs(5));
    config.write_timeout = Some(Duration::from_secs(10));
    config.read_timeout = None;
    // HTTPS_PROXY is read even for loopback, and no proxy can reach that.
    config.proxy_url = None;
    kube::Client::try_from(config).map_err(|source| Error::Api {
        action: format!("make a client from {}", path.display()),
        source: Box::new(source),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubeconfig_with_a_certificate_can_be_read_back() {
        let identity = Identity {
            certificate: "CERTIFICATE".to_owned(),
            key: "KEY".to_owned(),
        };
        let user = User::Certificate(&identity);
        let text = render("https://127.0.0.1:6443", "CA", &user, "default");
        let config = Kubeconfig::from_yaml(&text).unwrap();
        assert_eq!(config.current_context.as_deref(), Some("kit"));
        let cluster = config.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.server.as_deref(), Some("https://127.0.0.1:6443"));
        let authority = STANDARD.encode("CA");
        assert_eq!(
            cluster.certificate_authority_data.as_ref(),
            Some(&authority)
        );
        let user = config.auth_infos[0].auth_info.as_ref().unwrap();
        let certificate = STANDARD.encode("CERTIFICATE");
        assert_eq!(user.client_certificate_data.as_ref(), Some(&certificate));
        assert!(user.client_key_data.is_some());
        assert!(user.token.is_none());
    }

    #[test]
    fn a_kubeconfig_with_a_token_names_the_namespace() {
        let user = User::Token("a.b.c");
        let text = render("https://127.0.0.1:6443", "CA", &user, "storefront");
        let config = Kubeconfig::from_yaml(&text).unwrap();
        let context = config.contexts[0].context.as_ref().unwrap();
        assert_eq!(context.namespace.as_deref(), Some("storefront"));
        let user = config.auth_infos[0].auth_info.as_ref().unwrap();
        assert!(user.token.is_some());
        assert!(user.client_certificate_data.is_none());
    }
}
