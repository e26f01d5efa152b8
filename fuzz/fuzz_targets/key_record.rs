//! Fuzzes the records of keys in targets.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::key_record::check(input));
