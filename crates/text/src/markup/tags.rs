//! What the tags of HTML mean to a reader of text.

/// Elements whose content is never read; the scanner drops them whole.
pub(super) const UNREAD: [&str; 9] =
    ["script", "style", "template", "svg", "math", "iframe", "object", "select", "audio"];

/// Elements whose content a parser reads as raw text; only their tags are dropped, so that it never does.
pub(super) const RAW: [&str; 9] =
    ["noscript", "noembed", "noframes", "plaintext", "xmp", "listing", "textarea", "frameset", "frame"];

/// Elements within a line.
const INLINE: [&str; 33] = [
    "a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font",
    "i", "ins", "kbd", "label", "mark", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup",
    "time", "tt", "u", "var", "wbr",
];

/// Elements that make a block or a break.
const BLOCK: [&str; 53] = [
    "address",
    "article",
    "aside",
    "base",
    "blockquote",
    "body",
    "br",
    "button",
    "caption",
    "center",
    "col",
    "colgroup",
    "dd",
    "details",
    "dialog",
    "dir",
    "div",
    "dl",
    "dt",
    "fieldset",
    "figcaption",
    "figure",
    "footer",
    "form",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "head",
    "header",
    "hr",
    "html",
    "img",
    "input",
    "li",
    "link",
    "main",
    "meta",
    "nav",
    "ol",
    "p",
    "picture",
    "pre",
    "section",
    "summary",
    "table",
    "tbody",
    "td",
    "th",
    "tr",
    "ul",
];

/// More blocks, rare in feeds.
const RARE: [&str; 11] =
    ["area", "embed", "legend", "map", "param", "source", "tfoot", "thead", "title", "track", "video"];

/// Whether HTML has an element of this name; lower case.
pub(super) fn is_known(name: &str) -> bool {
    INLINE.contains(&name)
        || BLOCK.contains(&name)
        || RARE.contains(&name)
        || UNREAD.contains(&name)
        || RAW.contains(&name)
}

/// Whether the element stands within a line. What is not known to HTML counts as inline, as browsers show it.
pub(super) fn is_inline(name: &str) -> bool {
    INLINE.contains(&name)
        || !(BLOCK.contains(&name) || RARE.contains(&name) || UNREAD.contains(&name) || RAW.contains(&name))
}

/// The element to render in place of this one; `None` drops its tags.
///
/// Tables and rules go, since a renderer lays them out to a width; images have nothing to read.
pub(super) fn as_block(name: &str) -> Option<&'static str> {
    match name {
        "br" | "hr" => Some("br"),
        "p" | "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => Some("p"),
        "b" | "i" | "em" | "strong" | "a" | "span" => Some("span"),
        "td" | "th" | "img" | "col" | "colgroup" | "source" | "track" | "wbr" => None,
        "html" | "body" | "head" | "base" | "link" | "meta" | "input" | "area" | "param" | "embed" => None,
        name if is_inline(name) => Some("span"),
        _ => Some("div"),
    }
}

/// Void elements, and those whose end a parser supplies where the next of their kind begins: they do not nest.
pub(super) fn closes_itself(name: &str) -> bool {
    matches!(
        name,
        "area"
            | "base"
            | "br"
            | "col"
            | "embed"
            | "hr"
            | "img"
            | "input"
            | "link"
            | "meta"
            | "param"
            | "source"
            | "track"
            | "wbr"
            | "p"
            | "li"
            | "dt"
            | "dd"
            | "tr"
            | "td"
            | "th"
            | "tbody"
            | "thead"
            | "tfoot"
            | "option"
            | "optgroup"
            | "colgroup"
            | "html"
            | "head"
            | "body"
    )
}
