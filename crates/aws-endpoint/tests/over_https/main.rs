//! The endpoint over its own protocols: real HTTPS, signed requests, tokens signed by an issuer whose keys
//! are published over HTTPS. Nothing of the endpoint's inside is used but its handle.

mod authorisation;
mod connections;
mod defects;
mod names_and_versions;
mod secret_texts;
mod signatures;
mod support;
mod tokens;
