//! Requests to AWS, signed as the SDKs sign them.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4,
};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;

/// `request` with this body, and with the signature of `credentials` for `service` in `region`.
pub(crate) fn signed(
    request: http::request::Builder,
    body: &str,
    credentials: &Credentials,
    region: &str,
    service: &str,
) -> Result<Request<Full<Bytes>>, String> {
    let mut request = request
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .map_err(|error| error.to_string())?;
    let identity = credentials.clone().into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .map_err(|error| error.to_string())?;
    let headers = request.headers().iter();
    let headers = headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    let signable = SignableRequest::new(
        request.method().as_str(),
        request.uri().to_string(),
        headers,
        SignableBody::Bytes(body.as_bytes()),
    )
    .map_err(|error| error.to_string())?;
    let (instructions, _) = sign(signable, &params.into())
        .map_err(|error| error.to_string())?
        .into_parts();
    instructions.apply_to_request_http1x(&mut request);
    Ok(request)
}
