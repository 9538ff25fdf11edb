//! A proxy before a gateway that holds every answer against the gateway's description of its API.
//!
//! `Fleet::gateway` gives its address in place of the gateway's, so that no test forgets the check, and what the command line
//! asks is checked as well. Tests of connections themselves ask for `unchecked_gateway`. A fault ends the test when the proxy is dropped.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use reqwest::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tokio::task::AbortHandle;

use crate::description::{Answer, Description};

/// All gateways of a test run are of one build: the first that answers describes them.
static DESCRIPTION: OnceCell<Description> = OnceCell::const_new();

type Failure = Box<dyn Error + Send + Sync>;

/// The proxy.
#[derive(Debug)]
pub struct Checked {
    address: SocketAddr,
    faults: Arc<Mutex<Vec<String>>>,
    serving: AbortHandle,
}

#[derive(Debug, Clone)]
struct Before {
    /// Without one, requests name it: that is what HTTP clients do that are told of a proxy.
    gateway: Option<String>,
    http: reqwest::Client,
    faults: Arc<Mutex<Vec<String>>>,
}

impl Checked {
    /// A proxy before the gateway at an address, such as `http://127.0.0.1:8080`.
    pub async fn before(gateway: &str) -> Self {
        Self::start(Some(gateway.to_owned())).await
    }

    /// A proxy before whichever gateways its clients name, for `HTTP_PROXY`.
    pub async fn before_any() -> Self {
        Self::start(None).await
    }

    async fn start(gateway: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("its address");
        let faults = Arc::new(Mutex::new(Vec::new()));
        // Every reqwest client needs a provider; that another test has installed it is no fault.
        rustls::crypto::ring::default_provider().install_default().ok();
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let before = Before { gateway, http: http.build().expect("a client"), faults: Arc::clone(&faults) };
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let before = before.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| before.pass(request));
                    // A failure closes the connection, as the gateway's own end would.
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        Self { address, faults, serving: serving.abort_handle() }
    }

    /// Its address.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Checked {
    fn drop(&mut self) {
        self.serving.abort();
        let faults = std::mem::take(&mut *self.faults.lock().unwrap_or_else(PoisonError::into_inner));
        let told = format!("answers that /openapi.json does not allow:\n{}", faults.join("\n"));
        if !std::thread::panicking() {
            assert!(faults.is_empty(), "{told}");
        } else if !faults.is_empty() {
            eprintln!("{told}");
        }
    }
}

impl Before {
    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
        let (head, body) = request.into_parts();
        let named = || head.uri.authority().map(|authority| format!("http://{authority}"));
        let gateway = self.gateway.clone().or_else(named).ok_or("the request names no gateway")?;
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let mut headers = head.headers.clone();
        for name in [HOST, CONNECTION, TRANSFER_ENCODING, CONTENT_LENGTH] {
            headers.remove(name);
        }
        let request = self.http.request(head.method.clone(), format!("{gateway}{path}")).headers(headers);
        let response = request.body(reqwest::Body::wrap(body)).send().await?;
        let (status, mut headers) = (response.status(), response.headers().clone());
        headers.remove(TRANSFER_ENCODING);
        let endless = headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
        let (body, known) = if endless {
            (Body::from_stream(response.bytes_stream()), None)
        } else {
            let bytes = response.bytes().await?;
            (Body::from(bytes.clone()), Some(bytes))
        };
        let answer = Answer {
            method: head.method.as_str(),
            path,
            status: status.as_u16(),
            headers: &headers,
            body: known.as_deref(),
        };
        let fault = match self.description(&gateway).await {
            Ok(description) => description.fault(&answer),
            Err(error) => Some(format!("the description cannot be had: {error}")),
        };
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).extend(fault);
        let mut passed = Response::new(body);
        (*passed.status_mut(), *passed.headers_mut()) = (status, headers);
        Ok(passed)
    }

    async fn description(&self, gateway: &str) -> Result<&'static Description, reqwest::Error> {
        let ask = async || {
            let asked = self.http.get(format!("{gateway}/openapi.json")).send().await?;
            asked.error_for_status()?.json().await.map(Description::new)
        };
        DESCRIPTION.get_or_try_init(ask).await
    }
}
