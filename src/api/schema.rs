//! What `schemars` makes of the types, as an API server and people should have it.

use schemars::{Schema, transform::transform_subschemas};
use serde_json::{Map, Value};

/// The generation that the status of an object names before the operator has seen it.
pub(super) const UNSEEN: i64 = -1;

/// Takes `null` out of a schema and all below it, and says in the description of an enum what each value means.
///
/// A field that is not set is left out: a `null` would be a second way to say so, which no field needs. And an API
/// server knows one description for all values of an enum.
pub(super) fn finish_schema(schema: &mut Schema) {
    if let Some(object) = schema.as_object_mut() {
        unwrap_option(object);
        remove_null(object);
        describe_values(object);
    }
    transform_subschemas(&mut finish_schema, schema);
}

/// `anyOf` a type and `null`, as an optional enum is written, becomes the type.
fn unwrap_option(object: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = object.get("anyOf") else {
        return;
    };
    let some = choices.iter().find(|choice| choice["type"] != "null");
    let Some(Value::Object(some)) = some.cloned() else {
        return;
    };
    object.remove("anyOf");
    for (keyword, value) in some {
        // The field's own description goes before that of its type.
        object.entry(keyword).or_insert(value);
    }
}

fn remove_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
}

/// `oneOf` several constants, each with its description, becomes an `enum` whose description has them all.
fn describe_values(object: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = object.remove("oneOf") else {
        return;
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let meanings: String = choices
        .iter()
        .map(|choice| {
            format!(
                "\n- `{}`: {}",
                text(&choice["const"]),
                text(&choice["description"])
            )
        })
        .collect();
    let description = object.get("description").map(text).unwrap_or_default();
    object.insert(
        "description".into(),
        format!("{description}\n{meanings}").into(),
    );
    object.insert("type".into(), "string".into());
    let values = choices.iter().map(|choice| choice["const"].clone());
    object.insert("enum".into(), values.collect());
}
