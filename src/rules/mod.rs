//! What all kinds decide in the same way. It only computes.

pub mod conditions;
pub mod credentials;
pub mod error;
pub mod failures;
pub mod spec;
pub mod target;
pub mod times;
pub mod token_value;
pub mod versions;
