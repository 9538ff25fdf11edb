//! Callbacks: a worker that was asked tells later how its task ended, signed after Standard Webhooks as it was asked.
//!
//! Both the address's token and the key are derived from the worker's secret, for one task: they need not be kept to be known
//! again, and say nothing of the secret.

use model::{Failure, sha256};
use reqwest::header::HeaderMap;
use standardwebhooks::Webhook as Signer;

use crate::Secret;

/// How a task's end is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Callback {
    /// Names the task in the callback's address; whoever has it may try.
    pub token: String,
    /// The key that callbacks of the token are signed with, base64.
    pub key: String,
}

impl Callback {
    /// That of a task.
    ///
    /// # Errors
    /// Permanent: there is no secret, or it is none.
    pub fn of(secret: &Secret, task: &str) -> Result<Self, Failure> {
        let wrong = |e: standardwebhooks::WebhookError| Failure::permanent(format!("secret: {e}"));
        let signer = Signer::new(secret.text().unwrap_or_default()).map_err(wrong)?;
        let signed = |id: &str, text: &str| signer.sign(id, 0, text.as_bytes()).map_err(wrong);
        let token = sha256(&[signed("token", task)?.as_bytes()]).to_hex();
        let key = signed("callback", &token)?;
        Ok(Self { key: key.trim_start_matches("v1,").to_owned(), token })
    }
}

/// What a worker tells by a callback. Each is signed with a key of its own, so that none can be sent again as the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Telling {
    /// How its task ended; signed with the [`Callback::key`].
    End,
    /// That it is still at it; signed with a key that is derived from that one.
    SignOfLife,
}

/// Whether a request to the address of this token was signed with the key for what it tells, within the last minutes.
///
/// # Errors
/// What is wrong, in words.
pub fn verify(
    key: &str,
    token: &str,
    telling: Telling,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(), String> {
    let mut signer = Signer::new(key).map_err(|e| e.to_string())?;
    if telling == Telling::SignOfLife {
        let derived = signer.sign("heartbeat", 0, token.as_bytes()).map_err(|e| e.to_string())?;
        signer = Signer::new(derived.trim_start_matches("v1,")).map_err(|e| e.to_string())?;
    }
    signer.verify(body, headers).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[test]
    fn a_callback_is_known_again_and_of_one_task_and_one_secret_alone() {
        let of = |secret: &str, task: &str| Callback::of(&Secret::from(secret), task).unwrap();
        let callback = of(SECRET, "task-1");
        assert_eq!(callback, of(SECRET, "task-1"));
        assert_eq!(callback.token.len(), 64);
        let (other, stranger) = (of(SECRET, "task-2"), of("whsec_c3RyYW5nZXIncyBvd24gc2VjcmV0", "task-1"));
        assert!(other.token != callback.token && other.key != callback.key);
        assert!(stranger.token != callback.token && stranger.key != callback.key);
        assert!(Callback::of(&Secret::from("not base64!"), "task-1").is_err());
    }

    fn headers(key: &str, at: i64) -> HeaderMap {
        let signature = Signer::new(key).unwrap().sign("m", at, b"{}").unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("webhook-id", "m".parse().unwrap());
        headers.insert("webhook-timestamp", at.to_string().parse().unwrap());
        headers.insert("webhook-signature", signature.parse().unwrap());
        headers
    }

    #[test]
    fn only_what_was_signed_with_its_key_and_lately_is_taken() {
        let Callback { token, key } = Callback::of(&Secret::from(SECRET), "task-1").unwrap();
        let verify = |headers: &HeaderMap, body: &[u8]| verify(&key, &token, Telling::End, headers, body);
        let now = chrono::Utc::now().timestamp();
        assert_eq!(verify(&headers(&key, now), b"{}"), Ok(()));
        assert!(verify(&headers(&key, now), b"{ }").is_err());
        assert!(verify(&headers(&key, now - 1000), b"{}").is_err());
        assert!(verify(&headers(SECRET, now), b"{}").is_err(), "the secret itself is no key");
        assert!(verify(&HeaderMap::new(), b"{}").is_err());
    }

    #[test]
    fn a_sign_of_life_is_no_end_and_an_end_no_sign_of_life() {
        let Callback { token, key } = Callback::of(&Secret::from(SECRET), "task-1").unwrap();
        let derived = Signer::new(&key).unwrap().sign("heartbeat", 0, token.as_bytes()).unwrap();
        let now = chrono::Utc::now().timestamp();
        let (end, alive) = (headers(&key, now), headers(derived.trim_start_matches("v1,"), now));
        for (told, headers, taken) in [
            (Telling::End, &end, true),
            (Telling::End, &alive, false),
            (Telling::SignOfLife, &end, false),
            (Telling::SignOfLife, &alive, true),
        ] {
            assert_eq!(verify(&key, &token, told, headers, b"{}").is_ok(), taken, "{told:?}");
        }
    }
}
