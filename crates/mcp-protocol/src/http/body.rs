//! Bodies of requests, within their limits of size and time.

use std::fmt::Display;
use std::pin::pin;
use std::task::Poll;

use bytes::{Bytes, BytesMut};
use futures_util::future::poll_immediate;
use http_body_util::BodyExt;
use hyper::body::Body;

use super::options::Options;
use crate::jsonrpc::Failure;
use crate::within::within;

/// Reads a body.
pub(super) async fn read<B>(body: B, options: &Options) -> Result<Bytes, Failure>
where
    B: Body<Data = Bytes, Error: Display>,
{
    let mut collecting = pin!(collect(body, options.max_body_bytes));
    // hyper hands a body over once it has been asked for. Mostly it is there then, and no timer
    // has to be set.
    if let Some(body) = poll_immediate(collecting.as_mut()).await {
        return body;
    }
    once_more().await;
    within(options.body_timeout, collecting)
        .await
        .unwrap_or_else(|| Err(Failure::malformed("the body took too long to arrive").status(408)))
}

async fn collect<B>(body: B, limit: usize) -> Result<Bytes, Failure>
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
    }
    Ok(if rest.is_empty() {
        first
    } else {
        rest.freeze()
    })
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
