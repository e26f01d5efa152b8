//! Fuzzes EdgeCredentials, in a whole reconciliation.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::reconcile::check(input));
