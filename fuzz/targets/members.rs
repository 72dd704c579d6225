#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| brod_fuzz::limited(|| brod_fuzz::members::run(data)));
