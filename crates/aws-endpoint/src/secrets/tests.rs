//! Tests of the service as such.
