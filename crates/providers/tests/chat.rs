//! Both chat protocols against a stand-in that streams, errs and stalls.

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

use std::time::{Duration, Instant};

use calls::Secret;
use model::{Failure, RetryClass};
use serde_json::{Map, Value, json};
use testkit::{Asked, ChatStandIn, Turn};
use tidemill_providers::{Answer, Anthropic, AnthropicConfig, Ask, OpenAi, OpenAiConfig, Provider, Said};

const KEY: &str = "sk-hush-hush-0123";

fn ask() -> Ask {
    Ask {
        key: "k".to_owned(),
        step: "write".to_owned(),
        visit: 1,
        role: "coder".to_owned(),
        system: "You write.".to_owned(),
        prompt: "Write <data>{}</data>".to_owned(),
        input: json!({ "input": {}, "board": {} }),
        output_schema: json!({ "type": "object" }),
        parameters: Map::new(),
        max_tokens: 77,
        timeout: Duration::from_secs(30),
    }
}

const IDLE: Duration = Duration::from_millis(400);

/// One of each protocol: OpenAI's streamed, OpenAI's whole, Anthropic's.
fn all(stand_in: &ChatStandIn, idle: Duration) -> [Box<dyn Provider>; 3] {
    // Another test may have been first.
    drop(rustls::crypto::ring::default_provider().install_default());
    let openai = |stream: bool| {
        let config = json!({ "base_url": format!("{}/v1", stand_in.url()), "model": "m", "api_key": KEY, "stream": stream });
        Box::new(OpenAi::new(serde_json::from_value::<OpenAiConfig>(config).unwrap(), idle).unwrap())
    };
    let config =
        AnthropicConfig { base_url: stand_in.url(), model: "m".to_owned(), api_key: Secret::from(KEY) };
    [openai(true), openai(false), Box::new(Anthropic::new(config, idle).unwrap())]
}

/// What each protocol makes of a turn.
async fn each(turn: Turn) -> Vec<Result<Answer, Failure>> {
    let stand_in = ChatStandIn::start(move |_, _| turn.clone()).await;
    let mut answers = Vec::new();
    for provider in all(&stand_in, IDLE) {
        let answer = provider.complete(&ask()).await;
        assert!(!format!("{answer:?} {provider:?}").contains(KEY), "{answer:?}");
        answers.push(answer);
    }
    answers
}

fn classes(answers: &[Result<Answer, Failure>]) -> Vec<RetryClass> {
    answers.iter().map(|answer| answer.as_ref().unwrap_err().class).collect()
}

#[tokio::test]
async fn an_answer_comes_whole_with_its_usage_and_model() {
    let text = r#"{"title":"Ebb and flöd, a \"test\""}"#;
    for answer in each(Turn::Says(text.to_owned())).await {
        let answer = answer.unwrap();
        assert_eq!(answer.said, Said::Text(text.to_owned()));
        assert_eq!((answer.usage.tokens_in, answer.usage.tokens_out), (100, 20));
        assert_eq!(answer.model, "stand-in-1");
    }
}

#[tokio::test]
async fn what_is_asked_has_key_limit_schema_and_parameters() {
    let stand_in = ChatStandIn::saying("{}").await;
    let mut parameters = Map::new();
    parameters.insert("temperature".to_owned(), json!(0.5));
    parameters.insert("model".to_owned(), json!("another"));
    for provider in all(&stand_in, IDLE) {
        provider.complete(&Ask { parameters: parameters.clone(), ..ask() }).await.unwrap();
    }
    let asked = stand_in.asked();
    let [streamed, whole, anthropic] = asked.as_slice() else { panic!("three requests: {asked:?}") };
    for one in [streamed, whole] {
        assert_eq!(one.path, "/v1/chat/completions");
        assert_eq!(one.headers["authorization"], format!("Bearer {KEY}"));
        assert_eq!(one.body["max_completion_tokens"], 77);
        assert_eq!(one.body["response_format"]["json_schema"]["schema"], json!({ "type": "object" }));
        assert_eq!(one.body["messages"][0], json!({ "role": "system", "content": "You write." }));
    }
    assert_eq!(streamed.body["stream_options"]["include_usage"], true);
    assert_eq!(anthropic.path, "/v1/messages");
    assert_eq!(
        (&anthropic.headers["x-api-key"], &anthropic.headers["anthropic-version"]),
        (&KEY.to_owned(), &"2023-06-01".to_owned())
    );
    assert_eq!(
        (&anthropic.body["max_tokens"], &anthropic.body["system"]),
        (&json!(77), &json!("You write."))
    );
    assert_eq!(anthropic.body["tool_choice"], json!({ "type": "tool", "name": "answer" }));
    for one in &asked {
        assert_eq!((&one.body["temperature"], &one.body["model"]), (&json!(0.5), &json!("m")), "{one:?}");
        assert_eq!(one.prompt(), ask().prompt);
    }
}

