//! Serving HTTP with a limit of connections, each with limits of time.
//!
//! Where all places are taken, the connection that has waited longest for a request, or for its headers, makes room: clients
//! that never finish a request keep nobody out. Where every one has a request, a new one waits a moment and is then told to
//! come back.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use axum::response::IntoResponse;
use fleet::{CutLabels, Metrics};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;

use crate::body::{Answering, Patient};
use crate::config::Section;
use crate::connection::{Connection, Progress, Times};
use crate::error::Problem;

/// How long a new connection waits for a place.
const WAIT: Duration = Duration::from_secs(1);
/// New connections that wait for a place, at most; others are closed at once.
const WAITING: usize = 128;
/// How long a client that is turned away may take to read why.
const FAREWELL: Duration = Duration::from_secs(1);
/// Files that the process itself needs: servers, followers, logs.
const OWN_FILES: u64 = 300;
/// The longest request line and headers that are read at all; shorter ones that are too long are told so in words.
const MOST_HEADERS: usize = 80 << 10;

/// Bytes that the kernel keeps for a client beyond what is on its way. Little, so that a client that reads slowly is seen to
/// read: with megabytes kept, a third of them must go before more can be written.
const KEPT: u32 = 64 << 10;

/// The address that a request came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// Whoever accepts connections.
#[derive(Clone)]
pub(crate) struct Server {
    app: Router,
    times: Times,
    body_time: Duration,
    places: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    room_wanted: Arc<Notify>,
    metrics: Metrics,
    shutdown: CancellationToken,
    connections: TaskTracker,
}

impl Server {
    pub(crate) fn new(app: Router, config: &Section, metrics: Metrics, shutdown: CancellationToken) -> Self {
        Self {
            app,
            times: Times::of(config),
            body_time: config.body_timeout,
            places: Arc::new(Semaphore::new(places(config.max_connections))),
            waiting: Arc::new(Semaphore::new(WAITING)),
            room_wanted: Arc::default(),
            metrics,
            shutdown,
            connections: TaskTracker::new(),
        }
    }

    /// Serves until told to stop, then until every request under way is answered.
    pub(crate) async fn serve(self, listener: TcpListener) {
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.shutdown.cancelled() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    self.connections.spawn(self.clone().take(stream, peer));
                }
                Err(error) => {
                    // Most likely no file is left: one will be, once a connection ends.
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            }
        }
        drop(listener);
        self.connections.close();
        self.connections.wait().await;
    }

    async fn take(self, stream: TcpStream, peer: SocketAddr) {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            return self.hold(stream, peer, place).await;
        }
        if let Ok(waits) = self.waiting.try_acquire() {
            // Whoever has waited longest for a request makes room.
            self.room_wanted.notify_one();
            if let Ok(Ok(place)) = timeout(WAIT, Arc::clone(&self.places).acquire_owned()).await {
                drop(waits);
                return self.hold(stream, peer, place).await;
            }
            self.full();
            return turn_away(stream).await;
        }
        self.full();
    }

    fn full(&self) {
        self.metrics.connections_cut.get_or_create(&CutLabels { reason: "full" }).inc();
    }

    async fn hold(&self, stream: TcpStream, peer: SocketAddr, _place: OwnedSemaphorePermit) {
        self.metrics.connections.inc();
        prepare(&stream, self.times);
        let progress = Progress::default();
        let connection = Connection::new(
            stream,
            self.times,
            progress.clone(),
            Arc::clone(&self.room_wanted),
            self.metrics.clone(),
        );
        let service = service_fn(|request| self.answer(request, peer, &progress));
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.times.between_requests())
            .max_header_size(MOST_HEADERS)
            .serve_connection(TokioIo::new(connection), service);
        tokio::pin!(served);
        let ended = tokio::select! {
            ended = &mut served => ended,
            () = self.shutdown.cancelled() => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, %peer, "a connection ended");
        }
        self.metrics.connections.dec();
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        progress: &Progress,
    ) -> Result<axum::response::Response, std::convert::Infallible> {
        let busy = progress.begin();
        let mut request = request.map(|body| Body::new(Patient::new(Body::new(body), self.body_time)));
        request.extensions_mut().insert(Peer(peer.ip()));
        let answer = self.app.clone().call(request).await?;
        Ok(answer.map(|body| Body::new(Answering::new(body, busy))))
    }
}

/// Answers go out at once; a client that vanished, or that reads nothing, is given up by the kernel as well.
fn prepare(stream: &TcpStream, times: Times) {
    let socket = socket2::SockRef::from(stream);
    let prepared = socket
        .set_tcp_nodelay(true)
        .and_then(|()| socket.set_tcp_notsent_lowat(KEPT))
        .and_then(|()| socket.set_tcp_user_timeout(Some(times.write())));
    if let Err(error) = prepared {
        tracing::debug!(%error, "a connection could not be prepared");
    }
}

/// Tells a client in all brevity that there is no place for it.
async fn turn_away(mut stream: TcpStream) {
    let response = Problem::unavailable("all connections are taken; try again later").into_response();
    let (head, body) = response.into_parts();
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else { return };
    let mut answer =
        format!("HTTP/1.1 {}\r\nconnection: close\r\ncontent-length: {}\r\n", head.status, body.len());
    for (name, value) in &head.headers {
        answer.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap_or_default()));
    }
    answer.push_str("\r\n");
    let farewell = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.write_all(&body).await?;
        stream.shutdown().await?;
        // Closed with something unread, the connection would be reset before the client has read this.
        let mut unread = [0; 1024];
        while stream.read(&mut unread).await? > 0 {}
        std::io::Result::Ok(())
    };
    drop(timeout(FAREWELL, farewell).await);
}

/// As many places as are asked for, and as there are files.
fn places(wanted: u32) -> usize {
    let wanted = usize::try_from(wanted).unwrap_or(Semaphore::MAX_PERMITS).min(Semaphore::MAX_PERMITS);
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return wanted };
    let files = if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    let there = usize::try_from(files.saturating_sub(OWN_FILES).max(1)).unwrap_or(usize::MAX);
    if there < wanted {
        tracing::warn!(
            files,
            connections = there,
            "fewer connections than gateway.max_connections: raise the limit of open files (ulimit -n, LimitNOFILE)"
        );
    }
    wanted.min(there)
}
