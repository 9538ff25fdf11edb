//! Mermaid flowcharts.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Graph, Node, NodeKind};

impl Graph {
    /// The graph as a Mermaid flowchart. `counts` are runs and branches that stand at a step, by its id.
    #[must_use]
    pub fn mermaid(&self, counts: &BTreeMap<String, u64>) -> String {
        let mut text = format!("%% {}\nflowchart TD\n", plain(&self.version));
        for (number, node) in self.nodes.iter().enumerate() {
            let (open, close) = brackets(node.kind);
            let (label, detail) = (quoted(&node.label), quoted(&node.detail));
            let below =
                if detail.is_empty() { String::new() } else { format!("<br/><small>{detail}</small>") };
            let runs = match counts.get(&node.id) {
                None => String::new(),
                Some(1) => "<br/>1 run".to_owned(),
                Some(count) => format!("<br/>{count} runs"),
            };
            line(&mut text, format_args!("n{number}{open}\"{label}{below}{runs}\"{close}"));
        }
        for way in &self.ways {
            let arrow = if way.exceptional { "-.->" } else { "-->" };
            let label = quoted(&way.label);
            let label = if label.is_empty() { label } else { format!("|\"{label}\"|") };
            line(&mut text, format_args!("n{} {arrow}{label} n{}", way.from, way.to));
        }
        let effects = self.nodes.iter().enumerate().filter(|(_, node)| node.kind == NodeKind::SideEffect);
        for (number, Node { .. }) in effects {
            line(&mut text, format_args!("style n{number} stroke-width:3px"));
        }
        text
    }
}

fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to text does not fail.
    writeln!(text, "  {line}").ok();
}

fn brackets(kind: NodeKind) -> (&'static str, &'static str) {
    match kind {
        NodeKind::Step | NodeKind::SideEffect => ("[", "]"),
        NodeKind::Fork | NodeKind::Join => ("{{", "}}"),
        NodeKind::End => ("([", "])"),
        NodeKind::Person => ("[/", "/]"),
    }
}

/// In a quoted label everything but letters, digits and what is plain punctuation is written by its number, so that no
/// text of a document is read as Mermaid or as HTML.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || " ._-,:/()≤×·⛉+*=!?'".contains(c);
    text.chars().filter(|c| !c.is_control()).fold(String::new(), |mut quoted, c| {
        if plain(c) {
            quoted.push(c);
        } else {
            write!(quoted, "#{};", u32::from(c)).ok();
        }
        quoted
    })
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).collect()
}