#[tokio::test]
async fn a_request_is_sent_once_whatever_it_is_answered() {
    for turn in [Turn::TooMany(Some(0)), Turn::Fails(500, "no".to_owned())] {
        let stand_in = ChatStandIn::start(move |_, _| turn.clone()).await;
        for provider in all(&stand_in, IDLE) {
            provider.complete(&ask()).await.unwrap_err();
        }
        assert_eq!(stand_in.asked().len(), 3, "the rails decide how often");
    }
}

#[tokio::test]
async fn refusals_mean_what_they_say_and_tell_no_key() {
    let wait = RetryClass::RetryAfter;
    assert_eq!(classes(&each(Turn::TooMany(Some(17))).await), [wait(Duration::from_secs(17)); 3]);
    assert_eq!(classes(&each(Turn::TooMany(None)).await), [wait(Duration::from_secs(5)); 3]);
    let too_long = r#"{"error":{"message":"m","code":"context_length_exceeded"}}"#;
    for (status, body, class) in [
        (500, "", RetryClass::Transient),
        (503, "", RetryClass::Transient),
        (529, "overloaded", wait(Duration::from_secs(5))),
        (401, "Incorrect API key provided: sk-hush-hush-0123.", RetryClass::Unavailable),
        (403, "", RetryClass::Unavailable),
        (429, r#"{"error":{"code":"insufficient_quota"}}"#, RetryClass::Unavailable),
        (400, too_long, RetryClass::Permanent),
        (400, "prompt is too long: 9 tokens > 8 maximum", RetryClass::Permanent),
        (404, "no such model", RetryClass::Permanent),
        (301, "", RetryClass::Permanent),
    ] {
        let answers = each(Turn::Fails(status, body.to_owned())).await;
        assert_eq!(classes(&answers), [class; 3], "{status} {body}");
        let told = answers[0].as_ref().unwrap_err();
        assert_eq!(
            told.reason.contains("too long for the model"),
            body.contains("too long") || body == too_long,
            "{told}"
        );
    }
    drop(rustls::crypto::ring::default_provider().install_default());
    let nobody = AnthropicConfig {
        base_url: "http://127.0.0.1:1".to_owned(),
        model: "m".to_owned(),
        api_key: Secret::from(KEY),
    };
    let failure = Anthropic::new(nobody, IDLE).unwrap().complete(&ask()).await.unwrap_err();
    assert_eq!(failure.class, RetryClass::Unavailable, "{failure}");
}

#[tokio::test]
async fn a_stream_that_breaks_off_or_stalls_is_transient_and_what_came_is_charged() {
    for turn in [
        Turn::BreaksOff("{\"title\":\"half of it\"}".to_owned()),
        Turn::Stalls("{\"title\":\"x\"}".to_owned()),
    ] {
        let answers = each(turn.clone()).await;
        assert_eq!(classes(&answers), [RetryClass::Transient; 3], "{turn:?}: {answers:?}");
        for streamed in [&answers[0], &answers[2]] {
            assert!(streamed.as_ref().unwrap_err().usage.tokens_in > 0, "{turn:?}: {streamed:?}");
        }
    }
}

#[tokio::test]
async fn an_endpoint_that_never_answers_is_given_up_in_time() {
    let began = Instant::now();
    let answers = each(Turn::Silent).await;
    assert_eq!(classes(&answers), [RetryClass::Transient; 3]);
    assert!(
        answers.iter().all(|answer| answer.as_ref().unwrap_err().reason.contains("silent")),
        "{answers:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_endless_answer_is_refused() {
    for answer in each(Turn::Floods).await {
        let failure = answer.unwrap_err();
        assert!(
            failure.reason.contains("longer than") || failure.reason.contains("cannot be read"),
            "{failure}"
        );
    }
}

#[tokio::test]
async fn a_key_that_an_endpoint_repeats_is_in_no_answer() {
    let echo = |_: usize, asked: &Asked| {
        let key = asked.headers.get("x-api-key").or(asked.headers.get("authorization")).unwrap();
        Turn::Says(json!({ "key": key }).to_string())
    };
    let stand_in = ChatStandIn::start(echo).await;
    for provider in all(&stand_in, IDLE) {
        let Said::Text(text) = provider.complete(&ask()).await.unwrap().said else { panic!("text") };
        assert!(!text.contains(KEY) && text.contains("***"), "{text}");
        assert!(serde_json::from_str::<Value>(&text).is_ok());
    }
}
