//! `cargo fuzz run any_answer`: JSON of any shape from a workspace panics nowhere and never deletes what is not ours.
#![no_main]
use databricks_app_operator::kinds::app::fuzz::any_answer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(answer) = serde_json::from_slice(data) {
        assert!(!any_answer(&answer));
    }
});
