//! The content that a blackboard makes.

use serde_json::{Value, json};

use super::super::*;
use super::simulator::Simulator;

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
