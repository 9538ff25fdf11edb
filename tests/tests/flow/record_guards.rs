//! What the schema refuses, and what an audit finds.

use std::time::Duration;

use record::Lease;
use testkit::Servers;

use crate::fleet::{Fleet, events};

async fn published() -> Fleet {
    let mut fleet = Fleet::on(Servers::start_own().await).await;
    for name in ["planner", "etl", "embedding", "judge", "publisher"] {
        fleet.start(name).await;
    }
    fleet.add(events(3)).await;
    let runs = fleet.settled(3).await;
    assert_eq!(runs.iter().filter(|run| run.state == "published").count(), 3, "{runs:?}");
    fleet
}

fn sql(fleet: &Fleet, text: &str) -> Result<String, String> {
    fleet.servers.postgres.as_ref().unwrap().sql("tidemill", text).map_err(|e| e.to_string())
}

#[tokio::test]
async fn a_publication_without_its_own_exact_approval_is_refused_by_the_schema() {
    let fleet = published().await;
    let insert = |run: &str, approval: &str, content: &str| {
        sql(
            &fleet,
            &format!(
                "INSERT INTO publications (publication_id, publication_key, outlet, tenant, run_id, approval_id,
                     content_sha256, step, seq, state, sent_at, deadline)
                 SELECT gen_random_uuid(), sha256('k'), 'x', 'default', {run}, {approval}, {content}, 's', 1, 'confirmed', now(), now()
                 FROM (SELECT * FROM approvals ORDER BY run_id LIMIT 1) a,
                      (SELECT run_id AS other FROM approvals ORDER BY run_id OFFSET 1 LIMIT 1) b"
            ),
        )
    };
    assert!(insert("a.run_id", "NULL", "a.content_sha256").unwrap_err().contains("null value"));
    assert!(insert("b.other", "a.approval_id", "a.content_sha256").unwrap_err().contains("foreign key"));
    assert!(insert("a.run_id", "a.approval_id", "sha256('other')").unwrap_err().contains("foreign key"));
    insert("a.run_id", "a.approval_id", "a.content_sha256").unwrap();
    assert!(
        insert("a.run_id", "a.approval_id", "a.content_sha256").unwrap_err().contains("unique"),
        "once for a key"
    );
}

#[tokio::test]
async fn an_audit_names_the_first_broken_link_of_each_kind_of_tampering() {
    let mut fleet = published().await;
    // A relay that is behind would tell what was tampered with.
    fleet.stop().await;
    let run = fleet.runs().await[0].run_id;
    for (tamper, expected) in [
        (
            format!(
                "UPDATE provenance_log SET body = replace(body, 'done', 'gone') WHERE run_id = '{run}' AND pos = 2"
            ),
            2,
        ),
        (format!("DELETE FROM provenance_log WHERE run_id = '{run}' AND pos = 3"), 3),
        (format!("DELETE FROM provenance_log WHERE run_id = '{run}' AND pos = 5"), 5),
        (
            format!(
                "INSERT INTO provenance_log (run_id, branch, pos, body, hash)
                 SELECT run_id, branch, 6, body, hash FROM provenance_log WHERE run_id = '{run}' AND pos = 5"
            ),
            6,
        ),
        (
            format!(
                "UPDATE provenance_log p SET body = q.body, hash = q.hash FROM provenance_log q
                 WHERE p.run_id = '{run}' AND q.run_id = p.run_id AND p.pos IN (2, 3) AND q.pos = 5 - p.pos"
            ),
            2,
        ),
        (
            format!(
                "UPDATE artifacts SET body = '{{\"title\":\"forged\"}}' WHERE run_id = '{run}' AND name = 'content'"
            ),
            2,
        ),
        (
            format!(
                "UPDATE artifacts SET body = '{{\"toxicity_score\":0}}' WHERE run_id = '{run}' AND name = 'judge'"
            ),
            4,
        ),
        (
            format!(
                "UPDATE events SET payload = 'forged' WHERE event_id = (SELECT event_id FROM runs WHERE run_id = '{run}')"
            ),
            1,
        ),
        (format!("UPDATE runs SET state = 'rejected' WHERE run_id = '{run}'"), 5),
    ] {
        let tables = ["provenance_log", "artifacts", "events", "runs"];
        for table in tables {
            sql(&fleet, &format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}")).unwrap();
        }
        sql(&fleet, &tamper).unwrap();
        let found = fleet.record.verify(None).await.unwrap();
        assert_eq!(found.broken.len(), 1, "{tamper}: {found:?}");
        assert_eq!((found.broken[0].run_id, found.broken[0].pos), (run, expected), "{tamper}: {found:?}");
        for table in tables {
            sql(
                &fleet,
                &format!(
                    "SET session_replication_role = replica; DELETE FROM {table};
                     INSERT INTO {table} SELECT * FROM kept_{table}; DROP TABLE kept_{table}"
                ),
            )
            .unwrap();
        }
    }
    assert_eq!(fleet.record.verify(None).await.unwrap().broken, []);
}

