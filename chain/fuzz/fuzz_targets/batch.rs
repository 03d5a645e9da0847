//! Fuzzes what `hsmd_chain::testing::oracle::batch` says of any bytes.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hsmd_chain::testing::oracle::batch(data));
