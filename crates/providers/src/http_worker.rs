//! The provider `http`: a worker in any language does the step, asked by a POST that is signed after Standard Webhooks.
//!
//! | it answers          | meaning                                                                          |
//! | ------------------- | -------------------------------------------------------------------------------- |
//! | 200, a JSON object  | done; `output`, and where there are any `patch`, `usage`, `model`                |
//! | 202                 | under way: it calls back; or the same request, under the same `webhook-id`, is sent again later |
//! | 422                 | it cannot be done: the step fails for good                                       |
//! | anything else       | as of any endpoint                                                               |

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use calls::{Callback, Hook, Secret, http};
use futures::FutureExt;
use futures::future::BoxFuture;
use model::{Failure, Usage};
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{Answer, Ask, CalledBack, Provider, Said};

/// When a worker that is under way is asked again, where it does not say.
const LATER: Duration = Duration::from_secs(5);
/// Tasks under way that are remembered, at most.
const REMEMBERED: usize = 100_000;

/// Which worker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    /// The address.
    pub url: String,
    /// The signing secret, base64, with or without `whsec_`.
    pub secret: Secret,
}

/// A worker behind an address.
#[derive(Debug)]
pub struct HttpWorker {
    hook: Hook,
    secret: Secret,
    /// How long a task may be under way.
    patience: Duration,
    /// Where callbacks go, and how long a worker may be silent before it is asked again.
    callbacks: Option<(String, Duration)>,
    under_way: Mutex<HashMap<String, Instant>>,
}

/// What a worker answers.
#[derive(Debug, Deserialize)]
struct Done {
    output: Value,
    #[serde(default)]
    patch: Option<Value>,
    #[serde(default)]
    usage: Usage,
    #[serde(default)]
    model: Option<String>,
}

/// What a worker calls back that cannot do its task.
#[derive(Debug, Deserialize)]
struct GivenUp {
    error: String,
}

impl HttpWorker {
    /// Asks nothing yet. `patience` is how long one task may be under way.
    ///
    /// # Errors
    /// Permanent: the address or the secret is none.
    pub fn new(config: &HttpConfig, patience: Duration) -> Result<Self, Failure> {
        let hook = Hook::new(&config.url, &config.secret)?;
        if !hook.is_signed() {
            return Err(Failure::permanent("secret: it is missing; a worker must be able to tell who asks"));
        }
        let secret = config.secret.clone();
        Ok(Self { hook, secret, patience, callbacks: None, under_way: Mutex::default() })
    }

    /// Lets its worker tell by a callback, to the gateway at this address, how a task ended. One that neither does nor gives a
    /// sign of life for this long is asked again.
    #[must_use]
    pub fn calling_back(self, gateway: &str, silence: Duration) -> Self {
        Self { callbacks: Some((gateway.trim_end_matches('/').to_owned(), silence)), ..self }
    }

    fn callback(&self, key: &str) -> Option<Callback> {
        self.callbacks.as_ref().and_then(|_| Callback::of(&self.secret, key).ok())
    }

    fn body(&self, ask: &Ask) -> String {
        let address = self.callbacks.as_ref().map(|(gateway, _)| gateway);
        let callback = address.zip(self.callback(&ask.key)).map(|(gateway, callback)| {
            let url = format!("{gateway}/v1/work/{}", callback.token);
            json!({ "token": callback.token, "heartbeat": format!("{url}/heartbeat"), "url": url })
        });
        json!({
            "type": "task.requested",
            "data": {
                "task": ask.key,
                "step": ask.step,
                "visit": ask.visit,
                "role": ask.role,
                "system": ask.system,
                "prompt": ask.prompt,
                "input": ask.input["input"],
                "board": ask.input["board"],
                "output_schema": ask.output_schema,
                "parameters": ask.parameters,
                "callback": callback,
            },
        })
        .to_string()
    }

