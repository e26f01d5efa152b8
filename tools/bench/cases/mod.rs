//! What is measured.

mod deleted_target;
mod edge_tokens;
mod events;
mod first_sync;
mod hanging_tenant;
mod idle;
mod large_objects;
mod large_secrets;
mod machine;
mod memory;
mod metrics;
mod new_object;
mod new_object_while_due;
mod outage;
mod restart;
mod start;
mod wave;

use futures::future::LocalBoxFuture;

use crate::{Bench, Result, report::Measured};

/// Something that is measured by itself, on a control plane of its own.
pub struct Case {
    /// What it's called.
    pub name: &'static str,
    /// What it measures.
    pub about: &'static str,
    /// Whether it needs what only this project's operator has.
    pub own_only: bool,
    /// Measures it. What was found before something went wrong is kept.
    pub run: for<'a> fn(&'a Bench, &'a mut Measured) -> LocalBoxFuture<'a, Result<()>>,
}

/// All cases, in the order in which they are run: first those whose figures are times, for which a machine has to do nothing
/// else, and then those of memory and calls.
pub const CASES: [Case; 17] = [
    Case {
        name: "machine",
        about: "What the machine allows: a bare client, 16 writers, no operator",
        own_only: false,
        run: |bench, measured| Box::pin(machine::measure(bench, measured)),
    },
    Case {
        name: "start",
        about: "From the start of the program until it is ready, without objects; the program's size",
        own_only: false,
        run: |bench, measured| Box::pin(start::measure(bench, measured)),
    },
    Case {
        name: "new-object",
        about: "One object to its Secret, while nothing else happens",
        own_only: false,
        run: |bench, measured| Box::pin(new_object::measure(bench, measured)),
    },
    Case {
        name: "new-object-while-due",
        about: "One object to its Secret, right after a start at which the tokens of all others are to be renewed",
        own_only: true,
        run: |bench, measured| Box::pin(new_object_while_due::measure(bench, measured)),
    },
    Case {
        name: "first-sync",
        about: "Many objects, created by 16 writers at once, whose credentials are there",
        own_only: false,
        run: |bench, measured| Box::pin(first_sync::measure(bench, measured)),
    },
    Case {
        name: "restart",
        about: "A start with objects that all have a valid token",
        own_only: false,
        run: |bench, measured| Box::pin(restart::measure(bench, measured)),
    },
    Case {
        name: "deleted-target",
        about: "A deleted Secret is given back, one after the other",
        own_only: false,
        run: |bench, measured| Box::pin(deleted_target::measure(bench, measured)),
    },
    Case {
        name: "events",
        about: "How long Events come after many objects were created at once",
        own_only: false,
        run: |bench, measured| Box::pin(events::measure(bench, measured)),
    },
    Case {
        name: "outage",
        about: "The token endpoint answers 503 while new objects are created, and then recovers, at random phases of the retries",
        own_only: false,
        run: |bench, measured| Box::pin(outage::measure(bench, measured)),
    },
    Case {
        name: "metrics",
        about: "What it takes to serve /metrics",
        own_only: true,
        run: |bench, measured| Box::pin(metrics::measure(bench, measured)),
    },
    Case {
        name: "hanging-tenant",
        about: "One object to its Secret beside a tenant with 300 objects whose token requests hang or take long",
        own_only: true,
        run: |bench, measured| Box::pin(hanging_tenant::measure(bench, measured)),
    },
    Case {
        name: "wave",
        about: "All tokens are renewed, at times spread over a window",
        own_only: true,
        run: |bench, measured| Box::pin(wave::measure(bench, measured)),
    },
    Case {
        name: "memory",
        about: "The operator's memory with objects like those in examples/, two Secrets each, tokens of 1.3 KB",
        own_only: false,
        run: |bench, measured| Box::pin(memory::measure(bench, measured)),
    },
    Case {
        name: "large-secrets",
        about: "The operator's memory where there are large Secrets of others",
        own_only: false,
        run: |bench, measured| Box::pin(large_secrets::measure(bench, measured)),
    },
    Case {
        name: "large-objects",
        about: "The operator's memory with objects of 60 KB each",
        own_only: true,
        run: |bench, measured| Box::pin(large_objects::measure(bench, measured)),
    },
    Case {
        name: "edge-tokens",
        about: "EdgeTokens with a client each: new, at rest, and at a restart; the token endpoint takes 5 ms, the APIs no time",
        own_only: true,
        run: |bench, measured| Box::pin(edge_tokens::measure(bench, measured)),
    },
    Case {
        name: "idle",
        about: "What is done where nothing is to be done",
        own_only: false,
        run: |bench, measured| Box::pin(idle::measure(bench, measured)),
    },
];
