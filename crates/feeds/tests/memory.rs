//! What the reading of a document costs in memory. One test, for a peak is the whole process's.

#![expect(clippy::unwrap_used, reason = "a failed preparation is a failed test")]

/// The most memory that this process has had, in kB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn rss(description: usize, items: &str) -> String {
    let description = "d".repeat(description);
    format!(
        "<rss version=\"2.0\"><channel><title>T</title><description>{description}</description>{items}</channel></rss>"
    )
}

#[test]
fn no_document_takes_many_times_its_length() {
    let item = |number: usize| {
        format!(
            "<item><guid>{number}</guid><title>Title {number}</title><description>Some text of entry {number}, a little longer.</description></item>"
        )
    };
    let many: String = (0..4_999).map(item).collect();
    let last = "<item><guid>last</guid><title>Last</tilte></item>";
    let broken = rss(60_000, &format!("{many}{last}"));
    let before = peak();
    let read = tidemill_feeds::parse(broken.as_bytes(), None).unwrap();
    assert_eq!((read.entries.len(), read.broken.is_some()), (4_999, true));
    let cost = peak() - before;
    assert!(cost < 64_000, "a broken feed of {} bytes took {cost} kB", broken.len());

    let empty = rss(10, &"<item></item>".repeat((8 << 20) / 13));
    let authored = format!(
        r#"{{"version":"https://jsonfeed.org/version/1.1","title":"T","authors":[{{"name":"{}"}}],"items":[{}]}}"#,
        "n".repeat(1 << 20),
        (0..1_000).map(|n| format!(r#"{{"id":"{n}"}}"#)).collect::<Vec<_>>().join(",")
    );
    for document in [empty, authored] {
        let before = peak();
        let read = tidemill_feeds::parse(document.as_bytes(), None).unwrap();
        assert!(read.entries.len() >= 1_000, "{} entries", read.entries.len());
        let cost = peak().saturating_sub(before);
        assert!(cost < 100_000, "{} bytes took {cost} kB", document.len());
    }
}
