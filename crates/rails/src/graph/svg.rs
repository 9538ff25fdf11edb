//! SVG drawings.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::layers::{Layout, Rect, Route, lay_out};
use super::{Graph, NodeKind, Way};

const FONT: f64 = 14.0;
const SMALL: f64 = 11.0;
/// Mean width of a letter of a sans-serif face, in parts of its size; bold ones are wider.
const LETTER: f64 = 0.56;
const LONGEST_LABEL: usize = 34;
const LONGEST_NAME: usize = 44;

const STYLE: &str = "text{font-family:Helvetica,Arial,'Liberation Sans','DejaVu Sans',sans-serif;text-anchor:middle;fill:#1b2733}\
.n{font-size:14px;font-weight:600}.d{font-size:11px;fill:#52606d}.l{font-size:11px;fill:#334e68}\
.w{fill:none;stroke:#627d98;stroke-width:1.5}.x{stroke-dasharray:5 4;stroke:#9b4d3f}\
.b{fill:#eef4fb;stroke:#486581;stroke-width:1.5}.effect{fill:#fdeee9;stroke:#b44d12;stroke-width:2.5}\
.fork{fill:#f3effb;stroke:#6b46a3;stroke-width:1.5}.end{fill:#e6f4ea;stroke:#2f7d4f;stroke-width:1.5}\
.person{fill:#fff6d6;stroke:#8d6a00;stroke-width:1.5}.c{fill:#1b2733}.k{font-size:11px;font-weight:600;fill:#fff}";

impl Graph {
    /// The graph as an SVG document. `counts` are runs and branches that stand at a step, by its id.
    #[must_use]
    pub fn svg(&self, counts: &BTreeMap<String, u64>) -> String {
        let sizes: Vec<(f64, f64)> = self
            .nodes
            .iter()
            .map(|node| {
                let (name, detail) = (cut(&node.label, LONGEST_NAME), cut(&node.detail, LONGEST_NAME));
                let width = text_width(&name, FONT * 1.1).max(text_width(&detail, SMALL)) + 28.0;
                (width.max(90.0), if node.detail.is_empty() { 34.0 } else { 48.0 })
            })
            .collect();
        let label = |way: &Way| {
            (!way.label.is_empty()).then(|| (text_width(&cut(&way.label, LONGEST_LABEL), SMALL) + 10.0, 18.0))
        };
        let labels: Vec<Option<(f64, f64)>> = self.ways.iter().map(label).collect();
        let layout = lay_out(self, &sizes, &labels);
        self.draw(&layout, counts)
    }

    fn draw(&self, layout: &Layout, counts: &BTreeMap<String, u64>) -> String {
        let (width, height) = (layout.width.ceil(), layout.height.ceil());
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n<defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"7.5\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" markerUnits=\"userSpaceOnUse\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" fill=\"#486581\"/></marker></defs>\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
            escaped(&self.version)
        );
        for (way, route) in self.ways.iter().zip(&layout.ways) {
            let class = if way.exceptional { "w x" } else { "w" };
            put(
                &mut svg,
                format_args!("<path class=\"{class}\" d=\"{}\" marker-end=\"url(#a)\"/>", curve(route)),
            );
        }
        for (way, route) in self.ways.iter().zip(&layout.ways) {
            if let Some(at) = route.label {
                write_label(&mut svg, &way.label, at);
            }
        }
        for (node, rect) in self.nodes.iter().zip(&layout.nodes) {
            shape(&mut svg, node.kind, *rect);
            let down = if node.detail.is_empty() { 5.0 } else { -3.0 };
            let name = escaped(&cut(&node.label, LONGEST_NAME));
            put(
                &mut svg,
                format_args!(
                    "<text class=\"n\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
                    rect.x,
                    rect.y + down
                ),
            );
            if !node.detail.is_empty() {
                let detail = escaped(&cut(&node.detail, LONGEST_NAME));
                put(
                    &mut svg,
                    format_args!(
                        "<text class=\"d\" x=\"{:.1}\" y=\"{:.1}\">{detail}</text>",
                        rect.x,
                        rect.y + 14.0
                    ),
                );
            }
            if let Some(count) = counts.get(&node.id) {
                badge(&mut svg, *count, *rect);
            }
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn put(svg: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to text does not fail.
    writeln!(svg, "{line}").ok();
}

fn shape(svg: &mut String, kind: NodeKind, rect: Rect) {
    let (class, round) = match kind {
        NodeKind::Step => ("b", 6.0),
        NodeKind::SideEffect => ("effect", 6.0),
        NodeKind::Fork | NodeKind::Join => ("fork", 2.0),
        NodeKind::End => ("end", rect.height / 2.0),
        NodeKind::Person => ("person", 14.0),
    };
    let (x, y) = (rect.x - rect.width / 2.0, rect.y - rect.height / 2.0);
    let (width, height) = (rect.width, rect.height);
    put(
        svg,
        format_args!(
            "<rect class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" rx=\"{round:.1}\"/>"
        ),
    );
}

fn write_label(svg: &mut String, label: &str, at: Rect) {
    let (x, y) = (at.x - at.width / 2.0, at.y - at.height / 2.0);
    put(
        svg,
        format_args!(
            "<g><title>{}</title><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"#fff\"/><text class=\"l\" x=\"{:.1}\" y=\"{:.1}\">{}</text></g>",
            escaped(label),
            at.width,
            at.height,
            at.x,
            at.y + 4.0,
            escaped(&cut(label, LONGEST_LABEL))
        ),
    );
}

fn badge(svg: &mut String, count: u64, rect: Rect) {
    let text = count.to_string();
    let width = text_width(&text, SMALL * 1.15) + 12.0;
    let (x, y) = (rect.x + rect.width / 2.0, rect.y - rect.height / 2.0);
    put(
        svg,
        format_args!(
            "<rect class=\"c\" x=\"{:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"18\" rx=\"9\"/><text class=\"k\" x=\"{x:.1}\" y=\"{:.1}\">{text}</text>",
            x - width / 2.0,
            y - 9.0,
            y + 4.0
        ),
    );
}

/// A curve that leaves and arrives upright.
fn curve(route: &Route) -> String {
    let mut path = String::new();
    for (number, (x, y)) in route.points.iter().enumerate() {
        if number == 0 {
            write!(path, "M{x:.1} {y:.1}").ok();
            continue;
        }
        let (before_x, before_y) = route.points[number - 1];
        let middle = f64::midpoint(before_y, *y);
        write!(path, "C{before_x:.1} {middle:.1} {x:.1} {middle:.1} {x:.1} {y:.1}").ok();
    }
    path
}

fn text_width(text: &str, size: f64) -> f64 {
    let letters = u32::try_from(text.chars().count()).unwrap_or(u32::MAX);
    f64::from(letters) * size * LETTER
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

fn escaped(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).fold(String::new(), |mut escaped, c| {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(c),
        }
        escaped
    })
}
