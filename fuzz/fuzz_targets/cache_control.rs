//! Feeds `claims::cache_control` with bytes.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| rewarm_fuzz::cache_control(bytes));
