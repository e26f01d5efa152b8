//! Label and field selectors.

use serde_json::Value;

use super::{error::ApiError, path::ResourceName};

/// Which objects of a collection a list or a watch is about. The default is all.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Selector {
    labels: Vec<LabelTerm>,
    fields: Vec<FieldTerm>,
}

#[derive(Clone, Debug, PartialEq)]
enum LabelTerm {
    Exists(String),
    Absent(String),
    In(String, Vec<String>),
    /// Also true of objects without the label, as in the API server.
    NotIn(String, Vec<String>),
}

#[derive(Clone, Debug, PartialEq)]
struct FieldTerm {
    path: String,
    value: String,
    equal: bool,
}

impl Selector {
    /// Reads the two query parameters; a term that the API server would not understand is a 400.
    pub fn parse(resource: &ResourceName, labels: &str, fields: &str) -> Result<Self, ApiError> {
        Ok(Self {
            labels: terms(labels).map(label_term).collect::<Result<_, _>>()?,
            fields: terms(fields)
                .map(|term| field_term(resource, term))
                .collect::<Result<_, _>>()?,
        })
    }

    pub fn is_everything(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub fn matches(&self, object: &Value) -> bool {
        let label = |key: &str| {
            object["metadata"]["labels"]
                .get(key)
                .and_then(Value::as_str)
        };
        let within = |key: &str, values: &[String]| {
            label(key).is_some_and(|l| values.iter().any(|v| v == l))
        };
        self.labels.iter().all(|term| match term {
            LabelTerm::Exists(key) => label(key).is_some(),
            LabelTerm::Absent(key) => label(key).is_none(),
            LabelTerm::In(key, values) => within(key, values),
            LabelTerm::NotIn(key, values) => !within(key, values),
        }) && self.fields.iter().all(|term| {
            let found = term.path.split('.').fold(object, |value, key| &value[key]);
            (found.as_str().unwrap_or_default() == term.value) == term.equal
        })
    }
}

/// Splits at commas outside parentheses.
fn terms(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    text.split(move |c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    })
    .map(str::trim)
    .filter(|term| !term.is_empty())
}

fn label_term(term: &str) -> Result<LabelTerm, ApiError> {
    let key = |key: &str| {
        let key = key.trim();
        let odd = |c: char| !(c.is_ascii_alphanumeric() || "-_./".contains(c));
        if key.is_empty() || key.contains(odd) {
            return Err(ApiError::bad_request(format!(
                "unable to parse requirement: found '{term}'"
            )));
        }
        Ok(key.to_owned())
    };
    let set = |values: &str| {
        let values = values.trim().trim_start_matches('(').trim_end_matches(')');
        values.split(',').map(|v| v.trim().to_owned()).collect()
    };
    Ok(if let Some((k, values)) = term.split_once(" notin ") {
        LabelTerm::NotIn(key(k)?, set(values))
    } else if let Some((k, values)) = term.split_once(" in ") {
        LabelTerm::In(key(k)?, set(values))
    } else if let Some((k, value)) = term.split_once("!=") {
        LabelTerm::NotIn(key(k)?, vec![value.trim().to_owned()])
    } else if let Some((k, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        LabelTerm::In(key(k)?, vec![value.trim().to_owned()])
    } else if let Some(k) = term.strip_prefix('!') {
        LabelTerm::Absent(key(k)?)
    } else {
        LabelTerm::Exists(key(term)?)
    })
}

fn field_term(resource: &ResourceName, term: &str) -> Result<FieldTerm, ApiError> {
    let (path, value, equal) = if let Some((path, value)) = term.split_once("!=") {
        (path, value, false)
    } else if let Some((path, value)) = term.split_once("==").or_else(|| term.split_once('=')) {
        (path, value, true)
    } else {
        return Err(ApiError::bad_request(format!("invalid selector: '{term}'")));
    };
    // Only a few fields are indexed by an API server; a selector on any other is an error, not an empty list.
    let known = match path {
        "metadata.name" | "metadata.namespace" => true,
        "type" => resource.is("", "secrets") || resource.plural == "events",
        _ => resource.plural == "events",
    };
    if !known {
        return Err(ApiError::bad_request(format!(
            "field label not supported: {path}"
        )));
    }
    Ok(FieldTerm {
        path: path.to_owned(),
        value: value.to_owned(),
        equal,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn selects(labels: &str, fields: &str) -> bool {
        let secret = json!({
            "metadata": {"name": "a", "labels": {"app": "web", "tier": "front"}},
            "type": "Opaque",
        });
        Selector::parse(&ResourceName::new("", "secrets"), labels, fields)
            .unwrap()
            .matches(&secret)
    }

    #[test]
    fn label_terms_are_all_required() {
        for (labels, expected) in [
            ("", true),
            ("app", true),
            ("!app", false),
            ("app=web", true),
            ("app==web,tier=front", true),
            ("app=web,tier=back", false),
            ("app!=web", false),
            ("absent!=x", true),
            ("app in (db, web),tier", true),
            ("app notin (db,web)", false),
            ("absent notin (x)", true),
        ] {
            assert_eq!(selects(labels, ""), expected, "{labels}");
        }
    }

    #[test]
    fn field_terms_compare_the_field() {
        assert!(selects("", "metadata.name=a,type!=helm.sh/release.v1"));
        assert!(!selects("", "metadata.name=b"));
        assert!(!selects("", "type!=Opaque"));
    }

    #[test]
    fn an_unknown_field_or_a_broken_term_is_an_error() {
        let secrets = ResourceName::new("", "secrets");
        assert_eq!(
            Selector::parse(&secrets, "", "data.x=1").unwrap_err().code,
            400
        );
        assert_eq!(
            Selector::parse(&secrets, "", "metadata.name")
                .unwrap_err()
                .code,
            400
        );
        assert_eq!(Selector::parse(&secrets, "a b", "").unwrap_err().code, 400);
    }
}
