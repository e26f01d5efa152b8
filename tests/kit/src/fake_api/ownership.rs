//! Server-side apply and who owns which field, after the API server's structured merge.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// The way to a field, from the root of an object.
pub(super) type Path = Vec<Segment>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Segment {
    Field(String),
    /// The element of a list that is merged by key, by the value of that key.
    Item(String),
}

/// Who writes. An apply and an update by the same name are two managers, and so are main resource and subresource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Manager {
    pub name: String,
    pub applies: bool,
    pub subresource: Option<String>,
}

/// The fields that each manager set last. Kept beside the object; `managedFields` are not shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Ownership(BTreeMap<Manager, BTreeSet<Path>>);

impl Ownership {
    /// Notes that `manager` turned `old` into `new`: what changed is now theirs alone.
    ///
    /// `applied` is what an apply named; an update owns what it changed, in addition to what it owned.
    pub fn note(
        &mut self,
        manager: &Manager,
        old: &Value,
        new: &Value,
        applied: Option<BTreeSet<Path>>,
    ) {
        let before = leaves(old);
        let after = leaves(new);
        let mut taken: BTreeSet<Path> = before
            .keys()
            .filter(|path| !after.contains_key(*path))
            .cloned()
            .collect();
        let changed: BTreeSet<Path> = after
            .iter()
            .filter(|(path, value)| before.get(*path) != Some(value))
            .map(|(path, _)| path.clone())
            .collect();
        taken.extend(changed.iter().cloned());
        for fields in self.0.values_mut() {
            fields.retain(|path| !taken.contains(path));
        }
        let fields = self.0.entry(manager.clone()).or_default();
        match applied {
            Some(applied) => *fields = applied,
            None => fields.extend(changed),
        }
        self.0.retain(|_, fields| !fields.is_empty());
    }

    fn of(&self, manager: &Manager) -> BTreeSet<Path> {
        self.0.get(manager).cloned().unwrap_or_default()
    }

    fn others<'a>(
        &'a self,
        manager: &'a Manager,
        path: &'a Path,
    ) -> impl Iterator<Item = &'a Manager> {
        let owns = move |(other, fields): (&'a Manager, &'a BTreeSet<Path>)| {
            (other != manager && fields.contains(path)).then_some(other)
        };
        self.0.iter().filter_map(owns)
    }
}

/// What an apply comes to.
#[derive(Debug)]
pub(super) struct Applied {
    pub object: Value,
    /// The fields that the manager owns from now on.
    pub fields: BTreeSet<Path>,
}

/// Merges what `manager` wants into the live object, and removes what they wanted before, no longer want, and nobody
/// else owns.
///
/// # Errors
/// Without `force`, the fields of others that would change, as `(manager, field)`.
pub(super) fn apply(
    live: &Value,
    wanted: &Value,
    ownership: &Ownership,
    manager: &Manager,
    force: bool,
) -> Result<Applied, Vec<(String, String)>> {
    let wanted_leaves = leaves(wanted);
    if !force {
        let live_leaves = leaves(live);
        let conflicts: Vec<_> = wanted_leaves
            .iter()
            .filter(|(path, value)| live_leaves.get(*path) != Some(value))
            .flat_map(|(path, _)| {
                ownership
                    .others(manager, path)
                    .map(|other| (other.name.clone(), display(path)))
            })
            .collect();
        if !conflicts.is_empty() {
            return Err(conflicts);
        }
    }
    let fields: BTreeSet<Path> = wanted_leaves.into_keys().collect();
    let mut object = live.clone();
    for path in ownership.of(manager).difference(&fields) {
        if ownership.others(manager, path).next().is_none() {
            remove(&mut object, path, &[]);
        }
    }
    merge(&mut object, wanted, &[]);
    Ok(Applied { object, fields })
}

/// The fields that nobody owns: the server sets them, or they say which object it is.
fn is_nobodys(path: &[Segment]) -> bool {
    let field = |index: usize| match path.get(index) {
        Some(Segment::Field(name)) => name.as_str(),
        _ => "",
    };
    match field(0) {
        "apiVersion" | "kind" => true,
        "metadata" => SYSTEM_METADATA.contains(&field(1)),
        _ => false,
    }
}

/// The parts of `metadata` that a client cannot change.
pub(super) const SYSTEM_METADATA: [&str; 9] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "managedFields",
    "selfLink",
];

/// The key by which a list's elements are told apart; `None` for lists that are replaced as a whole.
///
/// An API server reads this from the schema. These are the two lists that matter to an operator's objects.
fn list_key(path: &[Segment]) -> Option<&'static str> {
    match path {
        [Segment::Field(a), Segment::Field(b)] if a == "metadata" && b == "ownerReferences" => {
            Some("uid")
        }
        [Segment::Field(a), Segment::Field(b)] if a == "status" && b == "conditions" => {
            Some("type")
        }
        _ => None,
    }
}

