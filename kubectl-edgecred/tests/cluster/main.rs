//! The plugin on a real control plane, with the operator at work and the rights of `edit` in one namespace.

mod canary;
mod commands;
mod documentation;
mod rights;
mod stage;
mod terminal;
