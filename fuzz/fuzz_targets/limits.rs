//! Fuzzes rate limits and quotas.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::limits::check(input));
