//! The parser and verifier of SigV4 signatures. The laws are in the crate's `fuzzing` module.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = mountproof_aws_endpoint::fuzzing::signature(data);
});
