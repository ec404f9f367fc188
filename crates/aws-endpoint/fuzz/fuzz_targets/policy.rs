//! The policy parser and the evaluation. The laws are in the crate's `fuzzing` module.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mountproof_aws_endpoint::fuzzing::policy(data));
