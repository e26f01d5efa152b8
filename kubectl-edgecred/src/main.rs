//! `kubectl edgecred`.

use std::process::ExitCode;

fn main() -> ExitCode {
    kubectl_edgecred::execute()
}
