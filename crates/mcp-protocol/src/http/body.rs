//! Request bodies, within their limits of size and time.

use std::fmt::Display;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use futures_util::future::poll_immediate;
use http_body_util::BodyExt;
use hyper::body::Body;

use super::options::Options;
use crate::jsonrpc::{Failure, INTERNAL_ERROR};
use crate::places::Place;
use crate::within::within;

/// How many bytes of an unwanted body are read.
const DISCARDED_BYTES: usize = 64 * 1024;
/// How long that may take.
const DISCARD_TIME: Duration = Duration::from_millis(500);

/// Reads a body. One that does not arrive in one piece needs what `claim` returns for its greatest possible length, and
/// holds it until it is complete; if `claim` returns nothing, the body is refused.
pub(super) async fn read<B>(
    body: B,
    options: &Options,
    claim: impl FnOnce(usize) -> Option<Place>,
) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes, Error: Display>,
{
    let mut collecting = pin!(collect(body, options.max_body_bytes, claim));
    // hyper delivers a body once it has been asked for. It has mostly arrived by then, and no timer has to be set.
    if let Some(body) = poll_immediate(collecting.as_mut()).await {
        return body;
    }
    once_more().await;
    within(options.body_timeout, collecting)
        .await
        .unwrap_or_else(|| Err(Failure::malformed("the body took too long to arrive").status(408)))
}

async fn collect<B>(
    body: B,
    limit: usize,
    claim: impl FnOnce(usize) -> Option<Place>,
) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes, Error: Display>,
{
    let mut body = pin!(body);
    let too_long = || {
        let message = format!("the body is longer than {limit} bytes; send less at once");
        Failure::malformed(message).status(413)
    };
    if body.size_hint().lower() > limit as u64 {
        return Err(too_long());
    }
    // The most bytes that may come; a chunked body does not say.
    let most = body
        .size_hint()
        .upper()
        .and_then(|most| usize::try_from(most).ok());
    let most = most.unwrap_or(limit).min(limit);
    let (mut claim, mut place) = (Some(claim), None);
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            tracing::debug!(%error, "a body broke off");
            Failure::malformed("the body broke off")
        })?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if first.len() + rest.len() + data.len() > limit {
            return Err(too_long());
        }
        // Most bodies come in one piece, which is then used as it is.
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&std::mem::take(&mut first));
            rest.extend_from_slice(&data);
        }
        if !body.is_end_stream()
            && let Some(claim) = claim.take()
        {
            place = Some(claim(most).ok_or_else(too_much)?);
        }
    }
    drop(place);
    Ok(if rest.is_empty() {
        first
    } else {
        rest.freeze()
    })
}

fn too_much() -> Failure {
    let told = "too many requests arrive or run at once, or too large ones; wait for one to end";
    Failure::new(INTERNAL_ERROR, told).status(429)
}

/// Reads a little of what a client still sends although its request is answered. In HTTP/2 such a
/// request is otherwise ended by a reset after the answer (RFC 9113, section 8.1), which some
/// clients take for a failure, and then show no answer.
pub(super) async fn discard<B: Body>(body: Pin<&mut B>) {
    within(DISCARD_TIME, pin!(drain(body))).await;
}

/// Reads what has arrived of a body that nobody wants, and returns whether that is all of it.
pub(super) async fn skip<B: Body>(body: Pin<&mut B>) -> bool {
    let mut reading = pin!(drain(body));
    if let Some(is_all) = poll_immediate(reading.as_mut()).await {
        return is_all;
    }
    once_more().await;
    poll_immediate(reading).await.unwrap_or(false)
}

/// Reads a body up to [`DISCARDED_BYTES`], and returns whether that is all of it.
async fn drain<B: Body>(mut body: Pin<&mut B>) -> bool {
    let mut left = DISCARDED_BYTES;
    while !body.is_end_stream() {
        let frame = match body.frame().await {
            Some(Ok(frame)) => frame,
            Some(Err(_)) => return false,
            None => break,
        };
        let read = frame.data_ref().map_or(0, Buf::remaining);
        let Some(less) = left.checked_sub(read) else {
            return false;
        };
        left = less;
    }
    true
}

/// Waits until the connection has been polled once more.
async fn once_more() {
    let mut is_over = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut is_over, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
