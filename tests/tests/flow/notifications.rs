//! People hear of what needs them: signed, once, and whatever their receivers do.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use standardwebhooks::Webhook;
use testkit::{Servers, eventually};
use wiremock::matchers::any;
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use crate::door::Desk;
use crate::fleet::{END, Fleet, event, metrics};
use crate::operators::{at_the_desk, tidemill};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
/// A title that means to break templates and to call everybody.
const HOSTILE: &str = "Ferry\"}], \\ <!channel> @here {{ 7 * 7 }} <https://evil.example|news>";

/// What a receiver does with a call.
#[derive(Clone, Copy)]
pub(crate) enum Does {
    Answers(u16),
    Hangs,
}

/// A receiver that refuses what is not signed as it should be.
pub(crate) struct Receiver {
    /// Answers for as long as it is kept.
    _server: MockServer,
    /// Holds its address and its secret.
    folder: tempfile::TempDir,
    seen: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Receiver {
    pub(crate) async fn start(script: &[Does], then: Does) -> Self {
        let server = MockServer::start().await;
        let seen: Arc<Mutex<Vec<(String, Value)>>> = Arc::default();
        let (known, script) = (Arc::clone(&seen), Mutex::new(VecDeque::from(script.to_vec())));
        let signer = Webhook::new(SECRET).unwrap();
        let respond = move |request: &Request| {
            let header = |name: &str| request.headers[name].to_str().unwrap().to_owned();
            let (id, at) = (header("webhook-id"), header("webhook-timestamp"));
            let signature = signer.sign(&id, at.parse().unwrap(), &request.body).unwrap();
            if signature != header("webhook-signature") {
                return ResponseTemplate::new(401);
            }
            known.lock().unwrap().push((id, serde_json::from_slice(&request.body).unwrap()));
            match script.lock().unwrap().pop_front().unwrap_or(then) {
                Does::Answers(status) => ResponseTemplate::new(status),
                Does::Hangs => ResponseTemplate::new(200).set_delay(Duration::from_secs(3600)),
            }
        };
        Mock::given(any()).respond_with(respond).mount(&server).await;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("url"), format!("{}\n", server.uri())).unwrap();
        std::fs::write(folder.path().join("secret"), format!("{SECRET}\n")).unwrap();
        Self { _server: server, folder, seen }
    }

    /// Ids and bodies, in order.
    fn seen(&self) -> Vec<(String, Value)> {
        self.seen.lock().unwrap().clone()
    }

    pub(crate) fn of(&self, kind: &str) -> Vec<Value> {
        self.seen().into_iter().map(|(_, body)| body).filter(|body| body["type"] == kind).collect()
    }

    pub(crate) fn target(&self, name: &str, more: Value) -> Value {
        let file = |name: &str| self.folder.path().join(name);
        let mut target =
            json!({ "name": name, "url_file": file("url"), "secret_file": file("secret"), "timeout": "1s" });
        let Value::Object(more) = more else { panic!("more is an object") };
        target.as_object_mut().unwrap().extend(more);
        target
    }
}

/// A fleet in which every text is asked about, its planner started with these targets.
async fn fleet(servers: Servers, targets: &[Value], more: &[&str], environment: &[(&str, &str)]) -> Fleet {
    let mut fleet = Fleet::on(servers).await;
    let set = planner(targets);
    let set: Vec<&str> = set.iter().map(String::as_str).chain(more.iter().copied()).collect();
    fleet.start_with("planner", &set, environment).await;
    fleet
}

fn planner(targets: &[Value]) -> [String; 3] {
    [
        format!("notifications.targets={}", json!(targets)),
        "notifications.retry.pause=200ms".to_owned(),
        "planner.values={\"trend\":{\"min_confidence\":1.1}}".to_owned(),
    ]
}

async fn ask(fleet: &Fleet, number: usize, title: &str) {
    let (request_id, mut payload) = event(number);
    payload["title"] = json!(title);
    fleet.add([(request_id, payload)]).await;
}

