//! A fleet whose posts go to WordPress, and the desk of its operator.

use record::{Publication, RevocationState};
use serde_json::{Value, json};
use testkit::eventually;

use crate::fleet::Fleet;

/// The publisher's settings.
pub(crate) fn publisher(wordpress: &Value, timeout: &str) -> Vec<String> {
    let outlets = json!({ "site": { "timeout": timeout, "wordpress": wordpress } });
    vec![
        format!("publisher.outlets={outlets}"),
        "publisher.outlet=site".to_owned(),
        "publisher.breaker.pause=200ms".to_owned(),
        "publisher.breaker.longest_pause=1s".to_owned(),
    ]
}

/// A whole fleet, its publisher with these settings.
pub(crate) async fn fleet(set: &[String], environment: &[(&str, &str)]) -> Fleet {
    let mut fleet = Fleet::with(&["gateway", "etl", "embedding", "judge"]).await;
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    fleet.start_with("publisher", &set, environment).await;
    fleet
}

pub(crate) async fn ledger(fleet: &Fleet) -> Vec<Publication> {
    fleet.record.publications(None, 100).await.unwrap()
}

/// Waits until the revocation of the newest post stands like this; returns what the outlet said.
pub(crate) async fn revocation(fleet: &Fleet, state: RevocationState) -> String {
    let stands = async || {
        let row = ledger(fleet).await.swap_remove(0);
        row.revocation.filter(|revocation| revocation.state == state)
    };
    eventually(&format!("the revocation is {state:?}"), async || stands().await.is_some()).await;
    stands().await.unwrap().detail.unwrap_or_default()
}

/// A client of the gateway that may do everything.
pub(crate) struct Desk {
    http: reqwest::Client,
    url: String,
    token: String,
}

impl Desk {
    pub(crate) async fn of(fleet: &Fleet) -> Self {
        let token = format!("tm_{}", uuid::Uuid::now_v7());
        let roles = ["ingest", "read", "operate"].map(str::to_owned);
        fleet.record.add_token("default", "desk", &roles, &token).await.unwrap();
        Self { http: reqwest::Client::new(), url: fleet.gateway().await, token }
    }

    async fn post(&self, path: &str, body: Value) {
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.token).json(&body);
        let response = request.send().await.unwrap();
        let status = response.status();
        assert!(status.is_success(), "{path}: {status}: {}", response.text().await.unwrap());
    }

    pub(crate) async fn send(&self, (request_id, payload): (String, Value)) {
        let event = json!({ "source": "s", "request_id": request_id, "payload": payload });
        self.post("/v1/events", event).await;
    }

    pub(crate) async fn retry(&self, run: model::RunId) {
        self.post(&format!("/v1/runs/{run}/retry"), json!({ "from": "publish" })).await;
    }

    pub(crate) async fn revoke(&self, row: &Publication) {
        let path = format!("/v1/publications/{}/revoke", row.publication_id);
        self.post(&path, json!({ "note": "it was a hoax" })).await;
    }
}
