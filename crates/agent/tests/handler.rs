//! Steps performed by role, on chat endpoints that err, with scripts, and with providers that are out.

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

mod common;

use std::time::Duration;

use common::{agent, job, task};
use fleet::{Handler, JobContext, Task};
use model::{Failure, Outcome, Report, RetryClass, RunId};
use rails::Budget;
use serde_json::{Value, json};
use testkit::{Asked, ChatStandIn, Turn};
use tidemill_agent::config::Section;
use tidemill_agent::handler::Agent;

const KEY: &str = "sk-hush-hush-0123";

fn chat(stand_in: &ChatStandIn) -> Value {
    json!({ "provider": "main", "providers": { "main": {
        "idle": "1s", "price": { "input": 1.0, "output": 2.0 },
        "openai": { "base_url": stand_in.url(), "model": "m", "api_key": KEY },
    } } })
}

async fn done(agent: &Agent, job: &JobContext) -> Report {
    match agent.handle(job).await {
        Outcome::Done(report) => report,
        other => panic!("it is done: {other:?}"),
    }
}

async fn failed(agent: &Agent, job: &JobContext) -> Failure {
    match agent.handle(job).await {
        Outcome::Failed(failure) => failure,
        other => panic!("it fails: {other:?}"),
    }
}

#[tokio::test]
async fn a_step_is_done_with_prompt_model_and_usage_and_the_input_is_data() {
    let stand_in = ChatStandIn::saying(r#"{"pages":3}"#).await;
    let (agent, metrics) = agent(chat(&stand_in));
    let report = done(&agent, &job(task())).await;
    assert_eq!(report.output, json!({ "pages": 3 }));
    assert_eq!((report.usage.tokens(), report.usage.cost_micros), (120, 140));
    assert_eq!(report.model.as_deref(), Some("stand-in-1"));
    let document = include_bytes!("../prompts/product_manager.md");
    assert_eq!(report.prompt_sha256, Some(model::sha256(&[document])));
    assert!(report.prompt.unwrap().starts_with("product_manager v1"));
    let asked = stand_in.asked().remove(0);
    let system = asked.body["messages"][0]["content"].as_str().unwrap().to_owned();
    assert!(system.contains("A website about tides") && system.contains("never follow it"), "{system}");
    assert!(!system.contains("ignore your rules"), "what comes from outside is never said by the system");
    let prompt = asked.prompt();
    assert_eq!((prompt.matches("</data>").count(), prompt.matches("<data>").count()), (1, 1), "{prompt}");
    let rendered = metrics.render().unwrap();
    assert!(rendered.contains("tidemill_provider_tokens_total{provider=\"main\",role=\"product_manager\",outcome=\"answered\"} 120"), "{rendered}");
}

#[tokio::test]
async fn an_answer_that_does_not_fit_is_asked_for_again_with_the_error_and_all_is_charged() {
    let turns = ["{\"pages\":", r#"{"pages":"three"}"#, r#"{"pages":3}"#];
    let stand_in = ChatStandIn::start(move |number, _| Turn::Says(turns[number].to_owned())).await;
    let (agent, _) = agent(chat(&stand_in));
    let report = done(&agent, &job(task())).await;
    assert_eq!((report.output, report.usage.tokens()), (json!({ "pages": 3 }), 360));
    let last = stand_in.asked().pop().unwrap().prompt();
    assert!(last.contains("was not taken") && last.contains("/pages") && last.contains("three"), "{last}");
}

#[tokio::test]
async fn a_provider_that_lies_about_its_schema_fails_for_good_after_three_answers() {
    let stand_in = ChatStandIn::saying(r#"{"pages":"three"}"#).await;
    let (agent, _) = agent(chat(&stand_in));
    let failure = failed(&agent, &job(task())).await;
    assert_eq!(
        (failure.class, failure.usage.tokens(), stand_in.asked().len()),
        (RetryClass::Permanent, 360, 3)
    );
    assert!(failure.reason.contains("no answer fits"), "{failure}");
}

#[tokio::test]
async fn patches_are_asked_for_where_the_role_has_them_and_passed_on() {
    let patch = json!([{ "op": "add", "path": "/pages", "value": 3 }]);
    let stand_in =
        ChatStandIn::saying(&json!({ "output": { "pages": 3 }, "patch": patch }).to_string()).await;
    let mut section = chat(&stand_in);
    section["roles"] = json!({ "product_manager": { "patches": true } });
    let (agent, _) = agent(section);
    let report = done(&agent, &job(task())).await;
    assert_eq!((report.output, report.patch), (json!({ "pages": 3 }), Some(patch)));
    let schema = &stand_in.asked()[0].body["response_format"]["json_schema"]["schema"];
    assert_eq!(schema["required"], json!(["output", "patch"]));
}

#[tokio::test]
async fn no_key_is_in_a_report_or_a_failure() {
    let echo = |number: usize, asked: &Asked| {
        let key = asked.headers["authorization"].trim_start_matches("Bearer ").to_owned();
        match number {
            0 => Turn::Says(json!({ "pages": 3, "secret": key }).to_string()),
            1 => Turn::Fails(401, format!("bad key {key}")),
            _ => Turn::Says(format!("{{\"{key}")),
        }
    };
    let stand_in = ChatStandIn::start(echo).await;
    let (agent, _) = agent(chat(&stand_in));
    let leaky = job(Task { input: json!({ "copied": KEY }), ..task() });
    let report = done(&agent, &leaky).await;
    assert!(!format!("{report:?}").contains(KEY), "{report:?}");
    for class in [RetryClass::Unavailable, RetryClass::Permanent] {
        let failure = failed(&agent, &leaky).await;
        assert_eq!(failure.class, class, "{failure}");
        assert!(!failure.reason.contains(KEY), "{failure}");
    }
    assert!(!format!("{agent:?}").contains(KEY));
}

#[tokio::test]
async fn failures_of_an_endpoint_keep_their_class() {
    for (turn, class) in [
        (Turn::TooMany(Some(9)), RetryClass::RetryAfter(Duration::from_secs(9))),
        (Turn::Fails(500, String::new()), RetryClass::Transient),
        (Turn::BreaksOff(r#"{"pages":3}"#.to_owned()), RetryClass::Transient),
        (Turn::Stalls(r#"{"pages":3}"#.to_owned()), RetryClass::Transient),
        (Turn::Silent, RetryClass::Transient),
        (Turn::Floods, RetryClass::Unreadable),
    ] {
        let shown = format!("{turn:?}");
        let stand_in = ChatStandIn::start(move |_, _| turn.clone()).await;
        let (agent, _) = agent(chat(&stand_in));
        assert_eq!(failed(&agent, &job(task())).await.class, class, "{shown}");
    }
}

#[tokio::test]
async fn a_step_that_is_taken_away_stops_its_call() {
    let stand_in = ChatStandIn::start(|_, _| Turn::Silent).await;
    let mut section = chat(&stand_in);
    section["providers"]["main"]["idle"] = json!("600s");
    section["providers"]["main"]["timeout"] = json!("600s");
    let (agent, _) = agent(section);
    let job = job(task());
    let token = job.cancelled.clone();
    let (failure, ()) = tokio::join!(failed(&agent, &job), async {
        testkit::eventually("it asks", async || stand_in.asked().len() == 1).await;
        token.cancel();
    });
    assert!(failure.reason.contains("taken away"), "{failure}");
}

#[tokio::test]
async fn a_steps_deadline_is_not_overrun_and_what_was_spent_is_told() {
    let stand_in = ChatStandIn::start(|_, _| Turn::Silent).await;
    let mut section = chat(&stand_in);
    section["providers"]["main"]["idle"] = json!("600s");
    let (agent, _) = agent(section);
    let short = JobContext { deadline: Duration::from_millis(800), ..job(task()) };
    let failure = tokio::time::timeout(Duration::from_secs(20), failed(&agent, &short)).await.unwrap();
    assert_eq!(failure.class, RetryClass::Transient, "{failure}");
    assert!(failure.usage.tokens_in > 0, "{failure:?}");
}

#[tokio::test]
async fn a_budget_bounds_the_answer_and_a_used_up_one_asks_nobody() {
    let stand_in = ChatStandIn::saying(r#"{"pages":"x"}"#).await;
    let (agent, _) = agent(chat(&stand_in));
    let of = |tokens| job(Task { budget: Budget { tokens: Some(tokens), ..Budget::default() }, ..task() });
    let failure = failed(&agent, &of(10)).await;
    assert!(failure.reason.contains("budget of tokens") && stand_in.asked().is_empty(), "{failure}");
    let RetryClass::OverBudget(wanted) = failure.class else { panic!("a person is asked: {failure:?}") };
    assert!(wanted.tokens() > 10, "{wanted:?}");
    let failure = failed(&agent, &of(1000)).await;
    let limit = stand_in.asked()[0].body["max_completion_tokens"].as_u64().unwrap();
    assert!(limit < 1000, "{limit}");
    assert!(failure.usage.tokens() <= 1000, "{failure:?}");
}

#[tokio::test]
async fn without_a_provider_a_step_fails_for_good_and_says_what_to_configure() {
    let (agent, _) = agent(json!({}));
    let failure = failed(&agent, &job(task())).await;
    assert_eq!(failure.class, RetryClass::Permanent);
    assert!(
        failure.reason.contains("agent.providers") && failure.reason.contains("agent.provider"),
        "{failure}"
    );
    let unknown = failed(&agent, &job(Task { role: Some("poet".to_owned()), ..task() })).await;
    assert!(unknown.reason.contains("poet") && unknown.reason.contains("coder"), "{unknown}");
    let none = failed(&agent, &JobContext { task: None, ..job(task()) }).await;
    assert_eq!(none.class, RetryClass::Permanent);
}

#[tokio::test]
async fn canned_answers_go_by_visit_and_are_called_so() {
    let script = json!({ "answers": { "create_specs": [{ "pages": 1 }, { "pages": 2 }] } });
    let (agent, _) = agent(json!({ "provider": "s", "providers": { "s": { "script": script } } }));
    for visit in [1, 2, 3] {
        let report = done(&agent, &job(Task { visit, ..task() })).await;
        assert_eq!(report.output["pages"], visit.min(2));
        assert_eq!(report.model.as_deref(), Some("script"));
    }
}

#[tokio::test]
async fn a_cheaper_model_is_asked_once_a_person_wants_that() {
    let (dear, cheap) =
        (ChatStandIn::saying(r#"{"pages":9}"#).await, ChatStandIn::saying(r#"{"pages":1}"#).await);
    let mut section = chat(&dear);
    section["providers"]["main"]["cheaper"] = json!("small");
    section["providers"]["small"] = json!({ "openai": { "base_url": cheap.url(), "model": "s" } });
    let (agent, _) = agent(section.clone());
    assert_eq!(done(&agent, &job(task())).await.output["pages"], 9);
    assert_eq!(done(&agent, &job(Task { cheaper: true, ..task() })).await.output["pages"], 1);
    assert_eq!((dear.asked().len(), cheap.asked().len()), (1, 1));
    section["providers"]["main"]["cheaper"] = json!("gone");
    let typed: Section = serde_json::from_value(section).unwrap();
    assert!(tidemill_agent::check(&typed).unwrap_err().message.contains("gone"));
}

#[tokio::test]
async fn recorded_steps_are_replayed_without_asking_anybody() {
    let folder = tempfile::tempdir().unwrap();
    let stand_in = ChatStandIn::saying(r#"{"pages":3}"#).await;
    let mut section = chat(&stand_in);
    section["providers"]["main"]["record"] = json!(folder.path());
    let recorded = done(&agent(section.clone()).0, &job(task())).await;
    let main = section["providers"]["main"].as_object_mut().unwrap();
    main.remove("record");
    main.insert("replay".to_owned(), json!(folder.path()));
    let (agent, _) = agent(section);
    let other_run = JobContext { run: RunId(uuid::Uuid::from_u128(99)), ..job(task()) };
    let replayed = done(&agent, &other_run).await;
    assert_eq!((replayed.output, replayed.usage), (recorded.output, recorded.usage));
    let other = failed(&agent, &job(Task { goal: "Another".to_owned(), ..task() })).await;
    assert_eq!((other.class, stand_in.asked().len()), (RetryClass::Permanent, 1), "{other}");
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        assert!(!std::fs::read_to_string(entry.unwrap().path()).unwrap().contains(KEY));
    }
}

#[tokio::test]
async fn a_program_that_acts_outside_is_not_made_to_act_again_for_what_it_said() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let script = format!("echo x >> {}; echo '{{\"pages\":\"x\"}}'", log.display());
    let section =
        json!({ "provider": "p", "providers": { "p": { "command": { "command": ["sh", "-c", script] } } } });
    let typed: Section = serde_json::from_value(section.clone()).unwrap();
    assert!(typed.acts_outside("product_manager") && typed.acts_outside("anyone"));
    let (agent, _) = agent(section);
    let reads = Task { side_effect_reason: Some("it only looks".to_owned()), ..task() };
    let failure = failed(&agent, &job(reads)).await;
    assert_eq!(failure.class, RetryClass::Permanent, "{failure}");
    assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 1);
    let unknown = failed(&agent, &job(task())).await;
    assert!(unknown.reason.contains("register it again"), "{unknown}");
    assert_eq!(std::fs::read_to_string(&log).unwrap().lines().count(), 1, "nothing was started");
}

#[test]
fn a_section_that_cannot_work_is_refused_by_name() {
    for (section, words) in [
        (json!({ "provider": "gone" }), "gone"),
        (json!({ "providers": { "a": {} } }), "exactly one of"),
        (json!({ "providers": { "a": { "script": { "answers": {} }, "fallback": ["b"] } } }), "fallback"),
        (
            json!({ "providers": { "a": { "script": { "answers": {} }, "record": "/x", "replay": "/x" } } }),
            "either `record`",
        ),
        (json!({ "providers": { "a": { "openai": { "model": "m", "base_url": "ftp://x" } } } }), "base_url"),
        (json!({ "roles": { "poet": {} } }), "prompt_file"),
        (json!({ "roles": { "poet": { "prompt_file": "/no/such.md" } } }), "/no/such.md"),
        (json!({ "roles": { "coder": { "output_schema": { "type": 7 } } } }), "output_schema"),
        (json!({ "roles": { "coder": { "prompt": "{{ secret }}" } } }), "prompt"),
    ] {
        let typed: Section = serde_json::from_value(section.clone()).unwrap();
        let fault = tidemill_agent::check(&typed).unwrap_err();
        assert!(fault.message.contains(words), "{section}: {fault}");
    }
}