    async fn call(&self, ask: &Ask) -> Result<Answer, Failure> {
        let request = self.hook.post(&ask.key, self.body(ask))?.header(CONTENT_TYPE, "application/json");
        let response = request.send().await.map_err(|error| self.broken(&error))?;
        let (status, pause) = (response.status(), http::pause(&response));
        let body =
            http::body(response).await.map_err(|words| Failure::transient(self.secret.scrubbed(&words)))?;
        let told = || self.secret.scrubbed(&http::told(status, &body));
        match status {
            StatusCode::OK => self.done(&body),
            StatusCode::ACCEPTED => Err(self.under_way(ask, pause.unwrap_or_else(|| self.silence()))),
            StatusCode::UNPROCESSABLE_ENTITY => {
                Err(Failure::permanent(format!("the worker cannot do it: {}", told())))
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Err(match pause {
                Some(pause) => Failure::retry_after(pause, told()),
                None => Failure::unavailable(told()),
            }),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Failure::unavailable(format!(
                "the worker refuses the signature, see its `secret`: {}",
                told()
            ))),
            StatusCode::REQUEST_TIMEOUT => Err(Failure::transient(told())),
            _ if status.is_server_error() => Err(Failure::transient(told())),
            _ => Err(Failure::permanent(format!("the worker refuses the request: {}", told()))),
        }
    }

    fn silence(&self) -> Duration {
        self.callbacks.as_ref().map_or(LATER, |(_, silence)| *silence)
    }

    fn broken(&self, error: &reqwest::Error) -> Failure {
        let reason = self.secret.scrubbed(&http::chain(error));
        if error.is_connect() { Failure::unavailable(reason) } else { Failure::transient(reason) }
    }

    fn done(&self, body: &[u8]) -> Result<Answer, Failure> {
        let text = self.secret.scrubbed(&String::from_utf8_lossy(body));
        let done: Done = serde_json::from_str(&text)
            .map_err(|e| Failure::transient(format!("the worker's answer cannot be read: {e}")))?;
        let said = match done.patch {
            Some(patch) => json!({ "output": done.output, "patch": patch }),
            None => done.output,
        };
        let model = done.model.unwrap_or_else(|| format!("http:{}", self.hook.host()));
        Ok(Answer { said: Said::Json(said), usage: done.usage, model: model::storable(&model) })
    }

    /// The time since it was asked first is kept by each process for itself: restarted, it waits anew.
    fn under_way(&self, ask: &Ask, pause: Duration) -> Failure {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if under_way.len() >= REMEMBERED {
            under_way.retain(|_, began| now - *began < self.patience);
        }
        let began = under_way.entry(ask.key.clone()).or_insert(now);
        if now - *began < self.patience {
            return Failure::under_way(pause, "the worker has it under way");
        }
        // Whoever asks for it once more has new patience.
        *began = now;
        Failure::permanent(format!("the worker did not finish within {:?}", self.patience))
    }

    fn forget(&self, ask: &Ask) {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&ask.key);
    }
}

impl Provider for HttpWorker {
    fn complete<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<Answer, Failure>> {
        async move {
            let answer = self.call(ask).await;
            if answer.is_ok() {
                self.forget(ask);
            }
            answer
        }
        .boxed()
    }

    fn acts_outside(&self) -> bool {
        true
    }

    fn repeats(&self) -> bool {
        true
    }

    fn callbacks(&self, key: &str) -> Vec<CalledBack> {
        let silence = self.silence();
        let callback = self.callback(key);
        callback
            .map(|callback| CalledBack { callback, patience: self.patience, silence })
            .into_iter()
            .collect()
    }

    fn heard(&self, key: &str, token: &str, said: &str) -> Option<Result<Answer, Failure>> {
        self.callback(key).filter(|callback| callback.token == token)?;
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
        Some(match serde_json::from_str::<GivenUp>(said) {
            Ok(given_up) => {
                let words = self.secret.scrubbed(&model::storable(&given_up.error));
                Err(Failure::permanent(format!("the worker cannot do it: {words}")))
            }
            Err(_) => self.done(said.as_bytes()),
        })
    }

    fn has_under_way(&self, key: &str) -> bool {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).contains_key(key)
    }
}
