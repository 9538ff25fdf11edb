//! What acts outside: planned, called under the ledger's key, and truthful about what became of it.

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod common;

use common::{agent, job, task};
use fleet::{Handler, JobContext, Task};
use model::{EffectResult, Known, Outcome};
use rails::Charge;
use serde_json::{Value, json};
use testkit::{ChatStandIn, Turn};
use tidemill_agent::config::Breaker;
use tidemill_agent::handler::Agent;
use tidemill_agent::tools::Toolbox;

/// An agent whose only provider is this program.
fn program(script: &str, more: &Value) -> Agent {
    let mut command = json!({ "command": ["sh", "-c", script] });
    command.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    agent(json!({ "provider": "p", "providers": { "p": { "command": command } } })).0
}

fn acting(task: Task) -> JobContext {
    job(Task { side_effect: true, ..task })
}

#[tokio::test]
async fn a_step_that_acts_is_planned_first_and_its_call_has_the_ledgers_key() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let agent = program(&format!("cat >> {}; echo '{{\"pages\": 3}}'", log.display()), &json!({}));
    let job = acting(task());
    let Outcome::Plan(report, effect) = agent.handle(&job).await else { panic!("it is planned") };
    assert!(!log.exists(), "nothing was called");
    assert_eq!((effect.outlet.as_str(), effect.name.as_str()), ("agent.p", "call"));
    assert!(report.prompt_sha256.is_some() && !effect.deduplicates);
    let key = model::sha256(&[b"the ledger's"]);
    let EffectResult::Answered { reference, answer } = agent.perform(&job, &effect, key).await else {
        panic!("it is answered")
    };
    assert_eq!((reference.as_str(), &answer.output), ("call by command:sh", &json!({ "pages": 3 })));
    let told: Value = serde_json::from_str(&std::fs::read_to_string(&log).unwrap()).unwrap();
    assert_eq!(told["task"], json!(key.to_hex()));
    assert_eq!(agent.ask(&effect, key).await, Ok(Known::CannotTell));

    let again = acting(Task { visit: 2, ..task() });
    let Outcome::Plan(_, effect) = agent.handle(&again).await else { panic!("it is planned") };
    assert_eq!(effect.name, "call 2", "another round is another call");
    let dry = JobContext { dry_run: true, ..acting(task()) };
    let Outcome::Plan(report, effect) = agent.handle(&dry).await else { panic!("it is planned") };
    assert!(effect.dry_run);
    assert_eq!(report.output["would_send"]["input"]["board"], json!({ "title": "Tides" }), "{report:?}");
}

#[tokio::test]
async fn a_call_whose_end_nobody_hears_is_unknown_and_one_that_was_refused_is_not() {
    let key = model::sha256(&[b"k"]);
    let performed = async |agent: &Agent| {
        let job = acting(task());
        let Outcome::Plan(_, effect) = agent.handle(&job).await else { panic!("it is planned") };
        agent.perform(&job, &effect, key).await
    };
    let refusing = program("exit 65", &json!({}));
    assert!(matches!(performed(&refusing).await, EffectResult::Rejected { .. }));
    let lying = program("echo '{\"pages\": \"x\"}'", &json!({}));
    assert!(matches!(performed(&lying).await, EffectResult::Unknown { .. }));
    for unreadable in ["yes", "printf '\\377'"] {
        let acted = performed(&program(unreadable, &json!({}))).await;
        assert!(matches!(acted, EffectResult::Unknown { .. }), "{unreadable}: {acted:?}");
    }
    let absent =
        agent(json!({ "provider": "p", "providers": { "p": { "command": { "command": ["/no/such"] } } } })).0;
    assert!(matches!(performed(&absent).await, EffectResult::NotSent(_)));
    let mut section = json!({ "provider": "p", "breaker": { "failures": 99 } });
    section["providers"] =
        json!({ "p": { "command": { "command": ["sh", "-c", "exit 3"], "repeatable": true } } });
    let failing = agent(section).0;
    for _ in 0..4 {
        assert!(matches!(performed(&failing).await, EffectResult::Unsettled { .. }));
    }
    let last = performed(&failing).await;
    assert!(matches!(&last, EffectResult::Unknown { reason } if reason.contains("5 times")), "{last:?}");
    assert!(
        matches!(performed(&failing).await, EffectResult::Unsettled { .. }),
        "sent again by a person's order"
    );
}