fn item_key<'a>(item: &'a Value, key: &str) -> Option<&'a str> {
    item.get(key).and_then(Value::as_str)
}

/// The list as elements with keys, if it is one that is merged by key and every element has one.
fn keyed<'a>(path: &[Segment], value: &'a Value) -> Option<Vec<(&'a str, &'a Value)>> {
    let key = list_key(path)?;
    let items = value.as_array().filter(|items| !items.is_empty())?;
    items
        .iter()
        .map(|item| Some((item_key(item, key)?, item)))
        .collect()
}

fn leaves(object: &Value) -> BTreeMap<Path, &Value> {
    fn collect<'a>(value: &'a Value, path: &mut Path, found: &mut BTreeMap<Path, &'a Value>) {
        // To leave metadata or a list of elements empty says nothing; any other empty map or list is a value.
        let empty = value.as_object().is_some_and(Map::is_empty)
            || value.as_array().is_some_and(Vec::is_empty);
        let metadata = matches!(path.as_slice(), [Segment::Field(name)] if name == "metadata");
        let silent = empty && (metadata || list_key(path).is_some());
        if silent || is_nobodys(path) {
            return;
        }
        match (value, keyed(path, value)) {
            (Value::Object(fields), _) if !fields.is_empty() => {
                for (name, value) in fields {
                    path.push(Segment::Field(name.clone()));
                    collect(value, path, found);
                    path.pop();
                }
            }
            (_, Some(items)) => {
                for (key, item) in items {
                    path.push(Segment::Item(key.to_owned()));
                    collect(item, path, found);
                    path.pop();
                }
            }
            _ => {
                found.insert(path.clone(), value);
            }
        }
    }
    let mut found = BTreeMap::new();
    if object.is_object() {
        collect(object, &mut Vec::new(), &mut found);
    }
    found
}

fn merge(live: &mut Value, wanted: &Value, path: &[Segment]) {
    match (&mut *live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => {
            for (name, value) in wanted {
                let path = [path, &[Segment::Field(name.clone())]].concat();
                match live.get_mut(name) {
                    Some(live) => merge(live, value, &path),
                    None => {
                        live.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        // To want no elements is to leave those of others alone.
        (Value::Array(_), Value::Array(wanted))
            if wanted.is_empty() && list_key(path).is_some() => {}
        (Value::Array(items), Value::Array(_)) => {
            let (Some(key), Some(wanted_items)) = (list_key(path), keyed(path, wanted)) else {
                *live = wanted.clone();
                return;
            };
            for (name, item) in wanted_items {
                match items
                    .iter_mut()
                    .find(|live| item_key(live, key) == Some(name))
                {
                    Some(live) => merge(
                        live,
                        item,
                        &[path, &[Segment::Item(name.to_owned())]].concat(),
                    ),
                    None => items.push(item.clone()),
                }
            }
        }
        _ => *live = wanted.clone(),
    }
}

/// Removes a field, and the maps and elements that are empty without it. Says whether `value` is empty now.
fn remove(value: &mut Value, path: &[Segment], above: &[Segment]) -> bool {
    let Some((first, rest)) = path.split_first() else {
        return false;
    };
    let here = [above, std::slice::from_ref(first)].concat();
    match (first, value) {
        (Segment::Field(name), Value::Object(fields)) => {
            let Some(child) = fields.get_mut(name) else {
                return false;
            };
            // To have wanted an empty map or list is no claim on what others put into it.
            let full = child.as_object().is_some_and(|fields| !fields.is_empty())
                || keyed(&here, child).is_some();
            if (rest.is_empty() && !full) || (!rest.is_empty() && remove(child, rest, &here)) {
                fields.remove(name);
            }
            fields.is_empty()
        }
        (Segment::Item(name), Value::Array(items)) => {
            let key = list_key(above).unwrap_or_default();
            let Some(index) = items
                .iter()
                .position(|item| item_key(item, key) == Some(name))
            else {
                return false;
            };
            // The key goes last, so that the element can still be found while its other fields are removed.
            let others_left = rest == [Segment::Field(key.to_owned())]
                && items[index].as_object().map_or(0, Map::len) > 1;
            if !others_left && (rest.is_empty() || remove(&mut items[index], rest, &here)) {
                items.remove(index);
            }
            items.is_empty()
        }
        _ => false,
    }
}

/// As the API server shows a path: `.status.conditions[type="Ready"].reason`.
fn display(path: &[Segment]) -> String {
    let mut text = String::new();
    for (index, segment) in path.iter().enumerate() {
        match segment {
            Segment::Field(name) => {
                text.push('.');
                text.push_str(name);
            }
            Segment::Item(name) => {
                let key = list_key(&path[..index]).unwrap_or_default();
                text.push_str(&format!("[{key}=\"{name}\"]"));
            }
        }
    }
    text
}
