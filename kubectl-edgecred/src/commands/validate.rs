//! `validate`: manifests checked without a cluster, for a pipeline: by the definition's schema, by the operator's own rules, which
//! mirror those in CEL, and against each other.

use std::{collections::BTreeMap, io::Write, path::PathBuf};

use anstream::eprintln;
use clap::{Args, ValueEnum, builder::ValueHint};
use edge_credential_operator::{
    api::{EdgeCredential, GROUP, names::is_subdomain},
    edge_credential::rules::spec::check_spec,
    http::origin::{AllowedOrigins, Origin, SITECORE_ORIGINS},
    rules::spec::{SpecProblem, check_names},
};
use kube::{CustomResourceExt, Resource};
use serde::Serialize;
use serde_json::Value;

use crate::{
    cluster::access::AccessArgs,
    error::Error,
    exit::Exit,
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
    pub origins: Vec<Origin>,

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

/// An EdgeCredential in a manifest that can be acted on.
struct Sound<'a> {
    document: &'a Document,
    root: &'a Node,
    namespace: String,
    object: EdgeCredential,
}

/// Checks manifests. The exit code is 1 where something is wrong.
pub fn run(access: &AccessArgs, args: &ValidateArgs) -> Result<Exit, Error> {
    let mut documents = Vec::new();
    for path in &args.filenames {
        documents.extend(read(path)?);
    }
    let origins = args.origins.iter().cloned().collect();
    let namespace = access.namespace.as_deref().unwrap_or("default");
    let (count, findings) = validate(&documents, &origins, namespace);
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
            "there is no EdgeCredential in these files",
            "Name other files with -f. Templates have to be rendered first: helm template . | kubectl edgecred validate -f -",
        ));
    }
    eprintln!("{count} EdgeCredentials, {} problems.", findings.len());
    Ok(if findings.is_empty() {
        Exit::Well
    } else {
        Exit::Failed
    })
}

/// How many EdgeCredentials there are, and all that is wrong with them.
pub fn validate(
    documents: &[Document],
    origins: &AllowedOrigins,
    namespace: &str,
) -> (usize, Vec<Finding>) {
    let schema = schema();
    let mut findings = Vec::new();
    let mut sound = Vec::new();
    let mut secrets = Vec::new();
    let mut count = 0;
    for document in documents {
        let root = match &document.root {
            Ok(root) => root,
            Err(line) => {
                // What is no YAML and has nothing to do with us is somebody else's.
                if document.text.contains("EdgeCredential") {
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
        } else if kind == EdgeCredential::kind(&()) {
            count += 1;
            match check_one(document, root, &schema, origins) {
                Ok(object) => sound.push(Sound {
                    document,
                    root,
                    namespace,
                    object,
                }),
                Err(found) => findings.extend(found),
            }
        }
    }
    findings.extend(check_together(&sound));
    for (namespace, name, document, root) in secrets {
        let target = sound
            .iter()
            .find(|sound| sound.namespace == namespace && sound.object.target_name() == name);
        if let Some(target) = target {
            let owner = target.object.metadata.name.as_deref().unwrap_or_default();
            let problem = format!(
                "this Secret is the target of EdgeCredential \"{owner}\": who applies it overwrites the token. Leave it out."
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

/// The schema of an EdgeCredential, without what an API server adds.
fn schema() -> Value {
    let definition = serde_json::to_value(EdgeCredential::crd()).unwrap_or_default();
    let path = "/spec/versions/0/schema/openAPIV3Schema";
    definition.pointer(path).cloned().unwrap_or_default()
}

/// Checks an object for itself.
fn check_one(
    document: &Document,
    root: &Node,
    schema: &Value,
    origins: &AllowedOrigins,
) -> Result<EdgeCredential, Vec<Finding>> {
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
    let schema = schema
        .pointer("/properties/spec")
        .cloned()
        .unwrap_or_default();
    let misfits = check(&schema, spec, "spec");
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
    let object: EdgeCredential = serde_json::from_value(value).map_err(|_| {
        vec![document.finding(root.line_of("spec"), "spec", "does not fit the definition")]
    })?;
    if !object
        .spec
        .renew_before
        .as_deref()
        .is_none_or(has_units_of_go)
    {
        let problem = "must be a duration such as 8h or 90m";
        return Err(vec![document.finding(
            root.line_of("spec.renewBefore"),
            "spec.renewBefore",
            problem,
        )]);
    }
    let checked = check_names(&object.spec.credentials_secret_ref, object.target_name())
        .and_then(|()| check_spec(&object, origins).map(drop));
    checked.map_err(|problem| {
        let (field, text) = match &problem {
            SpecProblem::Invalid { field, rule } => (*field, (*rule).to_owned()),
            SpecProblem::OriginNotAllowed(origin) => (
                "spec.tokenRequest.url",
                format!(
                    "client secrets may not be sent to {origin}: correct it, or, if the operator allows this origin, say so with \
                     --allowed-token-origin"
                ),
            ),
            SpecProblem::ApiOriginNotAllowed { field, origin } => {
                (*field, format!("tokens and keys may not be sent to {origin}: correct it"))
            }
        };
        vec![document.finding(root.line_of(field), field, text)]
    })?;
    Ok(object)
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
    let mut names: BTreeMap<(&str, &str), &Sound<'_>> = BTreeMap::new();
    let mut targets: BTreeMap<(&str, &str), &Sound<'_>> = BTreeMap::new();
    for one in sound {
        let name = one.object.metadata.name.as_deref().unwrap_or_default();
        if let Some(first) = names.insert((&one.namespace, name), one) {
            let problem = format!(
                "is the EdgeCredential of {}:{} again",
                first.document.file,
                first.root.line_of("metadata.name")
            );
            findings.push(one.finding("metadata.name", problem));
        } else if let Some(first) = targets.insert((&one.namespace, one.object.target_name()), one)
        {
            let problem = format!(
                "the target \"{}\" is that of EdgeCredential \"{}\" already ({}:{}): give one of the two another name",
                one.object.target_name(),
                first.object.metadata.name.as_deref().unwrap_or_default(),
                first.document.file,
                first.root.line_of("spec.target.name")
            );
            findings.push(one.finding("spec.target.name", problem));
        }
    }
    for one in sound {
        let credentials = one.object.spec.credentials_secret_ref.name.as_str();
        if targets.contains_key(&(one.namespace.as_str(), credentials)) {
            let problem = format!(
                "the Secret \"{credentials}\" is the target of an EdgeCredential: it would hold a token, not credentials"
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
        let origins = SITECORE_ORIGINS.map(|origin| origin.parse().unwrap());
        let documents = parse("k8s/edge.yaml", text);
        let (_, findings) = validate(&documents, &origins.into_iter().collect(), "default");
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
