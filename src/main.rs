//! `edge-credential-operator run`, `crd` and `check`.

use std::process::ExitCode;

fn main() -> ExitCode {
    edge_credential_operator::operator::command::execute()
}
