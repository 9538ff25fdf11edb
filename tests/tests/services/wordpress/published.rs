//! Posts go out once, in the shape that was asked for.

use model::{EffectResult, Known, RetryClass};
use outlets::Outlet;
use serde_json::json;

use super::door::{Desk, fleet, ledger, publisher};
use super::site::{Proxy, configuration, content, kept, key, outlet, post, site, terms};
use crate::fleet::event;

#[tokio::test]
async fn a_post_appears_as_draft_or_published_with_its_terms_by_name() {
    let site = site().await;
    for (status, shown) in [("draft", "draft"), ("publish", "publish")] {
        let key = key(status);
        let content = content("Ferry <b>news</b> & more", &["sea & sky", "Höhe", "sea & sky"]);
        let given = json!({ "status": status, "categories": ["News", "R&D"] });
        let wordpress = outlet(configuration(site, &site.url(), given));
        let result = wordpress.deliver(&post(&key, &content)).await;
        let EffectResult::Confirmed { reference } = &result else { panic!("{result:?}") };
        let kept = kept(site, &key);
        assert_eq!(kept.len(), 1, "{kept:?}");
        let found = &kept[0];
        assert_eq!((found.status.as_str(), &found.slug), (shown, &key));
        assert!(reference.starts_with(&format!("post {} http://127.0.0.1:", found.id)), "{reference}");
        assert_eq!(found.title, "Ferry &lt;b&gt;news&lt;/b&gt; &amp; more");
        assert!(found.content.contains("First &amp; &lt;b&gt;foremost&lt;/b&gt;."), "{}", found.content);
        assert!(found.content.ends_with(&format!("<!-- tidemill:{key} -->")), "{}", found.content);
        let mut named: Vec<String> = found.terms.iter().map(|(_, name)| name.replace("&amp;", "&")).collect();
        named.sort();
        assert_eq!(named, ["Höhe", "News", "R&D", "sea & sky"]);
        assert_eq!(wordpress.ask(&key).await, Ok(Known::Delivered { reference: reference.clone() }));
    }
    // Made once, found again by an outlet that remembers nothing.
    for name in ["News", "R&amp;D", "sea &amp; sky", "Höhe"] {
        assert_eq!(terms(site, name), "1", "{name}");
    }
}

#[tokio::test]
async fn a_post_whose_answer_was_cut_off_is_found_by_slug_and_by_marker() {
    let site = site().await;
    let proxy = Proxy::start(site).await;
    let (key, content) = (key("cut"), content("Cut", &[]));
    let wordpress = outlet(configuration(site, &proxy.url, json!({})));
    assert_eq!(wordpress.ask(&key).await, Ok(Known::Absent));
    proxy.cut(true);
    let result = wordpress.deliver(&post(&key, &content)).await;
    assert!(matches!(result, EffectResult::Unsettled { .. }), "{result:?}");
    proxy.cut(false);
    let known = wordpress.ask(&key).await;
    assert!(matches!(known, Ok(Known::Delivered { .. })), "{known:?}");
    let id = kept(site, &key)[0].id.clone();
    assert_eq!(site.php(&format!("echo wp_update_post(['ID' => {id}, 'post_name' => 'better']);")), id);
    assert_eq!(kept(site, &key)[0].slug, "better");
    let known = wordpress.ask(&key).await;
    assert!(matches!(known, Ok(Known::Delivered { .. })), "an editor renamed it: {known:?}");
    assert_eq!(kept(site, &key).len(), 1);
}

#[tokio::test]
async fn a_wrong_password_is_a_refusal_in_words_and_a_site_that_is_down_an_outage() {
    let site = site().await;
    let (key, content) = (key("wrong"), content("Wrong", &[]));
    for given in [json!({ "password": "aaaa bbbb cccc dddd eeee ffff" }), json!({ "username": "nobody" })] {
        let wrong = outlet(configuration(site, &site.url(), given.clone()));
        let EffectResult::Rejected { reason } = wrong.deliver(&post(&key, &content)).await else {
            panic!("it is refused")
        };
        assert!(reason.contains("401") && reason.contains("application password"), "{reason}");
        let asked = wrong.ask(&key).await.unwrap_err();
        assert_eq!(
            asked.class,
            RetryClass::Permanent,
            "what a visitor does not see is not absent: {asked:?}"
        );
        let terms = json!({ "categories": ["Nobody's"] }).as_object().unwrap().clone();
        let given = given.as_object().unwrap().clone().into_iter().chain(terms).collect();
        let wrong = outlet(configuration(site, &site.url(), given));
        let EffectResult::NotSent(failure) = wrong.deliver(&post(&key, &content)).await else {
            panic!("no category could be made")
        };
        assert_eq!(failure.class, RetryClass::Permanent);
        assert!(failure.reason.contains("application password"), "{failure:?}");
    }
    let down = outlet(configuration(site, "http://127.0.0.1:1/", json!({})));
    let EffectResult::NotSent(failure) = down.deliver(&post(&key, &content)).await else {
        panic!("nothing went out")
    };
    assert_eq!(failure.class, RetryClass::Unavailable);
    let asked = down.ask(&key).await.unwrap_err();
    assert_eq!(asked.class, RetryClass::Unavailable);
    assert_eq!(kept(site, &key), []);
}

/// The connection is cut after each post was handed in; the fleet asks, and finds.
#[tokio::test]
async fn a_fleet_publishes_each_event_once_though_answers_are_cut_off_and_publishers_killed() {
    let site = site().await;
    let proxy = Proxy::start(site).await;
    let given = json!({ "status": "publish", "categories": ["Fleet & Co"] });
    let set = publisher(&configuration(site, &proxy.url, given), "3s");
    let killed = [("TIDEMILL_FAILPOINT", "performed:2")];
    let mut fleet = fleet(&set, &killed).await;
    let desk = Desk::of(&fleet).await;
    proxy.cut(true);
    desk.send(event(1)).await;
    testkit::eventually("the first post is handed in", async || proxy.handed_in() == 1).await;
    proxy.cut(false);
    desk.send(event(2)).await;
    let (_, worker) = fleet.workers.iter_mut().find(|(name, _)| *name == "publisher").unwrap();
    assert!(worker.wait(crate::fleet::END).await.is_some(), "the publisher dies with its second post out");
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    fleet.start_with("publisher", &set, &[]).await;
    desk.send(event(3)).await;
    // The same event again is the same run.
    desk.send(event(3)).await;
    let runs = fleet.settled(3).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    assert_eq!(proxy.handed_in(), 3, "no post was handed in twice");
    let rows = ledger(&fleet).await;
    assert_eq!(rows.len(), 3, "{rows:?}");
    for row in &rows {
        let kept = kept(site, &row.publication_key.to_hex());
        assert_eq!(kept.len(), 1, "{kept:?}");
        let reference = row.reference.as_deref().unwrap();
        assert!(reference.starts_with(&format!("post {} http", kept[0].id)), "{reference}");
        assert!(kept[0].terms.contains(&("category".to_owned(), "Fleet &amp; Co".to_owned())), "{kept:?}");
    }
    // The run once more: its post is known, and not sent again.
    desk.retry(runs[0].run_id).await;
    let runs = fleet.settled(3).await;
    assert!(runs.iter().all(|run| run.state == "published"), "{runs:?}");
    assert_eq!(proxy.handed_in(), 3);
    assert_eq!(fleet.record.verify(None).await.unwrap().broken, []);
}
