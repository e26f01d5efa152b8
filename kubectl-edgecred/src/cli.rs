//! The command line.

use clap::{Parser, Subcommand};

use crate::{
    cluster::access::AccessArgs,
    commands::{
        call, completion, doctor, end_overlap, events, explain, init, inspect, renew, rotate,
        status, suspend, test, token, tree, validate,
    },
};

/// Show, renew, rotate, try and explain EdgeCredentials and EdgeTokens.
///
/// NAME is an EdgeCredential, edgetoken/NAME an EdgeToken, by any name of the kind that kubectl knows.
///
/// Exit codes: 0 all is well; 1 it could not be found out or done; 2 the command line is wrong; 3 a person must act; 4 not yet, it
/// passes by itself.
#[derive(Parser, Debug)]
#[command(
    name = "kubectl-edgecred",
    bin_name = "kubectl edgecred",
    version,
    max_term_width = 110
)]
pub struct Cli {
    /// Which cluster, and as whom.
    #[command(flatten)]
    pub access: AccessArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Show how EdgeCredentials and EdgeTokens stand, the worst first.
    Status(status::StatusArgs),
    /// Show an object with all that belongs to it, and who uses its token or key.
    Tree(tree::TreeArgs),
    /// Show what is known of a token or a key, and check it. It is not shown itself.
    Inspect(inspect::InspectArgs),
    /// Show the Events of EdgeCredentials and EdgeTokens.
    Events(events::EventsArgs),
    /// Have tokens renewed now.
    Renew(renew::RenewArgs),
    /// Have the keys of EdgeTokens replaced now. The former ones work for the overlap.
    Rotate(rotate::RotateArgs),
    /// Have the former keys of EdgeTokens revoked now, as after a leak.
    EndOverlap(end_overlap::EndOverlapArgs),
    /// Have nothing requested and nothing written until `resume`.
    Suspend(suspend::SuspendArgs),
    /// Go on after `suspend`.
    Resume(suspend::ResumeArgs),
    /// Call an API with the stored token or key, which is not printed.
    Call(call::CallArgs),
    /// Print the token or the key, for $(…).
    Token(token::TokenArgs),
    /// Send one token request as the operator would, and write nothing. The token is billed.
    Test(test::TestArgs),
    /// Check manifests without a cluster, for a pipeline.
    Validate(validate::ValidateArgs),
    /// Create Secret and EdgeCredential, wait for the token, and print the lines that mount it.
    Init(init::InitArgs),
    /// Say what a reason means and what to do. Asks no cluster.
    Explain(explain::ExplainArgs),
    /// Look whether definition, operator, rights and objects are as they should be.
    Doctor(doctor::DoctorArgs),
    /// Have the shell complete commands, flags and names, by way of kubectl's completion.
    Completion(completion::CompletionArgs),
    /// What kubectl's completion calls.
    #[command(name = "__complete", hide = true)]
    Complete(completion::CompleteArgs),
}
