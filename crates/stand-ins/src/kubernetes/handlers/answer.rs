//! Answers before their headers.

use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use crate::kubernetes::failure::Failure;

/// An answer before its headers.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    pub(super) body: Body,
}

impl Answer {
    pub(super) fn bytes(status: StatusCode, body: Bytes) -> Self {
        Self {
            status,
            content_type: "application/json",
            body: Body::from(body),
        }
    }

    pub(super) fn json(status: StatusCode, value: &Value) -> Self {
        Self::bytes(status, Bytes::from(value.to_string()))
    }

    pub(super) fn text(status: StatusCode, text: &'static str) -> Self {
        Self {
            status,
            content_type: "text/plain; charset=utf-8",
            body: Body::from(text),
        }
    }

    pub(super) fn page_not_found() -> Self {
        Self::text(StatusCode::NOT_FOUND, "404 page not found\n")
    }

    pub(super) fn created() -> Self {
        let status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201,
        });
        Self::json(StatusCode::CREATED, &status)
    }

    pub(super) fn failure(failure: &Failure) -> Self {
        let status = StatusCode::from_u16(failure.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self::json(status, &failure.status())
    }
}
