//! Fuzzes JSON Web Tokens.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::jwt_claims::check(input));
