//! Feeds libFuzzer's inputs to the body of the same name.
#![no_main]

#[path = "../bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::clean_text(data));
