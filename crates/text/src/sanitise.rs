//! HTML made safe to show.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::extract::{MAX_INPUT, guarded, prefix};
use crate::markup::{self, Keep};

/// Ammonia's list of safe elements, without those that load something from elsewhere.
static CLEANER: LazyLock<ammonia::Builder<'static>> = LazyLock::new(|| {
    let mut builder = ammonia::Builder::default();
    builder
        .rm_tags(["img", "map", "area"])
        .url_schemes(HashSet::from(["http", "https", "mailto"]))
        .link_rel(Some("noopener noreferrer nofollow ugc"));
    builder
});

/// Makes a stranger's HTML safe to place in a page of one's own: no scripts, styles, forms, frames, images or event
/// handlers, no links but `http`, `https` and `mailto`, and those marked `nofollow ugc noopener noreferrer`. Plain
/// text comes back escaped. Input beyond 4 MiB is cut. It never fails: markup too deep to be parsed safely comes back
/// as its escaped text.
#[must_use]
pub fn sanitize_html(html: &str) -> String {
    let visible: String = prefix(html, MAX_INPUT).chars().filter(|c| !c.is_control() || *c == '\n').collect();
    markup::tame(&visible, Keep::Everything)
        .and_then(|tame| guarded(|| CLEANER.clean(&tame).to_string()))
        .unwrap_or_else(|| ammonia::clean_text(&markup::strip(&visible)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_acts_or_loads_is_gone() {
        let html = r#"<p onclick="x()">a<script>b()</script><img src="//t/p.gif"><a href="javascript:c()">d</a>
            <a href="https://example.org/?a=1&amp;b=2" style="position:fixed">e</a><iframe src="f"></iframe></p>"#;
        let clean = sanitize_html(html);
        for bad in ["onclick", "script", "img", "style", "iframe"] {
            assert!(!clean.contains(bad), "{bad} in {clean}");
        }
        assert!(clean.contains(r#"href="https://example.org/?a=1&amp;b=2""#) && clean.contains("nofollow"));
    }

    #[test]
    fn plain_text_is_escaped() {
        assert_eq!(sanitize_html("1 < 2 & \"x\""), "1 &lt; 2 &amp; \"x\"");
    }

    #[test]
    fn markup_of_any_depth_is_answered_with_safe_text() {
        let clean = sanitize_html(&format!("{}<b>x<script>y</script>&lt;b&gt;", "<div>".repeat(200_000)));
        assert!(clean.contains('x') && !clean.contains('<'), "{clean}");
    }
}
