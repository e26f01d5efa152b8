//! `validate`: manifests checked without a cluster, for a pipeline: by the definition's schema, by the operator's own rules, which
//! mirror those in CEL, and against each other.

use std::{collections::BTreeMap, io::Write, path::PathBuf};

use anstream::eprintln;
use clap::{Args, ValueEnum, builder::ValueHint};
use edge_credential_operator::{
    api::{EdgeCredential, EdgeToken, GROUP, names::is_subdomain},
    edge_credential,
    edge_token::{self, rules::spec::Allowed},
    http::origin::{Origin, SITECORE_API_ORIGINS, SITECORE_ORIGINS},
    rules::spec::{SpecProblem, check_names},
};
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde_json::Value;

use crate::{
    cluster::access::AccessArgs,
    error::Error,
    exit::Exit,
    kind::Object,
    manifest::{Document, Node, read},
    output::format::write_json,
    schema::check,
};

/// The command line.
#[derive(Args, Debug)]
pub struct ValidateArgs {
    /// The manifests: a file, a folder with all below it, or - for standard input. Give it several times for several.
    #[arg(short, long = "filename", value_name = "FILE", required = true, value_hint = ValueHint::AnyPath)]
    pub filenames: Vec<PathBuf>,

    /// A token origin that the operator allows; give it several times for several. By default Sitecore's, as with the operator.
    #[arg(long = "allowed-token-origin", value_name = "ORIGIN", value_delimiter = ',', default_values = SITECORE_ORIGINS)]
    pub token_origins: Vec<Origin>,

    /// An origin of Sitecore's APIs that the operator allows; give it several times for several. By default Sitecore's.
    #[arg(long = "allowed-api-origin", value_name = "ORIGIN", value_delimiter = ',', default_values = SITECORE_API_ORIGINS)]
    pub api_origins: Vec<Origin>,

    /// How to print what is wrong.
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub output: Report,
}

/// How problems are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Report {
    /// A line each, with file and line.
    Text,
    /// Annotations for GitHub Actions.
    Github,
    /// For programs.
    Json,
}

/// Something that is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file.
    pub file: String,
    /// The line.
    pub line: u64,
    /// The field, where it is one.
    pub field: String,
    /// What is wrong, and what to do.
    pub problem: String,
}

/// An object in a manifest that can be acted on.
struct Sound<'a> {
    document: &'a Document,
    root: &'a Node,
    namespace: String,
    kind: &'a str,
    names: Names,
}

/// What an object is called, and the Secrets that it names.
struct Names {
    name: String,
    target: String,
    credentials: String,
}

/// A kind whose manifests are checked.
struct Kind {
    name: String,
    /// The schema of its spec, without what an API server adds.
    schema: Value,
    /// Checks an object by the operator's rules.
    check: fn(Value, &Allowed) -> Result<Names, Flaw>,
}

/// Why an object cannot be acted on.
enum Flaw {
    /// It does not fit its definition.
    Unfit,
    /// A rule is broken.
    Rule(SpecProblem),
}

impl From<serde_json::Error> for Flaw {
    fn from(_: serde_json::Error) -> Self {
        Self::Unfit
    }
}

impl From<SpecProblem> for Flaw {
    fn from(problem: SpecProblem) -> Self {
        Self::Rule(problem)
    }
}

/// Checks manifests. The exit code is 1 where something is wrong.
pub fn run(access: &AccessArgs, args: &ValidateArgs) -> Result<Exit, Error> {
    let mut documents = Vec::new();
    for path in &args.filenames {
        documents.extend(read(path)?);
    }
    let allowed = Allowed {
        token_endpoints: args.token_origins.iter().cloned().collect(),
        apis: args.api_origins.iter().cloned().collect(),
    };
    let namespace = access.namespace.as_deref().unwrap_or("default");
    let (count, findings) = validate(&documents, &allowed, namespace);
    let mut out = anstream::stdout().lock();
    match args.output {
        Report::Json => write_json(&mut out, &findings)?,
        Report::Text => findings
            .iter()
            .try_for_each(|finding| writeln!(out, "{}", finding.text()))?,
        Report::Github => findings
            .iter()
            .try_for_each(|finding| writeln!(out, "{}", finding.annotation()))?,
    }
    if count == 0 && findings.is_empty() {
        return Err(Error::refused(
            "there is no EdgeCredential and no EdgeToken in these files",
            "Name other files with -f. Templates have to be rendered first: helm template . | kubectl edgecred validate -f -",
        ));
    }
    eprintln!("{count} objects, {} problems.", findings.len());
    Ok(if findings.is_empty() {
        Exit::Well
    } else {
        Exit::Failed
    })
}

