use super::*;

#[tokio::test]
async fn publishers_that_share_a_folder_lose_no_entry_and_the_feed_keeps_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let config = FilesConfig { folder: folder.path().to_owned(), feed_entries: 20, ..FilesConfig::default() };
    // Each opens the lock for itself, as another process would.
    let outlets: Vec<Files> = (0..3).map(|_| Files::new(config.clone()).unwrap()).collect();
    let contents: Vec<Content> = (0..30).map(|n| content(&format!("number {n}"))).collect();
    let sent = (0..).zip(&contents).map(|(n, content)| deliver(&outlets[n as usize % 3], n, content));
    for result in futures::future::join_all(sent).await {
        assert!(matches!(result, EffectResult::Confirmed { .. }), "{result:?}");
    }
    assert_eq!(listing(folder.path()).len(), 61);
    let newest: Vec<String> = (10..30).rev().map(|n| format!("number {n}")).collect();
    assert_eq!(titles(&parsed_feed(folder.path())), newest);
}

#[tokio::test]
async fn the_same_key_from_two_publishers_at_once_is_one_post() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (outlet(folder.path()), outlet(folder.path()));
    let (a, b) = (content("a"), content("b"));
    futures::future::join(deliver(&one, 1, &a), deliver(&two, 1, &b)).await;
    let names = listing(folder.path());
    assert_eq!(names.len(), 3, "{names:?}");
    let title = titles(&parsed_feed(folder.path()))[0].to_owned();
    assert!(names[..2].iter().all(|name| name.contains(&format!("-{title}-"))), "{title}: {names:?}");
}

#[tokio::test]
async fn it_has_all_that_rfc_4287_asks_for() {
    let folder = tempfile::tempdir().unwrap();
    let files = outlet(folder.path());
    deliver(&files, 1, &content("one")).await;
    deliver(&files, 2, &content("two")).await;
    let feed = parsed_feed(folder.path());
    assert!(feed.id.starts_with("urn:uuid:"));
    assert_eq!(feed.title.as_str(), "Tidemill");
    assert_eq!(feed.authors[0].name, "Tidemill");
    assert_eq!(feed.updated, feed.entries[0].updated);
    assert_eq!(feed.links[0].rel, "self");
    let [two, one] = feed.entries.as_slice() else { panic!("{feed:?}") };
    assert!(one.id.starts_with("urn:uuid:") && one.id != two.id);
    assert_eq!(one.published, Some(one.updated));
    assert_eq!(one.authors[0].name, "newswire");
    assert_eq!(one.summary.as_ref().unwrap().as_str(), "A summary.");
    assert!(folder.path().join(&one.links[0].href).is_file());
}

#[tokio::test]
async fn a_feed_that_is_lost_or_broken_is_made_again_from_the_posts_as_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let config = FilesConfig { folder: folder.path().to_owned(), feed_entries: 3, ..FilesConfig::default() };
    let files = Files::new(config).unwrap();
    // Later on the same day, but earlier in the alphabet.
    for (n, title) in (0..).zip(["delta", "charlie", "bravo", "alpha"]) {
        deliver(&files, n, &content(title)).await;
    }
    let path = folder.path().join("feed.atom");
    let whole = std::fs::read_to_string(&path).unwrap();
    std::fs::write(folder.path().join("README.md"), "---\ntitle: not a post\n---\n").unwrap();
    std::fs::write(folder.path().join("2027-01-01-no-post-0123456789abcdef.md"), "no front matter").unwrap();
    for damage in ["", "not a feed", &whole[..whole.len() / 2]] {
        std::fs::write(&path, damage).unwrap();
        deliver(&files, 3, &content("alpha")).await;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), whole, "{damage}");
    }
    std::fs::remove_file(&path).unwrap();
    deliver(&files, 3, &content("alpha")).await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), whole);
    assert_eq!(titles(&parsed_feed(folder.path())), ["alpha", "bravo", "charlie"]);
}

#[tokio::test]
async fn ten_thousand_earlier_posts_are_not_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let files = outlet(folder.path());
    deliver(&files, 1, &content("first")).await;
    let names = listing(folder.path());
    let markdown = std::fs::read_to_string(folder.path().join(&names[1])).unwrap();
    // Posts that were not in the feed would enter it if anybody read them.
    for n in 0..10_000 {
        let other = format!("{n:016x}");
        let post = markdown.replace(&key(1), &format!("{other}{}", "0".repeat(48)));
        std::fs::write(folder.path().join(format!("2026-09-21-other-{other}.md")), post).unwrap();
    }
    deliver(&files, 2, &content("second")).await;
    assert_eq!(titles(&parsed_feed(folder.path())), ["second", "first"]);
}

#[tokio::test]
async fn a_new_title_in_the_configuration_takes_effect_and_the_feed_stays_the_same_feed() {
    let folder = tempfile::tempdir().unwrap();
    deliver(&outlet(folder.path()), 1, &content("one")).await;
    let before = parsed_feed(folder.path());
    let config = FilesConfig {
        folder: folder.path().to_owned(),
        feed_title: "Harbour \u{202e}& hills".to_owned(),
        ..FilesConfig::default()
    };
    deliver(&Files::new(config).unwrap(), 2, &content("two")).await;
    let after = parsed_feed(folder.path());
    assert_eq!((after.title.as_str(), after.id), ("Harbour & hills", before.id));
    assert_eq!(titles(&parsed_feed(folder.path())), ["two", "one"]);
}

#[tokio::test]
async fn a_withdrawn_post_leaves_folder_and_feed_and_what_broke_off_is_taken_up_again() {
    let folder = tempfile::tempdir().unwrap();
    let files = outlet(folder.path());
    for n in 1..=2 {
        deliver(&files, n, &content(&format!("Post {n}"))).await;
    }
    let told = files.revoke(&key(1)).await.unwrap();
    assert!(matches!(&told, Withdrawal::Done { detail } if detail.contains("post-1")), "{told:?}");
    assert_eq!(parsed_feed(folder.path()).entries.len(), 1);
    assert!(listing(folder.path()).iter().all(|name| !name.contains("post-1")));
    assert_eq!(files.ask(&key(1)).await.unwrap(), Known::Absent);
    assert_eq!(files.revoke(&key(1)).await.unwrap(), Withdrawal::Absent);
    // A process died when the page was gone and the Markdown was not.
    let page = listing(folder.path()).into_iter().find(|name| name.ends_with(".html")).unwrap();
    std::fs::remove_file(folder.path().join(page)).unwrap();
    assert!(matches!(files.revoke(&key(2)).await.unwrap(), Withdrawal::Done { .. }));
    assert_eq!(listing(folder.path()), ["feed.atom"]);
    assert_eq!(parsed_feed(folder.path()).entries.len(), 0);
}
