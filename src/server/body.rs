//! Reads a request's body, within limits.

use super::BodyLimits;
use crate::oauth::Error;
use axum::body::{Body, Bytes, HttpBody as _};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use std::time::Duration;
use tokio::time::timeout;

/// What is read and thrown away of a body that is too large, so that a client which writes all of it before it reads finds the
/// answer instead of a reset connection.
const DISCARDED_OCTETS: u64 = 1024 * 1024;
const DISCARDING: Duration = Duration::from_secs(1);

/// Reads a body.
///
/// # Errors
/// [`Error::BodyTooLarge`], [`Error::RequestTimeout`], or [`Error::BodyIncomplete`] where the connection broke.
pub(super) async fn read(mut body: Body, limits: BodyLimits) -> Result<Bytes, Error> {
    let read = timeout(limits.time, collect(&mut body, limits.octets)).await.unwrap_or(Err(Error::RequestTimeout));
    if read == Err(Error::BodyTooLarge) && body.size_hint().lower() <= DISCARDED_OCTETS {
        let _ = timeout(DISCARDING, discard(body)).await;
    }
    read
}

async fn collect(body: &mut Body, octets: usize) -> Result<Bytes, Error> {
    if usize::try_from(body.size_hint().lower()).is_ok_and(|declared| declared <= octets) {
        let collected = Limited::new(body, octets).collect().await;
        collected
            .map(http_body_util::Collected::to_bytes)
            .map_err(|error| if error.is::<LengthLimitError>() { Error::BodyTooLarge } else { Error::BodyIncomplete })
    } else {
        Err(Error::BodyTooLarge)
    }
}

async fn discard(mut body: Body) {
    let mut seen = 0;
    while let Some(Ok(frame)) = body.frame().await {
        seen += frame.data_ref().map_or(0, Bytes::len);
        if seen as u64 > DISCARDED_OCTETS {
            return;
        }
    }
}
