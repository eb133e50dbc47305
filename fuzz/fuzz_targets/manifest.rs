//! Feeds `conda::manifest` with bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rewarm_fuzz::conda::manifest(bytes));
