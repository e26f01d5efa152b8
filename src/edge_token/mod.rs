//! `EdgeToken`: an API key of the Delivery API, made, rotated with an overlap, and revoked.

pub mod rules;
