//! Fuzzes what `oracle::journal` says of any bytes.
#![no_main]

#[path = "../oracle.rs"]
#[expect(dead_code, reason = "each target uses one oracle")]
mod oracle;

libfuzzer_sys::fuzz_target!(|data: &[u8]| oracle::journal(data));
