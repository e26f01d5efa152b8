//! Fuzzes answers of the token endpoint.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::token_answer::check(input));
