//! What is created for each object, from a text with variables.

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, TypeMeta};
use serde_json::Value;

use crate::Result;

/// An object that an operator is to make a Secret for, before it's created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The client id of its credentials.
    pub client: String,
    /// The token endpoint.
    pub token_url: String,
}

/// The client secret of all credentials.
pub const CLIENT_SECRET: &str = "a-client-secret-of-64-bytes-as-they-are-long-in-practice-0123456";

/// Documents in YAML with variables in them: `{namespace}`, `{name}`, `{client}`, `{secret}`, `{token_url}`.
#[derive(Clone, Debug)]
pub struct Template {
    credentials: Vec<String>,
    object: String,
    kind: ApiResource,
}

impl Template {
    /// Takes documents apart: the last one is the object itself.
    pub fn parse(text: &str) -> Result<Template> {
        let mut documents: Vec<_> = text.split("\n---\n").map(str::to_owned).collect();
        let object = documents.pop().unwrap_or_default();
        Ok(Template {
            kind: kind(&serde_saphyr::from_str(&object)?)?,
            credentials: documents,
            object,
        })
    }

    /// The kind of the objects.
    pub fn kind(&self) -> &ApiResource {
        &self.kind
    }

    /// What is created before the object.
    pub fn credentials(&self, order: &Order) -> Result<Vec<(ApiResource, DynamicObject)>> {
        let credentials = self.credentials.iter();
        credentials
            .map(|text| {
                let document = document(text, order)?;
                Ok((kind(&document)?, serde_json::from_value(document)?))
            })
            .collect()
    }

    /// The object itself, which `edit` may change first.
    pub fn object(&self, order: &Order, edit: impl Fn(&mut Value)) -> Result<DynamicObject> {
        let mut document = document(&self.object, order)?;
        edit(&mut document);
        Ok(serde_json::from_value(document)?)
    }
}

/// Puts values in the place of variables.
pub fn fill(text: &str, variables: &[(&str, &str)]) -> String {
    let mut text = text.to_owned();
    for (name, value) in variables {
        text = text.replace(&format!("{{{name}}}"), value);
    }
    text
}

fn document(text: &str, order: &Order) -> Result<Value> {
    let variables = [
        ("namespace", &*order.namespace),
        ("name", &order.name),
        ("client", &order.client),
        ("secret", CLIENT_SECRET),
        ("token_url", &order.token_url),
    ];
    Ok(serde_saphyr::from_str(&fill(text, &variables))?)
}

/// The resource of a document. Its plural is guessed, as kube does.
fn kind(document: &Value) -> Result<ApiResource> {
    let types: TypeMeta = serde_json::from_value(document.clone())?;
    Ok(ApiResource::from_gvk(&GroupVersionKind::try_from(&types)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "apiVersion: v1
kind: Secret
metadata: {name: \"{name}-client\", namespace: \"{namespace}\"}
stringData: {id: \"{client}\"}
---
apiVersion: example.com/v1
kind: Token
metadata: {name: \"{name}\", namespace: \"{namespace}\"}
spec: {url: \"{token_url}\"}
";

    fn order() -> Order {
        Order {
            namespace: "tenant-1".into(),
            name: "edge-7".into(),
            client: "client-7".into(),
            token_url: "http://127.0.0.1:1/oauth/token".into(),
        }
    }

    #[test]
    fn the_last_document_is_the_object_and_those_before_are_its_credentials() {
        let template = Template::parse(TEXT).unwrap();
        assert_eq!(template.kind().plural, "tokens");
        let credentials = template.credentials(&order()).unwrap();
        assert_eq!(credentials.len(), 1);
        let (kind, secret) = &credentials[0];
        assert_eq!(kind.plural, "secrets");
        assert_eq!(secret.metadata.name.as_deref(), Some("edge-7-client"));
        assert_eq!(secret.data["stringData"]["id"], "client-7");
        let object = template
            .object(&order(), |object| object["spec"]["more"] = 1.into())
            .unwrap();
        assert_eq!(object.metadata.namespace.as_deref(), Some("tenant-1"));
        assert_eq!(object.data["spec"]["url"], "http://127.0.0.1:1/oauth/token");
        assert_eq!(object.data["spec"]["more"], 1);
    }
}