/// How many objects of ours there are, and all that is wrong with them.
pub fn validate(
    documents: &[Document],
    allowed: &Allowed,
    namespace: &str,
) -> (usize, Vec<Finding>) {
    let kinds = [
        Kind::of::<EdgeCredential>(check_edge_credential),
        Kind::of::<EdgeToken>(check_edge_token),
    ];
    let mut findings = Vec::new();
    let mut sound = Vec::new();
    let mut secrets = Vec::new();
    let mut count = 0;
    for document in documents {
        let root = match &document.root {
            Ok(root) => root,
            Err(line) => {
                // What is no YAML and has nothing to do with us is somebody else's.
                if kinds.iter().any(|kind| document.text.contains(&kind.name)) {
                    findings.push(document.finding(*line, "", "is not YAML. A template has to be rendered first: helm template . | kubectl edgecred validate -f -"));
                }
                continue;
            }
        };
        let kind = root.text(&["kind"]).unwrap_or_default();
        let namespace = root
            .text(&["metadata", "namespace"])
            .unwrap_or(namespace)
            .to_owned();
        if kind == "Secret" {
            secrets.push((
                namespace,
                root.text(&["metadata", "name"]).unwrap_or_default(),
                document,
                root,
            ));
        } else if let Some(kind) = kinds.iter().find(|known| known.name == kind) {
            count += 1;
            match check_one(document, root, kind, allowed) {
                Ok(names) => sound.push(Sound {
                    document,
                    root,
                    namespace,
                    kind: &kind.name,
                    names,
                }),
                Err(found) => findings.extend(found),
            }
        }
    }
    findings.extend(check_together(&sound));
    for (namespace, name, document, root) in secrets {
        let target = sound
            .iter()
            .find(|sound| sound.namespace == namespace && sound.names.target == name);
        if let Some(target) = target {
            let owner = format!("{} \"{}\"", target.kind, target.names.name);
            let problem = format!(
                "this Secret is the target of {owner}: who applies it overwrites the token. Leave it out."
            );
            findings.push(document.finding(
                root.line_of("metadata.name"),
                "metadata.name",
                problem,
            ));
        }
    }
    findings.sort_by(|one, other| (&one.file, one.line).cmp(&(&other.file, other.line)));
    (count, findings)
}

impl Kind {
    fn of<K: Object>(check: fn(Value, &Allowed) -> Result<Names, Flaw>) -> Self {
        let definition = serde_json::to_value(K::crd()).unwrap_or_default();
        let path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
        Self {
            name: K::KIND.as_str().into(),
            schema: definition.pointer(path).cloned().unwrap_or_default(),
            check,
        }
    }
}

impl Names {
    fn of<K: Object>(object: &K) -> Self {
        Self {
            name: object.name_any(),
            target: object.target().into(),
            credentials: object.credentials().name.clone(),
        }
    }
}

fn check_edge_credential(value: Value, allowed: &Allowed) -> Result<Names, Flaw> {
    let object: EdgeCredential = serde_json::from_value(value)?;
    check_names(object.credentials(), object.target())?;
    if !object
        .spec
        .renew_before
        .as_deref()
        .is_none_or(has_units_of_go)
    {
        return Err(Flaw::Rule(SpecProblem::Invalid {
            field: "spec.renewBefore",
            rule: "must be a duration such as 8h or 90m",
        }));
    }
    edge_credential::rules::spec::check_spec(&object, &allowed.token_endpoints)?;
    Ok(Names::of(&object))
}

