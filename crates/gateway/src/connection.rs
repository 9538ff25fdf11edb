//! A connection that waits for its client only so long: for a request, for its headers, for the answer to be read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use fleet::{CutLabels, Metrics};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::{Sleep, sleep};
use tokio_io_timeout::TimeoutWriter;

use crate::config::Section;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing of a request has come.
    Idle,
    /// The headers of a request are coming.
    Headers,
    /// A request is being answered.
    Busy,
}

/// The phase, as its connection and the request on it see it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<AtomicU8>);

impl Progress {
    fn now(&self) -> Phase {
        match self.0.load(Ordering::Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Headers,
            _ => Phase::Busy,
        }
    }

    fn set(&self, phase: Phase) {
        self.0.store(phase as u8, Ordering::Relaxed);
    }

    /// A request has come; it ends when what is returned is dropped.
    pub(crate) fn begin(&self) -> Busy {
        self.set(Phase::Busy);
        Busy(self.clone())
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Busy(Progress);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.set(Phase::Idle);
    }
}

/// How long a connection waits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    headers: Duration,
    idle: Duration,
    write: Duration,
}

impl Times {
    pub(crate) fn of(config: &Section) -> Self {
        Self { headers: config.header_timeout, idle: config.idle_timeout, write: config.write_timeout }
    }

    pub(crate) fn write(&self) -> Duration {
        self.write
    }

    /// The longest that any connection is without a request.
    pub(crate) fn between_requests(&self) -> Duration {
        self.idle + self.headers
    }
}

/// A client's connection.
pub(crate) struct Connection {
    stream: Pin<Box<TimeoutWriter<TcpStream>>>,
    times: Times,
    progress: Progress,
    /// The phase that is waited in, and until when.
    waiting: Option<(Phase, Pin<Box<Sleep>>)>,
    /// Told when room is wanted: who has waited longest for its client is told first.
    room_wanted: Arc<Notify>,
    asked_to_go: Option<Pin<Box<OwnedNotified>>>,
    metrics: Metrics,
}

impl Connection {
    pub(crate) fn new(
        stream: TcpStream,
        times: Times,
        progress: Progress,
        room_wanted: Arc<Notify>,
        metrics: Metrics,
    ) -> Self {
        let mut stream = TimeoutWriter::new(stream);
        stream.set_timeout(Some(times.write));
        Self {
            stream: Box::pin(stream),
            times,
            progress,
            waiting: None,
            room_wanted,
            asked_to_go: None,
            metrics,
        }
    }

    fn cut(&self, reason: &'static str) {
        self.metrics.connections_cut.get_or_create(&CutLabels { reason }).inc();
    }

    /// Nothing has come: whether that is to be put up with.
    fn wait(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let phase = self.progress.now();
        let limit = match phase {
            Phase::Idle => self.times.idle,
            Phase::Headers => self.times.headers,
            Phase::Busy => {
                (self.waiting, self.asked_to_go) = (None, None);
                return Poll::Pending;
            }
        };
        if self.waiting.as_ref().is_none_or(|(waited_in, _)| *waited_in != phase) {
            self.waiting = Some((phase, Box::pin(sleep(limit))));
        }
        let over = self.waiting.as_mut().is_some_and(|(_, until)| until.as_mut().poll(cx).is_ready());
        let wanted = &self.room_wanted;
        let asked = self.asked_to_go.get_or_insert_with(|| Box::pin(Arc::clone(wanted).notified_owned()));
        let pressed = asked.as_mut().poll(cx).is_ready();
        if !over && !pressed {
            return Poll::Pending;
        }
        self.cut(match phase {
            _ if pressed => "room",
            Phase::Headers => "headers",
            Phase::Idle | Phase::Busy => "idle",
        });
        match phase {
            Phase::Headers => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            // Nothing read is the end of the connection, as if the client had closed it.
            Phase::Idle | Phase::Busy => Poll::Ready(Ok(())),
        }
    }

    fn written<T>(&self, result: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(error)) = &result
            && error.kind() == io::ErrorKind::TimedOut
        {
            self.cut("write");
        }
        result
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        match self.stream.as_mut().poll_read(cx, buffer) {
            Poll::Pending => self.wait(cx),
            ready => {
                if buffer.filled().len() > before && self.progress.now() == Phase::Idle {
                    self.progress.set(Phase::Headers);
                    // Whatever comes next is waited for anew, idleness included.
                    (self.waiting, self.asked_to_go) = (None, None);
                }
                ready
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // Whoever is answered has no place to give up: the wish for one goes to another.
        self.asked_to_go = None;
        let result = self.stream.as_mut().poll_write(cx, bytes);
        self.written(result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.asked_to_go = None;
        let result = self.stream.as_mut().poll_write_vectored(cx, bytes);
        self.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(cx)
    }
}
