//! Manifests in YAML or JSON, with the lines that their fields are in.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use crate::error::Error;

/// A value, and the line that it begins in.
#[derive(Clone, Debug)]
pub struct Node {
    /// Counted from 1.
    pub line: u64,
    /// The value.
    pub content: Content,
}

/// A value.
#[derive(Clone, Debug)]
pub enum Content {
    /// `null`, a truth value, a number or a text.
    Scalar(Value),
    /// A list.
    List(Vec<Node>),
    /// A map. Each entry has the line of its key.
    Map(Vec<(String, Node)>),
}

/// One document of a file.
#[derive(Debug)]
pub struct Document {
    /// The file.
    pub file: String,
    /// What is in it, or in which line it is not YAML.
    pub root: Result<Node, u64>,
    /// The text.
    pub text: String,
}

impl Node {
    /// The value without its lines.
    pub fn to_value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => items.iter().map(Node::to_value).collect(),
            Content::Map(entries) => {
                let entries = entries
                    .iter()
                    .map(|(key, node)| (key.clone(), node.to_value()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    /// A member of a map.
    pub fn get(&self, key: &str) -> Option<&Node> {
        match &self.content {
            Content::Map(entries) => entries
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, node)| node),
            _ => None,
        }
    }

    /// A text below this, by the keys that lead to it.
    pub fn text(&self, path: &[&str]) -> Option<&str> {
        let node = path.iter().try_fold(self, |node, key| node.get(key))?;
        match &node.content {
            Content::Scalar(Value::String(text)) => Some(text),
            _ => None,
        }
    }

    /// The line of a field such as `spec.target.name`, or of the last part of its path that is there.
    pub fn line_of(&self, field: &str) -> u64 {
        let mut node = self;
        for key in field.split('.') {
            match node.get(key) {
                Some(below) => node = below,
                None => break,
            }
        }
        node.line
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Self {
            line: spanned.referenced.line(),
            content: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        Content::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut entries: Vec<(String, Node)> = Vec::new();
        while let Some(key) = access.next_key::<Spanned<String>>()? {
            let mut node: Node = access.next_value()?;
            node.line = key.referenced.line();
            if entries.iter().any(|(name, _)| *name == key.value) {
                return Err(A::Error::custom("a key twice"));
            }
            entries.push((key.value, node));
        }
        Ok(Content::Map(entries))
    }
}

/// The documents of a text. Each one is read for itself, so that one that is no YAML does not hide the others.
pub fn parse(file: &str, text: &str) -> Vec<Document> {
    let mut documents = Vec::new();
    let mut begin = 0;
    let lines: Vec<_> = text.lines().collect();
    let is_mark = |line: &&str| line.trim_end() == "---" || line.starts_with("--- ");
    let marks = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| is_mark(line))
        .map(|(at, _)| at);
    for end in marks.chain([lines.len()]) {
        let part = lines.get(begin..end).unwrap_or_default();
        let is_empty = part
            .iter()
            .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'));
        if !is_empty {
            // Empty lines in front keep the numbers right.
            let text = format!("{}{}\n", "\n".repeat(begin), part.join("\n"));
            documents.push(Document {
                file: file.into(),
                root: serde_saphyr::from_str(&text).map_err(|error| {
                    let line = error.location().map(|location| location.line());
                    line.unwrap_or(u64::try_from(begin).unwrap_or(0) + 1)
                }),
                text,
            });
        }
        begin = end + 1;
    }
    documents
}

/// The documents of a file, of all manifests below a folder, or of standard input (`-`).
pub fn read(path: &Path) -> Result<Vec<Document>, Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::File {
            path,
            action: "read",
            source,
        }
    };
    if path.as_os_str() == "-" {
        let text = io::read_to_string(io::stdin()).map_err(failed(path))?;
        return Ok(parse("stdin", &text));
    }
    if !path.is_dir() {
        let text = fs::read_to_string(path).map_err(failed(path))?;
        return Ok(parse(&path.to_string_lossy(), &text));
    }
    let mut entries: Vec<PathBuf> = fs::read_dir(path)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect())
        .map_err(failed(path))?;
    entries.sort();
    let mut documents = Vec::new();
    for entry in entries {
        let ending = entry.extension().and_then(|ending| ending.to_str());
        if entry.is_dir() || matches!(ending, Some("yaml" | "yml" | "json")) {
            documents.extend(read(&entry)?);
        }
    }
    Ok(documents)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# A comment.\n---\nkind: EdgeCredential\nmetadata:\n  name: edge\nspec:\n  target:\n    name: x\n    data:\n    - {key: a, from: JSON}\n  renewBeforePercentage: 5\n---\nkind: {{ .Values.kind }}\n---\nkind: Secret\n";

    #[test]
    fn each_field_has_its_line() {
        let documents = parse("a.yaml", TEXT);
        assert_eq!(documents.len(), 3);
        let node = documents[0].root.as_ref().unwrap();
        for (field, line) in [
            ("kind", 3),
            ("metadata.name", 5),
            ("spec.target", 7),
            ("spec.target.name", 8),
            ("spec.target.data", 9),
            ("spec.target.labels", 7),
            ("spec.renewBeforePercentage", 11),
        ] {
            assert_eq!(node.line_of(field), line, "{field}");
        }
        assert_eq!(node.text(&["metadata", "name"]), Some("edge"));
        assert_eq!(node.to_value()["spec"]["renewBeforePercentage"], 5);
        assert_eq!(documents[1].root.as_ref().map(|_| ()), Err(&13));
        assert_eq!(documents[2].root.as_ref().unwrap().line_of("kind"), 15);
    }
}
