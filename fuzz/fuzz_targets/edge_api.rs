//! Fuzzes answers of Sitecore's APIs.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::edge_api::check(input));
