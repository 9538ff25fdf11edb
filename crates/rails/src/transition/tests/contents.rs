//! The content that a blackboard makes.

use serde_json::{Value, json};

use super::super::*;
use super::simulator::Simulator;
use crate::{Decision, Settled};

fn proposes(run: &mut Simulator, path: &str, value: &str) {
    let patch = json!([{ "op": "add", "path": path, "value": value }]);
    let applied = run.done("draft", &json!({ "call": "propose_patch", "patch": patch }));
    let patch = applied.beyond.unwrap().patch;
    assert!(matches!(patch, Some(Patched::Applied { .. })), "{patch:?}");
}

#[test]
fn a_post_from_a_video_leaves_out_an_address_and_a_language_that_no_content_may_have() {
    let post = |url: Value, language: Value| {
        let video = json!({ "title": "Tides", "url": url, "language": language });
        let document = crate::builtin("blog_from_video").unwrap().document;
        let mut run = Simulator::begin(document, json!({ "request_id": "r", "video": video }));
        for slot in ["hero_headline/text", "body/text", "seo/meta_description"] {
            proposes(&mut run, &format!("/content_slots/{slot}"), "Twice a day.");
        }
        let content = run.stored.unwrap();
        (content.url, content.language)
    };
    assert_eq!(post(json!("youtu.be/x"), json!("en-US")), (None, "und".to_owned()));
    assert_eq!(post(json!("https://a b"), json!("German")), (None, "und".to_owned()));
    let whole = "HTTPS://example.org/watch?v=x#t=1";
    assert_eq!(post(json!(whole), json!("de")), (Some(whole.to_owned()), "de".to_owned()));
}

const MAILS: &str = "
name: mails
version: 1
values: { language: de }
blackboard: { type: object }
clusters:
  desk: { allowed_reads: ['/**'], allowed_writes: [/title, /body] }
  quality: { allowed_reads: ['/**'], allowed_writes: [/seen] }
content: { title: /title, body: /body, language: values.language, tags: '[check.tag]' }
steps:
  - { id: draft, orchestrate: { clusters: [desk], tools: [mail], acting_tools: [mail], qa: check }, on_success: { end: done } }
  - { id: check, worker: agent, cluster: quality, patch: [{ op: add, path: /seen, value: 'true' }], on_success: draft }
";

/// A run with a draft that asks whether it may mail somebody.
fn asking() -> Simulator {
    let mut run = Simulator::begin(MAILS, json!({}));
    proposes(&mut run, "/title", "Tides");
    proposes(&mut run, "/body", "Twice a day.");
    run.done("draft", &json!({ "call": "request_qa" }));
    run.done("check", &json!({ "tag": "sea" }));
    let draft = run.stored.clone().unwrap();
    assert_eq!((draft.language.as_str(), draft.tags), ("de", vec!["sea".to_owned()]));
    run.done(
        "draft",
        &json!({ "call": "call_tool", "tool": "mail", "arguments": { "to": "a@example.org" } }),
    );
    assert_ne!(run.stored.as_ref().unwrap().title, "Tides", "the call is what leave is asked for");
    run.decide(0, &Decision::Approve).unwrap();
    run
}

#[test]
fn the_draft_is_the_content_again_after_a_call_whatever_it_is_made_of() {
    let mut run = asking();
    run.signal(0, &Signal::EffectConfirmed { reference: "250 ok" }).unwrap();
    assert_eq!(run.stored.as_ref().unwrap().title, "Tides");
    assert_eq!(run.memory.projected, run.content);

    let mut run = asking();
    run.signal(0, &Signal::EffectUnknown { reason: "it timed out" }).unwrap();
    run.settle(0, Settled::Delivered);
    assert_eq!(run.stored.as_ref().unwrap().title, "Tides");
    assert_eq!(run.memory.projected, run.content);
}

#[test]
fn the_fields_that_are_known_are_those_of_content() {
    let all = json!({ "title": "t", "summary": "s", "body": "b", "url": "https://u", "language": "en", "tags": ["t"] });
    let content: model::Content = serde_json::from_value(all).unwrap();
    let Value::Object(fields) = serde_json::to_value(content).unwrap() else { panic!("it is an object") };
    assert!(fields.keys().all(|field| CONTENT_FIELDS.contains(&field.as_str())));
    assert_eq!(fields.len(), CONTENT_FIELDS.len());
}
