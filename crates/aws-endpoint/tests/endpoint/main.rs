//! The endpoint over its own protocols: real HTTPS, requests signed by AWS's own library, tokens of an issuer
//! that publishes its keys as a cluster does. Nothing of the endpoint's inside is used but its handle.

#![expect(clippy::unwrap_used, reason = "a panic is the failure")]

mod bad_input;
mod call_log;
mod conditions;
mod connections;
mod defects;
mod eks;
mod eks_tokens;
mod faults;
mod gateway;
mod gateway_parameters;
mod lists;
mod names;
mod permissions;
mod pod_identity;
mod policies;
mod presigned;
mod secret_texts;
mod session_tags;
mod sessions;
mod signatures;
mod support;
mod tenant_keys;
mod tenant_parameters;
mod tenant_replicas;
mod tokens;
mod trust;
mod versions;