fn check_edge_token(value: Value, allowed: &Allowed) -> Result<Names, Flaw> {
    let object: EdgeToken = serde_json::from_value(value)?;
    check_names(object.credentials(), object.target())?;
    edge_token::rules::spec::check_spec(&object, allowed)?;
    Ok(Names::of(&object))
}

/// Checks an object for itself.
fn check_one(
    document: &Document,
    root: &Node,
    kind: &Kind,
    allowed: &Allowed,
) -> Result<Names, Vec<Finding>> {
    let version = EdgeCredential::api_version(&());
    let given = root.text(&["apiVersion"]).unwrap_or_default();
    if given != version {
        let problem = match given.split_once('/') {
            Some((GROUP, _)) => {
                format!("this version is not known here: the one of this program is {version}")
            }
            _ => format!("must be {version}"),
        };
        return Err(vec![document.finding(
            root.line_of("apiVersion"),
            "apiVersion",
            problem,
        )]);
    }
    let name = root.text(&["metadata", "name"]).unwrap_or_default();
    if !is_subdomain(name) {
        let problem = "must be a DNS subdomain: lower-case letters, digits, '-' and '.'";
        return Err(vec![document.finding(
            root.line_of("metadata.name"),
            "metadata.name",
            problem,
        )]);
    }
    let Some(spec) = root.get("spec") else {
        return Err(vec![document.finding(root.line, "spec", "is required")]);
    };
    let misfits = check(&kind.schema, spec, "spec");
    if !misfits.is_empty() {
        let findings = misfits
            .into_iter()
            .map(|misfit| document.finding(misfit.line, misfit.field, misfit.problem));
        return Err(findings.collect());
    }
    let mut value = root.to_value();
    // An API server takes no status from a manifest.
    value
        .as_object_mut()
        .and_then(|object| object.remove("status"));
    remove_nulls(&mut value);
    (kind.check)(value, allowed).map_err(|flaw| {
        let (field, text) = match &flaw {
            Flaw::Unfit => ("spec", "does not fit the definition".to_owned()),
            Flaw::Rule(SpecProblem::Invalid { field, rule }) => (*field, (*rule).to_owned()),
            Flaw::Rule(SpecProblem::OriginNotAllowed(origin)) => (
                "spec.tokenRequest.url",
                format!(
                    "client secrets may not be sent to {origin}: correct it, or, if the operator allows this origin, say so with \
                     --allowed-token-origin"
                ),
            ),
            Flaw::Rule(SpecProblem::ApiOriginNotAllowed { field, origin }) => (
                *field,
                format!(
                    "tokens and keys may not be sent to {origin}: correct it, or, if the operator allows this origin, say so with \
                     --allowed-api-origin"
                ),
            ),
        };
        vec![document.finding(root.line_of(field), field, text)]
    })
}

/// Whether a duration is of numbers and Go's units alone. The operator also takes `8 hours`, which the definition's pattern keeps from it.
fn has_units_of_go(text: &str) -> bool {
    text.bytes()
        .all(|b| b.is_ascii_digit() || b".hms".contains(&b))
}

/// A field that is `null` is one that is not set.
fn remove_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(remove_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        _ => {}
    }
}

/// Checks objects against each other.
fn check_together(sound: &[Sound<'_>]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut names: BTreeMap<(&str, &str, &str), &Sound<'_>> = BTreeMap::new();
    let mut targets: BTreeMap<(&str, &str), &Sound<'_>> = BTreeMap::new();
    for one in sound {
        let place = |other: &Sound<'_>, field| {
            format!("{}:{}", other.document.file, other.root.line_of(field))
        };
        let Names { name, target, .. } = &one.names;
        if let Some(first) = names.insert((&one.namespace, one.kind, name), one) {
            let problem = format!(
                "is the {} of {} again",
                one.kind,
                place(first, "metadata.name")
            );
            findings.push(one.finding("metadata.name", problem));
        } else if let Some(first) = targets.insert((&one.namespace, target), one) {
            let problem = format!(
                "the target \"{target}\" is that of {} \"{}\" already ({}): give one of the two another name",
                first.kind,
                first.names.name,
                place(first, "spec.target.name")
            );
            findings.push(one.finding("spec.target.name", problem));
        }
    }
    for one in sound {
        let credentials = &one.names.credentials;
        if let Some(other) = targets.get(&(&*one.namespace, &**credentials)) {
            let problem = format!(
                "the Secret \"{credentials}\" is the target of {} \"{}\": it would hold a token, not credentials",
                other.kind, other.names.name
            );
            findings.push(one.finding("spec.credentialsSecretRef.name", problem));
        }
    }
    findings
}

