//! The parser of awsQuery forms, and the IAM service behind it. The laws are in the crate's `fuzzing` module.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mountproof_aws_endpoint::fuzzing::query(data));
