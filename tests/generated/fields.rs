//! The fields of a schema as a table: what `kubectl explain` says, and what the API server refuses.

use serde_json::Value;

use super::table;

/// The table of all fields below a schema.
pub fn describe(schema: &Value) -> String {
    let mut rows = Vec::new();
    collect("", schema, &mut rows);
    table(&["Field", "Type", "Default", "Meaning", "Bounds"], rows)
}

/// What its rules say to who breaks them.
pub fn rules(schema: &Value) -> Vec<String> {
    let rules = schema["x-kubernetes-validations"].as_array();
    rules
        .into_iter()
        .flatten()
        .map(|rule| rule["message"].as_str().unwrap().to_owned())
        .collect()
}

fn collect(prefix: &str, schema: &Value, rows: &mut Vec<Vec<String>>) {
    let Some(properties) = schema["properties"].as_object() else {
        return;
    };
    let required = schema["required"].as_array();
    for (name, field) in properties {
        let path = format!("{prefix}{name}");
        // An object says nothing that its fields do not say.
        if field["properties"].is_null() {
            let is_required = required.is_some_and(|names| names.contains(&name.as_str().into()));
            let default = match &field["default"] {
                Value::Null if is_required => "required".to_owned(),
                Value::Null => String::new(),
                Value::String(text) => format!("`{text}`"),
                value => format!("`{value}`"),
            };
            rows.push(vec![
                format!("`{path}`"),
                kind(field).to_owned(),
                default,
                meaning(field),
                bounds(field).join("; "),
            ]);
        }
        collect(&format!("{path}."), field, rows);
        collect(&format!("{path}[]."), &field["items"], rows);
    }
}

fn kind(field: &Value) -> &str {
    match field["type"].as_str().unwrap() {
        "array" => "list",
        "object" => "map",
        _ if field["format"] == "date-time" => "time",
        kind => kind,
    }
}

/// The description, with the values of an enum each on a line of its own.
fn meaning(field: &Value) -> String {
    let text = field["description"].as_str().expect("a description");
    let mut cell = String::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let separator = match line.strip_prefix("- ") {
            _ if cell.is_empty() => "",
            Some(_) => "<br>",
            None => " ",
        };
        cell += separator;
        cell += line.strip_prefix("- ").unwrap_or(line);
    }
    cell
}

fn bounds(field: &Value) -> Vec<String> {
    let number = |key: &str| field[key].as_f64().map(|number| number as i64);
    let range = |least: Option<i64>, most: Option<i64>, unit: &str| match (least, most) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}{unit}")),
        (None, Some(most)) => Some(format!("at most {most}{unit}")),
        (Some(least), None) => Some(format!("{least}{unit} or more")),
        (None, None) => None,
    };
    let mut bounds = Vec::new();
    bounds.extend(range(
        number("minLength").filter(|&least| least > 0),
        number("maxLength"),
        " characters",
    ));
    bounds.extend(range(number("minimum"), number("maximum"), ""));
    bounds.extend(range(number("minItems"), number("maxItems"), " entries"));
    bounds.extend(range(None, number("maxProperties"), " entries"));
    bounds.extend(field["pattern"].as_str().map(pattern));
    for (key, of) in [("items", "each"), ("additionalProperties", "each value")] {
        let inner = bounds_of_scalar(&field[key]);
        if !inner.is_empty() {
            bounds.push(format!("{of} {}", inner.join(", ")));
        }
    }
    bounds.extend(rules(field));
    bounds
}

fn bounds_of_scalar(field: &Value) -> Vec<String> {
    match field["type"].as_str() {
        Some("object") | None => Vec::new(),
        Some(_) => bounds(field),
    }
}

/// A pattern in words, where it has a name.
fn pattern(pattern: &str) -> String {
    let name = match pattern {
        r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$" => "a DNS subdomain",
        r"^\.?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$" => {
            "of `-._a-zA-Z0-9`, not `.`, not with `..` at its beginning"
        }
        r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$" => "a label's value",
        "^[ -~]*$" => "printable ASCII",
        r"^[ !#-%'-;=?-\[\]-~]*$" | r"^[!#-%'-;=?-\[\]-~]+$" => {
            "as RFC 6749 has it, without `<`, `>`, `&`"
        }
        r"^([0-9]{1,9}(\.[0-9]{1,9})?(ms|s|m|h))+$" => "a Go duration such as `8h` or `1h30m`",
        "^[-A-Za-z0-9._]+$" => "of `-._a-zA-Z0-9`",
        pattern => return format!("`{pattern}`"),
    };
    name.to_owned()
}