impl Sound<'_> {
    fn finding(&self, field: &str, problem: impl Into<String>) -> Finding {
        self.document
            .finding(self.root.line_of(field), field, problem)
    }
}

impl Document {
    fn finding(&self, line: u64, field: impl Into<String>, problem: impl Into<String>) -> Finding {
        Finding {
            file: self.file.clone(),
            line,
            field: field.into(),
            problem: problem.into(),
        }
    }
}

impl Finding {
    fn sentence(&self) -> String {
        match &*self.field {
            "" => self.problem.clone(),
            field => format!("{field}: {}", self.problem),
        }
    }

    fn text(&self) -> String {
        format!("{}:{}: {}", self.file, self.line, self.sentence())
    }

    /// A workflow command of GitHub Actions, with its own way to escape.
    fn annotation(&self) -> String {
        let data = |text: &str| {
            text.replace('%', "%25")
                .replace('\r', "%0D")
                .replace('\n', "%0A")
        };
        let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
        format!(
            "::error file={},line={}::{}",
            property(&self.file),
            self.line,
            data(&self.sentence())
        )
    }
}

#[cfg(test)]
mod tests {
    use kit::schema_corpus;
    use serde_json::json;

    use super::*;
    use crate::manifest::parse;

    fn findings(text: &str) -> Vec<String> {
        let parse_all = |origins: &[&str]| {
            origins
                .iter()
                .map(|origin| origin.parse().unwrap())
                .collect()
        };
        let allowed = Allowed {
            token_endpoints: parse_all(&SITECORE_ORIGINS),
            apis: parse_all(&SITECORE_API_ORIGINS),
        };
        let documents = parse("k8s/edge.yaml", text);
        let (_, findings) = validate(&documents, &allowed, "default");
        findings.iter().map(Finding::text).collect()
    }

    fn manifest(name: &str, spec: &str) -> String {
        format!(
            "apiVersion: edgecredentials.io/v1alpha1\nkind: EdgeCredential\nmetadata:\n  name: {name}\nspec:\n  credentialsSecretRef: {{name: edge-client}}\n{spec}---\n"
        )
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (spec, said) in [
            ("", vec![]),
            (
                "  target: {name: edge-client}\n",
                vec!["k8s/edge.yaml:7: spec.target.name: must not be the credentials Secret"],
            ),
            (
                "  target:\n    nam: x\n",
                vec!["k8s/edge.yaml:8: spec.target.nam: unknown field"],
            ),
            (
                "  suspend: yes please\n  renewBeforePercentage: 100\n",
                vec![
                    "k8s/edge.yaml:7: spec.suspend: must be of type boolean",
                    "k8s/edge.yaml:8: spec.renewBeforePercentage: must be from 1 to 99",
                ],
            ),
            (
                "  tokenRequest:\n    url: https://auth.example.com/token\n",
                vec![
                    "k8s/edge.yaml:8: spec.tokenRequest.url: client secrets may not be sent to https://auth.example.com: correct it, or, \
                     if the operator allows this origin, say so with --allowed-token-origin",
                ],
            ),
        ] {
            assert_eq!(findings(&manifest("edge", spec)), said, "{spec}");
        }
    }

