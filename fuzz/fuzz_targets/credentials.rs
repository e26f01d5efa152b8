//! Fuzzes credentials Secrets.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::credentials::check(input));
