//! Bodies of requests, which must come in time, and of answers, whose end frees their connection.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use crate::connection::Busy;

/// Bytes that earn a sender another second: who sends slower for long is cut off.
const SECOND: u32 = 1024;

/// The sender of a body was too slow.
#[derive(Debug)]
pub(crate) struct TooSlow;

impl std::fmt::Display for TooSlow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("it came too slowly")
    }
}

impl std::error::Error for TooSlow {}

/// The body of a request. Only time in which it is waited for counts, not the time that its events take.
pub(crate) struct Patient {
    body: Body,
    most: Duration,
    left: Duration,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl Patient {
    pub(crate) fn new(body: Body, most: Duration) -> Self {
        Self { body, most, left: most, waiting: None }
    }

    fn earn(&mut self, bytes: usize) {
        if let Some((since, _)) = self.waiting.take() {
            self.left = self.left.saturating_sub(since.elapsed());
        }
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.left = (self.left + Duration::from_secs(1) * bytes / SECOND).min(self.most);
    }
}

impl http_body::Body for Patient {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::BoxError>>> {
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(frame) => {
                let bytes =
                    frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref()).map_or(0, Bytes::len);
                self.earn(bytes);
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Poll::Pending => {
                let left = self.left;
                let (_, until) = self.waiting.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
                until.as_mut().poll(cx).map(|()| Some(Err(TooSlow.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of an answer.
pub(crate) struct Answering {
    body: Body,
    _busy: Busy,
}

impl Answering {
    pub(crate) fn new(body: Body, busy: Busy) -> Self {
        Self { body, _busy: busy }
    }
}

impl http_body::Body for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use futures::stream;

    use super::*;

    /// What a body that comes in these pieces, one a second, ends with after how many seconds.
    async fn ends(piece: usize, count: usize) -> (bool, u64) {
        let pieces = stream::iter(0..count).then(move |_| async move {
            sleep(Duration::from_secs(1)).await;
            Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; piece]))
        });
        let started = Instant::now();
        let body = Body::new(Patient::new(Body::from_stream(pieces), Duration::from_secs(10)));
        let read = axum::body::to_bytes(body, usize::MAX).await;
        (read.is_ok(), started.elapsed().as_secs())
    }

    #[tokio::test(start_paused = true)]
    async fn a_trickle_ends_in_time_and_a_slow_line_is_heard_out() {
        assert_eq!(ends(1, 1000).await, (false, 10));
        assert_eq!(ends(512, 1000).await, (false, 19), "half of what is asked lasts twice as long");
        assert_eq!(ends(2048, 100).await, (true, 100));
    }
}