    #[test]
    fn two_objects_with_one_target_are_found_also_in_several_documents() {
        let both = manifest("one", "  target: {name: shared}\n")
            + &manifest("two", "  target:\n    name: shared\n");
        assert_eq!(
            findings(&both),
            [
                "k8s/edge.yaml:16: spec.target.name: the target \"shared\" is that of EdgeCredential \"one\" already (k8s/edge.yaml:7): \
                 give one of the two another name"
            ]
        );
        let elsewhere = both.replacen("  name: two", "  name: two\n  namespace: other", 1);
        assert_eq!(findings(&elsewhere), [""; 0]);
        let again = manifest("one", "") + &manifest("one", "");
        assert_eq!(
            findings(&again),
            ["k8s/edge.yaml:11: metadata.name: is the EdgeCredential of k8s/edge.yaml:4 again"]
        );
    }

    #[test]
    fn edge_tokens_are_checked_by_their_own_rules_and_against_the_others() {
        let token =
            |spec: &str| manifest("two", spec).replace("kind: EdgeCredential", "kind: EdgeToken");
        assert_eq!(findings(&token("")), [""; 0]);
        assert_eq!(
            findings(&token("  rotation:\n    every: 1m\n")),
            ["k8s/edge.yaml:8: spec.rotation.every: must be from 1h to 8760h"]
        );
        let said = findings(&token("  tokenAPI:\n    url: https://api.example.com/\n"));
        assert!(
            said[0]
                .starts_with("k8s/edge.yaml:8: spec.tokenAPI.url: tokens and keys may not be sent"),
            "{said:?}"
        );
        let both = manifest("one", "") + &token("  target: {name: one}\n");
        let said = findings(&both);
        assert!(
            said[0].contains("the target \"one\" is that of EdgeCredential \"one\" already"),
            "{said:?}"
        );
        // One name for two kinds is none too many.
        let both = manifest("two", "  target: {name: other}\n") + &token("");
        assert_eq!(findings(&both), [""; 0]);
    }

    #[test]
    fn a_secret_that_would_overwrite_a_token_is_found() {
        let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: one}\n";
        let said = findings(&(manifest("one", "") + secret));
        assert!(
            said[0].contains("is the target of EdgeCredential \"one\""),
            "{said:?}"
        );
    }

    #[test]
    fn a_template_has_to_be_rendered_first() {
        let said = findings("kind: EdgeCredential\nmetadata: {{ include \"x\" . }}\n");
        assert!(said[0].contains("helm template"), "{said:?}");
        assert_eq!(
            findings("kind: Deployment\nmetadata: {{ include \"x\" . }}\n"),
            [""; 0]
        );
    }

    #[test]
    fn github_shows_a_problem_in_its_line() {
        let finding = Finding {
            file: "k8s/a,b.yaml".into(),
            line: 14,
            field: "spec.target.name".into(),
            problem: "100 %\nwrong".into(),
        };
        assert_eq!(
            finding.annotation(),
            "::error file=k8s/a%2Cb.yaml,line=14::spec.target.name: 100 %25%0Awrong"
        );
    }

    /// What a real API server refuses, by CEL too, is refused here without one. That it does refuse all of this is shown in
    /// `tests/cluster/schema.rs`, by the same list.
    #[test]
    fn what_an_api_server_refuses_is_refused_without_one() {
        let mut spec = json!({"credentialsSecretRef": {"name": "edge-client"}});
        let mut accepted = Vec::new();
        let cases = schema_corpus::refused();
        assert!(cases.len() > 60, "{}", cases.len());
        for (patch, message) in cases {
            let mut changed = spec.clone();
            schema_corpus::merge(&mut changed, &patch);
            let object = json!({
                "apiVersion": "edgecredentials.io/v1alpha1",
                "kind": "EdgeCredential",
                "metadata": {"name": "edge"},
                "spec": changed,
            });
            if findings(&object.to_string()).is_empty() {
                accepted.push(format!("{patch}: {message}"));
            }
        }
        assert_eq!(accepted, [""; 0]);
        // And what it takes is taken.
        spec["target"] = json!({"labels": {"app.kubernetes.io/name": "x"}, "data": [{"key": "token", "from": "AccessToken"}]});
        let object = json!({
            "apiVersion": "edgecredentials.io/v1alpha1", "kind": "EdgeCredential", "metadata": {"name": "edge"}, "spec": spec,
        });
        assert_eq!(findings(&object.to_string()), [""; 0]);
    }
}
