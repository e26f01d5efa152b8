//! What the parts of the API read from the metadata of an object.

use serde_json::Value;

/// A text field of `metadata` that is there and not empty.
pub(super) fn text<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    object["metadata"][field]
        .as_str()
        .filter(|text| !text.is_empty())
}

/// What has to be done before the object goes.
pub(super) fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    let list = object["metadata"]["finalizers"].as_array();
    list.into_iter().flatten().filter_map(Value::as_str)
}

/// The uids of those it belongs to.
pub(super) fn owners(object: &Value) -> impl Iterator<Item = &str> {
    let list = object["metadata"]["ownerReferences"].as_array();
    list.into_iter()
        .flatten()
        .filter_map(|owner| owner["uid"].as_str())
}