const BRAINS: [&str; 3] = ["etl", "embedding", "judge"];

#[tokio::test]
async fn an_escalation_reaches_each_target_in_its_shape_under_one_id_whatever_the_others_do() {
    let desk =
        Receiver::start(&[Does::Answers(500), Does::Hangs, Does::Answers(503)], Does::Answers(204)).await;
    let stuck = Receiver::start(&[], Does::Hangs).await;
    let chat = Receiver::start(&[], Does::Answers(200)).await;
    let own = Receiver::start(&[], Does::Answers(200)).await;
    let other = Receiver::start(&[], Does::Answers(200)).await;
    let targets = [
        desk.target("desk", json!({ "on": ["escalation_opened"] })),
        stuck.target("stuck", json!({})),
        chat.target("chat", json!({ "template": "slack" })),
        own.target(
            "own",
            json!({ "template": r#"{"so": "{{ data.title }}", "who": {{ tenant | tojson }}}"# }),
        ),
        other.target("other", json!({ "tenant": "acme" })),
        other.target("incidents", json!({ "on": ["incident_opened"] })),
    ];
    let mut fleet = fleet(Servers::start().await, &targets, &[], &[]).await;
    for name in BRAINS {
        fleet.start(name).await;
    }
    ask(&fleet, 1, HOSTILE).await;
    fleet.settled(1).await;
    eventually("the chat and the own receiver hear of it", async || {
        chat.seen().len() == 1 && own.seen().len() == 1
    })
    .await;
    eventually("the desk takes it at the fourth try", async || desk.seen().len() == 4).await;
    let seen = desk.seen();
    assert!(seen.iter().all(|(id, body)| *id == seen[0].0 && *body == seen[0].1), "{seen:?}");
    let document = &seen[0].1;
    let asked = fleet.record.open_escalations(None, 10).await.unwrap();
    assert_eq!(document["type"], "escalation_opened");
    assert_eq!(document["tenant"], "default");
    assert_eq!(document["data"]["escalation_id"], asked[0].escalation_id.to_string());
    assert_eq!(document["data"]["run_id"], asked[0].run_id.to_string());
    let title = document["data"]["title"].as_str().unwrap();
    assert!(title.contains("<!channel>"), "the document has the title as it is: {title}");
    let text = chat.seen()[0].1["text"].as_str().unwrap().to_owned();
    assert!(!text.contains("<") && !text.contains("@here") && text.contains("&lt;!channel&gt;"), "{text}");
    assert_eq!(own.seen()[0].1, json!({ "so": title, "who": "default" }));
    assert_ne!(chat.seen()[0].0, seen[0].0, "each target has ids of its own");
    assert_eq!(other.seen(), [], "it asked for another tenant and another thing");
    eventually("the doctor tells of the one that hangs", async || {
        let (_, said) = tidemill(&fleet, &["doctor", "--json"]).await;
        said.contains("stuck") && said.contains("no answer in time")
    })
    .await;
}

#[tokio::test]
async fn an_escalation_that_waits_too_long_is_told_once_and_a_restart_tells_it_no_second_time() {
    let desk = Receiver::start(&[], Does::Answers(200)).await;
    let targets = [desk.target("desk", json!({ "on": ["escalation_overdue"] }))];
    let overdue = ["notifications.overdue_after=1s"];
    let mut fleet = fleet(Servers::start().await, &targets, &overdue, &[]).await;
    for name in BRAINS {
        fleet.start(name).await;
    }
    ask(&fleet, 1, "One").await;
    ask(&fleet, 2, "Two").await;
    eventually("both are told", async || desk.seen().len() == 2).await;
    fleet.signal("planner", local::Signal::SIGKILL);
    let set = planner(&targets);
    let set: Vec<&str> = set.iter().map(String::as_str).chain(overdue).collect();
    fleet.start_with("planner", &set, &[]).await;
    ask(&fleet, 3, "Three").await;
    // One that the dead planner had not noted yet comes again, under its id.
    eventually("the third is told", async || {
        desk.seen().iter().any(|(_, body)| body["data"]["title"] == "Three")
    })
    .await;
    let told: BTreeMap<_, _> = desk.seen().into_iter().collect();
    let mut titles: Vec<_> = told.values().map(|body| body["data"]["title"].as_str().unwrap()).collect();
    titles.sort_unstable();
    assert_eq!(titles, ["One", "Three", "Two"]);
}

#[tokio::test]
async fn an_incident_is_told_with_what_policy_found() {
    let desk = Receiver::start(&[], Does::Answers(200)).await;
    let mut fleet = fleet(Servers::start().await, &[desk.target("desk", json!({}))], &[], &[]).await;
    let policy = fleet.servers.folder().join("policy.yaml");
    std::fs::write(&policy, "forbidden_terms: [Glimmerdrift]\n").unwrap();
    let policy = format!("policy.file={}", policy.display());
    for name in BRAINS {
        fleet.start_with(name, &[&policy], &[]).await;
    }
    ask(&fleet, 1, "Buy Glimmerdrift").await;
    assert_eq!(fleet.settled(1).await[0].state, "rejected");
    eventually("it is told", async || desk.of("incident_opened").len() == 1).await;
    let told = &desk.of("incident_opened")[0];
    assert_eq!(told["data"]["kind"], "policy_violation");
    assert!(told["data"]["detail"].to_string().contains("Glimmerdrift"), "{told}");
}

#[tokio::test]
async fn an_outlet_that_is_out_is_told_once_however_many_publishers_find_it_so() {
    let desk = Receiver::start(&[], Does::Answers(200)).await;
    let targets = [desk.target("desk", json!({}))];
    let mut fleet = Fleet::quiet().await;
    let set = planner(&targets);
    fleet.start_with("planner", &[&set[0], &set[1]], &[]).await;
    for name in BRAINS {
        fleet.start(name).await;
    }
    let outlets = json!({ "hook": { "timeout": "1s", "webhook": { "url": "http://127.0.0.1:1/" } } });
    let outlets = format!("publisher.outlets={outlets}");
    let set =
        [outlets.as_str(), "publisher.outlet=hook", "publisher.breaker.pause=100ms", "worker.concurrency=4"];
    for _ in 0..3 {
        fleet.start_with("publisher", &set, &[]).await;
    }
    fleet.add((0..40).map(event)).await;
    eventually("every publisher has given it up for a while", async || {
        let publishers = fleet.workers.iter().filter(|(name, _)| *name == "publisher");
        publishers.into_iter().all(|(_, worker)| worker.log().contains("the outlet is left alone"))
    })
    .await;
    eventually("it is told", async || !desk.of("breaker_opened").is_empty()).await;
    eventually("it shows as open", async || fleet.record.open_breakers().await.unwrap().len() == 1).await;
    let (_, said) = tidemill(&fleet, &["doctor", "--json"]).await;
    assert!(said.contains("outlet hook is out"), "{said}");
    fleet.start("gateway").await;
    let reader = Desk::of(&fleet, "default", &["read"]).await;
    let (_, said) = at_the_desk(&reader, &["top", "--once"]).await;
    assert!(said.contains(": outlet hook: "), "{said}");
    // Whatever comes behind it was told after all that was noticed before it.
    fleet
        .record
        .breaker_is_open(record::BreakerKind::Outlet, "marker", "r", "p", Duration::ZERO)
        .await
        .unwrap();
    eventually("the marker is told", async || desk.of("breaker_opened").len() >= 2).await;
    let told = desk.of("breaker_opened");
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!((&told[0]["data"]["name"], &told[0]["data"]["breaker"]), (&json!("hook"), &json!("outlet")));
    assert!(told[0]["text"].as_str().unwrap().contains("no connection"), "{told:?}");
}

#[tokio::test]
async fn a_stage_that_lost_the_record_is_told_once_when_that_is_back() {
    let desk = Receiver::start(&[], Does::Answers(200)).await;
    let targets = [desk.target("desk", json!({ "on": ["breaker_opened"] }))];
    let mut fleet = fleet(Servers::start_own().await, &targets, &[], &[]).await;
    for name in ["etl", "etl", "etl"] {
        fleet.start(name).await;
    }
    ask(&fleet, 1, "Before").await;
    eventually("it is accepted", async || !fleet.runs().await.is_empty()).await;
    fleet.servers.postgres.as_mut().unwrap().stop().await;
    for number in 2..40 {
        ask(&fleet, number, "During").await;
    }
    eventually("several workers of the stage notice", async || {
        let workers = fleet.workers.iter().filter(|(name, _)| *name == "etl");
        workers.into_iter().filter(|(_, worker)| worker.log().contains("reading pauses")).count() >= 2
    })
    .await;
    fleet.servers.postgres.as_mut().unwrap().restart().await.unwrap();
    eventually("it is told", async || !desk.seen().is_empty()).await;
    eventually("nothing is out any more", async || {
        fleet.record.open_breakers().await.is_ok_and(|open| open.is_empty())
    })
    .await;
    fleet
        .record
        .breaker_is_open(record::BreakerKind::Stage, "marker", "r", "p", Duration::ZERO)
        .await
        .unwrap();
    eventually("the marker is told", async || {
        desk.seen().iter().any(|(_, body)| body["data"]["name"] == "marker")
    })
    .await;
    let told = desk.of("breaker_opened");
    assert_eq!(told.iter().filter(|told| told["data"]["name"] == "etl").count(), 1, "{told:?}");
}

#[tokio::test]
async fn a_planner_that_dies_after_a_call_makes_it_again_under_the_same_id() {
    let desk = Receiver::start(&[], Does::Answers(200)).await;
    let targets = [desk.target("desk", json!({}))];
    let environment = [("TIDEMILL_FAILPOINT", "notified")];
    let mut fleet = fleet(Servers::start().await, &targets, &[], &environment).await;
    for name in BRAINS {
        fleet.start(name).await;
    }
    ask(&fleet, 1, "One").await;
    assert!(fleet.workers[0].1.wait(END).await.is_some(), "the planner dies");
    let set = planner(&targets);
    fleet.start_with("planner", &[&set[0], &set[1], &set[2]], &[]).await;
    eventually("it is told again", async || desk.seen().len() == 2).await;
    let seen = desk.seen();
    assert_eq!(seen[0], seen[1]);
    ask(&fleet, 2, "Two").await;
    eventually("the next is told", async || desk.seen().len() == 3).await;
    assert_ne!(desk.seen()[2].0, seen[0].0);
}

#[tokio::test]
async fn what_nobody_takes_is_given_up_in_sight_of_the_operator() {
    let desk = Receiver::start(&[], Does::Answers(500)).await;
    let targets = [desk.target("desk", json!({}))];
    let mut fleet = fleet(Servers::start().await, &targets, &["notifications.give_up_after=2s"], &[]).await;
    for name in BRAINS {
        fleet.start(name).await;
    }
    ask(&fleet, 1, "One").await;
    eventually("it is given up", async || fleet.workers[0].1.log().contains("a notification is given up"))
        .await;
    assert!(desk.seen().len() > 1, "it was tried more than once");
    let counted = metrics(&fleet.workers[0].1).await;
    assert!(
        counted.contains(r#"tidemill_notifications_total{target="desk",outcome="given_up"} 1"#),
        "{counted}"
    );
    let (_, said) = tidemill(&fleet, &["doctor", "--json"]).await;
    assert!(said.contains("desk: 1 given up") && said.contains("500"), "{said}");
}
