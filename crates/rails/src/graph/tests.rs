//! Drawings: everything is in them, nothing overlaps, and no text of a document is read as markup.

use std::collections::BTreeMap;

use super::layers::{Rect, lay_out};
use super::*;
use crate::{BUILTINS, Catalog, Workflow};

const WIDE: &str = r#"
name: wide
version: 1
inputs: { type: object }
steps:
  - { id: gather, parallel: { branches: [web, archive, people], join: { at_least: 2 } }, on_success: judge, on_failure: { end: needs_review } }
  - { id: web, worker: agent, on_success: join }
  - { id: archive, worker: agent, max_visits: 2, on_failure: archive, on_exhausted: join, on_success: sort }
  - { id: sort, worker: agent, on_success: join }
  - { id: people, worker: agent, ttl: { running: 1h }, on_timeout: join, on_success: join }
  - id: judge
    worker: judge
    max_visits: 4
    gates: { before: [hitl] }
    branches:
      - { when: 'judge.score < 0.5 && judge.text != "<script>alert(1)</script>"', to: gather }
      - { when: judge.score < 0.7, escalate: low_score }
      - { when: judge.bad, reject: policy_violation }
    on_exhausted: { end: needs_review }
    on_success: publish
  - { id: publish, worker: publisher, side_effect: true, compensate_with: withdraw, on_success: { end: published } }
  - { id: withdraw, worker: publisher, side_effect: true, on_success: { end: done } }
"#;

fn graphs() -> Vec<Graph> {
    let catalog =
        Catalog { workers: &["etl", "embedding", "judge", "publisher", "agent"], ..Catalog::default() };
    let documents = BUILTINS.iter().map(|builtin| builtin.document).chain([WIDE]);
    let register = |text| Workflow::register(text, &BTreeMap::new(), &catalog).unwrap();
    documents.map(|text| Graph::of(&register(text)).unwrap()).collect()
}

#[test]
fn a_graph_has_every_step_its_joins_ends_and_people() {
    let wide = graphs().pop().unwrap();
    let find = |id: &str| wide.nodes.iter().position(|node| node.id == id).unwrap();
    let way =
        |from: &str, to: &str| wide.ways.iter().find(|way| (way.from, way.to) == (find(from), find(to)));
    assert_eq!(wide.nodes[find("join:gather")].detail, "2 of 3");
    assert_eq!(way("archive", "join:gather").unwrap().label, "exhausted");
    assert_eq!(way("join:gather", "judge").unwrap().label, "");
    assert!(way("join:gather", "end:needs_review").unwrap().exceptional);
    assert!(way("publish", "withdraw").unwrap().exceptional);
    assert_eq!(way("people", "join:gather").unwrap().label, "timeout");
    assert!(way("judge", "person:low_score").is_some() && way("judge", "reject:policy_violation").is_some());
    assert!(way("gather", "judge").is_none());
    assert!(way("archive", "archive").is_some());
}

#[test]
fn boxes_and_labels_lie_apart_and_inside_the_drawing() {
    for graph in graphs() {
        let nodes: Vec<(f64, f64)> = graph.nodes.iter().map(|_| (120.0, 48.0)).collect();
        let labels: Vec<_> =
            graph.ways.iter().map(|way| (!way.label.is_empty()).then_some((80.0, 18.0))).collect();
        let layout = lay_out(&graph, &nodes, &labels);
        let boxes: Vec<Rect> =
            layout.nodes.iter().copied().chain(layout.ways.iter().filter_map(|way| way.label)).collect();
        for (number, a) in boxes.iter().enumerate() {
            let (left, right) = (a.x - a.width / 2.0, a.x + a.width / 2.0);
            assert!(left >= 0.0 && right <= layout.width && a.y <= layout.height, "{}: {a:?}", graph.version);
            for b in &boxes[..number] {
                let apart_x = (a.x - b.x).abs() >= f64::midpoint(a.width, b.width) - 0.01;
                let apart_y = (a.y - b.y).abs() >= f64::midpoint(a.height, b.height) - 0.01;
                assert!(apart_x || apart_y, "{}: {a:?} on {b:?}", graph.version);
            }
        }
        // Every way but a loop's goes down from the step where it begins, or up to an earlier one.
        assert!(layout.ways.iter().all(|way| way.points.len() >= 2));
    }
}

#[test]
fn texts_of_a_document_are_no_markup_and_counts_are_shown() {
    let wide = graphs().pop().unwrap();
    let counts = BTreeMap::from([("judge".to_owned(), 1234)]);
    let (svg, mermaid) = (wide.svg(&counts), wide.mermaid(&counts));
    for text in [&svg, &mermaid] {
        assert!(!text.contains("<script") && text.contains("1234"), "{text}");
        assert!(wide.nodes.iter().all(|node| text.contains(&node.label)));
    }
    assert!(svg.contains("&lt;script&gt;"));
    assert_eq!(svg.matches("<g>").count(), svg.matches("</g>").count());
    assert!(mermaid.contains("-->|\"judge.score #60; 0.7\"|"), "{mermaid}");
}
