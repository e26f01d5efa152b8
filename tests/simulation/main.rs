//! The real controllers on a simulated clock: days pass in milliseconds, and every request and write is counted.

mod alerts;
mod calls;
mod conflict;
mod edge_token;
mod endpoint;
mod events;
mod fleet;

mod keys;
mod kind;
mod leadership;
mod malformed;
mod panics;
mod restart;
mod retrieve;
mod rights;
mod rotation;
mod stale;
mod tenants;
mod trouble;
mod watches;
mod week;
mod world;