/// An agent without a provider, whose only tool this is.
fn with_tool(tool: &Value) -> Agent {
    let section = serde_json::from_value(json!({ "registry": { "send": tool } })).unwrap();
    agent(json!({})).0.with_tools(Toolbox::new(&section, Breaker::default()).unwrap())
}

/// A job that calls it.
fn calling() -> JobContext {
    let arguments = json!({ "who": "Ada" });
    let content_sha256 = Some(rails::shown("send", &arguments).unwrap().sha256);
    let charge = Charge::Tool { tool: "send".to_owned(), arguments, turn: 1 };
    JobContext { content_sha256, ..acting(Task { role: None, charge: Some(charge), ..task() }) }
}

#[tokio::test]
async fn a_tool_that_acts_is_called_only_where_the_very_call_is_what_was_asked_about() {
    let agent = with_tool(&json!({ "command": { "command": ["true"] } }));
    let other = rails::shown("send", &json!({ "who": "Bob" })).unwrap().sha256;
    for content_sha256 in [None, Some(model::sha256(&[b"the draft"])), Some(other)] {
        let job = JobContext { content_sha256, ..calling() };
        let Outcome::Failed(failure) = agent.handle(&job).await else { panic!("it is not planned") };
        assert!(failure.reason.contains("register it again"), "{failure}");
    }
    assert!(matches!(agent.handle(&calling()).await, Outcome::Plan(..)));
}

#[tokio::test]
async fn a_tools_call_that_is_under_way_is_not_withdrawn_and_is_asked_for_again_under_its_key() {
    let stand_in = ChatStandIn::start(|number, _| match number {
        0 => Turn::Fails(202, "{}".to_owned()),
        1 => Turn::Fails(401, "{}".to_owned()),
        _ => Turn::Fails(200, json!({ "output": { "sent": true } }).to_string()),
    })
    .await;
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let agent = with_tool(&json!({ "http": { "url": stand_in.url(), "secret": secret } }));
    let (job, key) = (calling(), model::sha256(&[b"the ledger's"]));
    let Outcome::Plan(_, effect) = agent.handle(&job).await else { panic!("it is planned") };
    for _ in 0..2 {
        let result = agent.perform(&job, &effect, key).await;
        assert!(matches!(result, EffectResult::Unsettled { .. }), "{result:?}");
        assert_eq!(agent.ask(&effect, key).await, Ok(Known::Repeatable));
    }
    let result = agent.perform(&job, &effect, key).await;
    assert!(matches!(result, EffectResult::Confirmed { .. }), "{result:?}");
    assert!(stand_in.asked().iter().all(|asked| asked.headers["webhook-id"] == key.to_hex()));
}

#[tokio::test]
async fn a_tool_whose_answer_cannot_be_read_did_act_and_one_that_refuses_did_not() {
    let key = model::sha256(&[b"k"]);
    for (script, expected) in
        [("yes", "Unknown"), ("printf '\\377'", "Unknown"), ("exit 65", "Rejected"), ("exit 3", "Unsettled")]
    {
        let agent = with_tool(&json!({ "command": { "command": ["sh", "-c", script] } }));
        let job = calling();
        let Outcome::Plan(_, effect) = agent.handle(&job).await else { panic!("it is planned") };
        let told = format!("{:?}", agent.perform(&job, &effect, key).await);
        assert!(told.starts_with(expected), "{script}: {told}");
        assert_eq!(agent.ask(&effect, key).await, Ok(Known::CannotTell));
    }
}
