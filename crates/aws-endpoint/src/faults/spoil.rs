//! Answers that trickle, or break off.

use std::{num::NonZeroU32, time::Duration};

use bytes::Bytes;
use futures::{TryStreamExt as _, stream};
use http::{HeaderValue, Response, header::CONTENT_LENGTH};
use http_body_util::{BodyExt as _, Either, StreamBody};
use hyper::body::Frame;

use super::{Cut, Struck};
use crate::{
    answer::{Body, whole},
    cut::Cutter,
};

/// How often a trickling body goes on.
const TICK: Duration = Duration::from_millis(100);
/// Until what was sent of an answer has left, before its connection is reset.
const LEAVING: Duration = Duration::from_millis(20);

/// The answer as the faults let it through.
pub(crate) async fn spoil(response: Response<Body>, struck: &Struck, cutter: &Cutter) -> Response<Body> {
    if !struck.reset_in_answer && struck.body_rate.is_none() {
        return response;
    }
    let (mut head, body) = response.into_parts();
    // It is whole in memory: nothing waits, and nothing fails.
    let Ok(body) = body.collect().await else {
        return Response::from_parts(head, whole(Bytes::new()));
    };
    let body = body.to_bytes();
    head.headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let sent = if struck.reset_in_answer {
        body.slice(..body.len() / 2)
    } else {
        body
    };
    let trickle = Trickle {
        rest: sent,
        first: true,
        rate: struck.body_rate,
        reset: struck.reset_in_answer.then(|| cutter.clone()),
    };
    let pieces = stream::unfold(trickle, Trickle::next).map_ok(Frame::data);
    Response::from_parts(head, Either::Right(StreamBody::new(pieces).boxed_unsync()))
}

struct Trickle {
    rest: Bytes,
    first: bool,
    rate: Option<NonZeroU32>,
    /// The connection to reset when all that is to be sent is.
    reset: Option<Cutter>,
}

impl Trickle {
    async fn next(mut self) -> Option<(Result<Bytes, std::io::Error>, Self)> {
        if self.rest.is_empty() {
            let cutter = self.reset?;
            tokio::time::sleep(LEAVING).await;
            return cutter.cut(Cut::Reset).await;
        }
        let piece = match self.rate {
            None => std::mem::take(&mut self.rest),
            Some(rate) => {
                if !self.first {
                    tokio::time::sleep(TICK).await;
                }
                let per_tick = usize::try_from(rate.get() / 10).unwrap_or(usize::MAX).max(1);
                self.rest.split_to(per_tick.min(self.rest.len()))
            }
        };
        self.first = false;
        Some((Ok(piece), self))
    }
}
