//! What an operator takes back is in the trash, and stays there.

use record::RevocationState;
use serde_json::json;
use tokio::net::TcpListener;

use super::door::{Desk, fleet, ledger, publisher, revocation};
use super::site::{Proxy, configuration, kept, site};
use crate::fleet::{END, event};

#[tokio::test]
async fn a_revoked_post_is_in_the_trash_though_its_publisher_was_killed_in_the_middle() {
    let site = site().await;
    let once = tempfile::tempdir().unwrap();
    let marker = once.path().join("died");
    let set = publisher(&configuration(site, &site.url(), json!({ "status": "publish" })), "2s");
    let killed = [("TIDEMILL_FAILPOINT", "withdrawn"), ("TIDEMILL_FAILPOINT_ONCE", marker.to_str().unwrap())];
    let mut fleet = fleet(&set, &killed).await;
    let desk = Desk::of(&fleet).await;
    desk.send(event(501)).await;
    assert_eq!(fleet.settled(1).await[0].state, "published");
    let row = ledger(&fleet).await.remove(0);
    let key = row.publication_key.to_hex();
    desk.revoke(&row).await;
    let (_, worker) = fleet.workers.iter_mut().find(|(name, _)| *name == "publisher").unwrap();
    assert!(worker.wait(END).await.is_some(), "the publisher dies with the post withdrawn");
    assert_eq!(kept(site, &key)[0].status, "trash");
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    fleet.start_with("publisher", &set, &killed).await;
    let said = revocation(&fleet, RevocationState::Revoked).await;
    assert!(said.contains("was in the trash already"), "{said}");
    // Nothing brings it back by itself.
    desk.retry(row.run_id).await;
    testkit::eventually("the run ended again", async || fleet.runs().await[0].state == "dead").await;
    let kept = kept(site, &key);
    assert_eq!((kept.len(), kept[0].status.as_str()), (1, "trash"), "{kept:?}");
    assert_eq!(fleet.record.verify(None).await.unwrap().broken, []);
}

#[tokio::test]
async fn while_the_site_is_down_posts_and_revocations_wait_and_both_go_through_once_it_is_back() {
    let site = site().await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let set = publisher(&configuration(site, &format!("http://{address}/"), json!({})), "2s");
    let fleet = fleet(&set, &[]).await;
    let desk = Desk::of(&fleet).await;
    desk.send(event(502)).await;
    testkit::eventually("the outlet is left alone", async || {
        fleet.workers.iter().any(|(_, worker)| worker.log().contains("the outlet is left alone"))
    })
    .await;
    let proxy = Proxy::on(site, TcpListener::bind(address).await.unwrap());
    assert_eq!(fleet.settled(1).await[0].state, "published");
    assert_eq!(proxy.handed_in(), 1);
    let row = ledger(&fleet).await.remove(0);
    let key = row.publication_key.to_hex();
    assert_eq!(kept(site, &key)[0].status, "draft");
    desk.revoke(&row).await;
    let said = revocation(&fleet, RevocationState::Revoked).await;
    assert!(said.contains("is in the trash"), "{said}");
    assert_eq!(kept(site, &key)[0].status, "trash");
}

#[tokio::test]
async fn a_revocation_that_the_site_refuses_is_told_in_words() {
    let site = site().await;
    let good = configuration(site, &site.url(), json!({}));
    let mut fleet = fleet(&publisher(&good, "5s"), &[]).await;
    let desk = Desk::of(&fleet).await;
    desk.send(event(503)).await;
    assert_eq!(fleet.settled(1).await[0].state, "published");
    // The password is changed, and nobody told the publisher.
    fleet.signal("publisher", local::Signal::SIGKILL);
    let wrong = configuration(site, &site.url(), json!({ "password": "aaaa bbbb cccc dddd eeee ffff" }));
    let set = publisher(&wrong, "5s");
    let set: Vec<&str> = set.iter().map(String::as_str).collect();
    fleet.start_with("publisher", &set, &[]).await;
    let row = ledger(&fleet).await.remove(0);
    desk.revoke(&row).await;
    let said = revocation(&fleet, RevocationState::Refused).await;
    assert!(said.contains("application password"), "{said}");
    assert_eq!(kept(site, &row.publication_key.to_hex())[0].status, "draft");
}