#[tokio::test]
async fn of_two_that_saw_the_same_overdue_claim_one_resends_and_the_other_cannot_withdraw_it() {
    let fleet = Fleet::with(&["etl", "embedding", "judge"]).await;
    fleet.add([crate::fleet::event(1)]).await;
    testkit::eventually("the run stands at its publication", async || {
        fleet.runs().await.first().is_some_and(|run| run.step == "publish")
    })
    .await;
    let run = fleet.runs().await[0].run_id;
    let loaded = fleet.record.load_one(run, &[]).await.unwrap().unwrap();
    let at_once = std::time::Duration::ZERO;
    let claim = record::Claim { run: &loaded, outlet: "files", effect: "post", deadline: at_once };
    let record::Claimed::Ours(seen) = fleet.record.claim(&claim).await.unwrap() else { panic!("it is free") };
    let taken = fleet.record.reclaim(&seen, &loaded, at_once).await.unwrap().expect("the first one");
    assert_eq!(
        fleet.record.reclaim(&seen, &loaded, at_once).await.unwrap(),
        None,
        "the second sees that it is late"
    );
    fleet.record.withdraw(&seen).await.unwrap();
    assert_eq!(
        fleet.record.publications_of(run).await.unwrap().len(),
        1,
        "a claim of another's is not withdrawn"
    );
    let moved = record::LoadedRun { seq: loaded.seq - 1, ..loaded.clone() };
    assert_eq!(fleet.record.reclaim(&taken, &moved, at_once).await.unwrap(), None, "the run moved on");
    fleet.record.withdraw(&taken).await.unwrap();
    assert!(fleet.record.publications_of(run).await.unwrap().is_empty());
}

#[tokio::test]
async fn content_that_was_altered_in_the_record_is_neither_approved_nor_published() {
    let mut fleet = Fleet::on(testkit::Servers::start_own().await).await;
    for name in ["planner", "etl", "embedding", "judge"] {
        fleet.start(name).await;
    }
    fleet.add([crate::fleet::event(1)]).await;
    testkit::eventually("the run stands at its publication", async || {
        fleet.runs().await.first().is_some_and(|run| run.step == "publish")
    })
    .await;
    let forge =
        "UPDATE artifacts SET body = replace(body::text, 'council', 'cartel')::json WHERE name = 'content'";
    sql(&fleet, forge).unwrap();
    fleet.start("publisher").await;
    let runs = fleet.settled(1).await;
    assert_eq!(runs[0].state, "dead", "{runs:?}");
    assert!(runs[0].reason.contains("it was altered"), "{}", runs[0].reason);
    assert_eq!(fleet.posts(), 0);
    assert_eq!(fleet.record.publications(None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_time_without_end_is_a_long_one_to_the_record() {
    let fleet = Fleet::quiet().await;
    let (record, forever) = (&fleet.record, Duration::MAX);
    let lease = |holder: &str| Lease { name: "endless", holder: holder.to_owned() };
    assert!(record.lease(&lease("one"), forever).await.unwrap());
    assert!(!record.lease(&lease("other"), forever).await.unwrap());
    assert!(record.failing_sources(forever).await.unwrap().is_empty());
}
