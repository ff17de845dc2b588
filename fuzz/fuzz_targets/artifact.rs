//! `cargo fuzz run artifact`: an archive of any bytes is unpacked within its limits or refused.
#![no_main]
use databricks_app_operator::worlds::artifact::unpack;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = unpack(data);
});
