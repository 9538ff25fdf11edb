//! What gates count: places of a day, complaints, and what people answered.

use chrono::{DateTime, Utc};
use model::{Content, RunId, Sha256Digest};
use rails::{Answer, Basis, CorridorFacts, GateInput, GatePolicies, Ruling};
use record::{Place, Record};
use testkit::Servers;
use uuid::Uuid;

const TENANT: &str = "acme";

/// Servers with some runs that stand before their publication.
pub(crate) struct Standing {
    servers: Servers,
    pub(crate) record: Record,
}

impl Standing {
    pub(crate) async fn start() -> Self {
        let servers = Servers::start_own().await;
        let record = Record::connect(servers.database_url(), 10).await.unwrap();
        Self { servers, record }
    }

    pub(crate) fn sql(&self, text: &str) -> String {
        self.servers.postgres.as_ref().unwrap().sql("tidemill", text).unwrap()
    }

    pub(crate) fn run(&self, tenant: &str) -> RunId {
        let run = Uuid::now_v7();
        self.sql(&format!(
            "INSERT INTO runs (run_id, event_id, intent_id, chain_head, due_at, received_at, chain_len, tenant, region,
                               pipeline_version, state, lifecycle, step)
             VALUES ('{run}', gen_random_uuid(), gen_random_uuid(), '', now(), now(), 1, '{tenant}', 'default', 'w', 'running',
                     'approved', 'publish')"
        ));
        RunId(run)
    }

    fn end(&self, run: RunId, state: &str) {
        self.sql(&format!("UPDATE runs SET state = '{state}' WHERE run_id = '{run}'"));
    }

    /// A post of a run, which went out so many days ago, or as this state says did not.
    fn post(&self, run: RunId, tenant: &str, state: &str, days: i64) -> Uuid {
        self.row("files", run, tenant, state, days)
    }

    /// The same row of the ledger, of any outlet.
    fn row(&self, outlet: &str, run: RunId, tenant: &str, state: &str, days: i64) -> Uuid {
        let at = Utc::now() - chrono::TimeDelta::days(days);
        let mut id = *Uuid::now_v7().as_bytes();
        id[..6].copy_from_slice(&at.timestamp_millis().to_be_bytes()[2..]);
        let id = Uuid::from_bytes(id);
        self.sql(&format!(
            "INSERT INTO approvals (approval_id, run_id, content_sha256, basis, rule, approved_by)
             VALUES ('{id}', '{run}', sha256('c'), 'rule', 'r', 'x');
             INSERT INTO publications (publication_id, publication_key, outlet, tenant, run_id, approval_id, content_sha256,
                                       step, seq, state, sent_at, deadline)
             VALUES ('{id}', sha256('{id}'), '{outlet}', '{tenant}', '{run}', '{id}', sha256('c'), 'publish', 1, '{state}', '{at}',
                     '{at}')"
        ));
        id
    }

    /// Asks for a place for each run at once, in one transaction, of a gate with these rules.
    async fn ask(&self, rules: &str, runs: &[RunId]) -> Vec<bool> {
        ask(&self.record, rules, runs).await
    }

    /// What a gate would be shown of the last `days` days, of a run without a place.
    async fn facts(&self, days: u32) -> CorridorFacts {
        let place = Place { run: RunId(Uuid::nil()), step: "publish", tenant: TENANT };
        let mut seen = None;
        self.record
            .reserve_posts(&[place], days, |_, facts, _| {
                seen = Some(facts.clone());
                false
            })
            .await
            .unwrap();
        seen.unwrap()
    }
}

async fn ask(record: &Record, rules: &str, runs: &[RunId]) -> Vec<bool> {
    let yaml = format!("gates: {{ corridor: {{ kpi_corridor: {rules} }} }}\n");
    let policies = GatePolicies::parse([("test", yaml.as_str())]).unwrap();
    let gates = ["corridor".to_owned()];
    let days = policies.days(&gates).unwrap();
    let place = |run: &RunId| Place { run: *run, step: "publish", tenant: TENANT };
    let places: Vec<Place<'_>> = runs.iter().map(place).collect();
    let passes = |_, facts: &CorridorFacts, now| ruling(&policies, &gates, facts, now) == Ruling::Pass;
    record.reserve_posts(&places, days, passes).await.unwrap()
}

fn ruling(policies: &GatePolicies, gates: &[String], facts: &CorridorFacts, now: DateTime<Utc>) -> Ruling {
    let content = Content {
        title: "t".to_owned(),
        summary: String::new(),
        body: "b".to_owned(),
        url: None,
        language: "en".to_owned(),
        tags: vec![],
    };
    let input = GateInput {
        content: Some(&content),
        subject: Sha256Digest([0; 32]),
        source: "test",
        tenant: TENANT,
        region: "default",
        artifacts: &std::collections::BTreeMap::new(),
        facts: Some(facts),
        answers: &[],
        now,
    };
    rails::before(gates, policies, &input).ruling
}

const FIVE: &str = "{ published_per_day: { max: 5 } }";

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_commits_at_once_at_a_bound_of_five_exactly_five_go_on() {
    let fleet = Standing::start().await;
    let runs: Vec<RunId> = (0..8).map(|_| fleet.run(TENANT)).collect();
    let asked: Vec<_> = runs
        .iter()
        .map(|run| {
            let (record, run) = (fleet.record.clone(), *run);
            tokio::spawn(async move { ask(&record, FIVE, &[run]).await[0] })
        })
        .collect();
    let mut passed = Vec::new();
    for (run, asked) in runs.iter().zip(asked) {
        if asked.await.unwrap() {
            passed.push(*run);
        }
    }
    assert_eq!(passed.len(), 5);
    assert_eq!(fleet.sql("SELECT count(*) FROM reserved_posts").trim(), "5");

    // A place is one's own however often one asks, and free again once its run ended without a post.
    assert_eq!(fleet.ask(FIVE, &passed).await, [true; 5]);
    let late = fleet.run(TENANT);
    assert_eq!(fleet.ask(FIVE, &[late]).await, [false]);
    fleet.end(passed[0], "rejected");
    assert_eq!(fleet.ask(FIVE, &[late]).await, [true]);
    let later = fleet.run(TENANT);
    fleet.post(passed[1], TENANT, "confirmed", 0);
    fleet.end(passed[1], "published");
    assert_eq!(fleet.ask(FIVE, &[later]).await, [false], "what went out keeps its place");
    fleet.record.release_post(passed[1], "publish").await.unwrap();
    assert_eq!(fleet.ask(FIVE, &[later]).await, [false], "and is not given back");
    fleet.record.release_post(passed[2], "publish").await.unwrap();
    assert_eq!(fleet.ask(FIVE, &[later]).await, [true]);
    fleet.row("agent.shop", passed[3], TENANT, "confirmed", 0);
    fleet.end(passed[3], "done");
    assert_eq!(fleet.ask(FIVE, &[fleet.run(TENANT)]).await, [true], "a call keeps no place");
}

#[tokio::test]
async fn a_group_that_commits_together_takes_no_more_places_than_there_are() {
    let fleet = Standing::start().await;
    let other = fleet.run(TENANT);
    fleet.post(other, TENANT, "confirmed", 0);
    fleet.post(fleet.run(TENANT), TENANT, "rejected", 0);
    fleet.post(fleet.run("elsewhere"), "elsewhere", "confirmed", 0);
    let held_back = fleet.run(TENANT);
    assert_eq!(fleet.ask(FIVE, &[held_back]).await, [true]);
    fleet.sql("UPDATE reserved_posts SET day = day - 3");
    fleet.post(held_back, TENANT, "confirmed", 0);
    let runs: Vec<RunId> = (0..6).map(|_| fleet.run(TENANT)).collect();
    let passed = fleet.ask(FIVE, &runs).await;
    assert_eq!(
        passed,
        [true, true, true, false, false, false],
        "posts without a place of today count as well"
    );
}

#[tokio::test]
async fn complaints_that_people_give_as_feedback_stop_publishing() {
    const RATE: &str = "{ complaint_rate: { max: 0.5, days: 2 } }";
    let fleet = Standing::start().await;
    let posts: Vec<Uuid> = (0..2).map(|_| fleet.post(fleet.run(TENANT), TENANT, "confirmed", 0)).collect();
    let run = fleet.run(TENANT);
    let say = async |tenant: &str, kind: &str| {
        fleet.record.add_feedback(posts[0], tenant, kind, "no", "ada").await.unwrap();
    };
    say(TENANT, "complaint").await;
    say(TENANT, "correction").await;
    say("elsewhere", "complaint").await;
    assert_eq!(fleet.ask(RATE, &[run]).await, [true], "one for two posts is at the bound");
    say(TENANT, "complaint").await;
    assert_eq!(fleet.ask(RATE, &[run]).await, [false], "two for two posts are over it");
    fleet.sql("UPDATE feedback SET given_at = given_at - interval '2 days'");
    assert_eq!(fleet.ask(RATE, &[run]).await, [true], "they are out of the window");
}

#[tokio::test]
async fn days_that_have_ended_are_counted_once_and_each_for_itself() {
    let fleet = Standing::start().await;
    for (days, posts) in [(0, 1), (1, 2), (2, 3), (5, 4)] {
        for _ in 0..posts {
            fleet.post(fleet.run(TENANT), TENANT, "confirmed", days);
        }
    }
    fleet.post(fleet.run(TENANT), TENANT, "abandoned", 1);
    for (outlet, days) in [("agent.shop", 0), ("tool.crm.send", 0), ("tool.crm.send", 1), ("agent.shop", 4)] {
        fleet.row(outlet, fleet.run(TENANT), TENANT, "confirmed", days);
    }
    let published = |facts: &CorridorFacts| facts.days.iter().map(|day| day.published).collect::<Vec<_>>();
    let facts = fleet.facts(3).await;
    assert_eq!((published(&facts), facts.taken), (vec![1, 2, 3], 1));
    assert_eq!(published(&fleet.facts(6).await), [1, 2, 3, 0, 0, 4]);
    fleet.post(fleet.run(TENANT), TENANT, "confirmed", 0);
    let kept = "SELECT string_agg(coalesce(published::text, '-'), ' ' ORDER BY day) FROM corridor_days";
    assert_eq!(fleet.sql(kept).trim(), "4 0 0 3 2 -");
    assert_eq!(published(&fleet.facts(2).await), [2, 2]);
}

#[tokio::test]
async fn an_answer_to_a_gate_is_kept_for_what_stood_before_it() {
    let fleet = Standing::start().await;
    let run = fleet.run(TENANT);
    let answer = |gate: &str, digest: u8, basis: Basis, by: &str| Answer {
        gate: gate.to_owned(),
        subject: Sha256Digest([digest; 32]),
        basis,
        by: by.to_owned(),
    };
    let first = answer("human", 1, Basis::Person, "ada");
    let second = answer("licence", 1, Basis::Override, "ben");
    for given in [&first, &second, &answer("human", 2, Basis::Person, "eve")] {
        fleet.record.answer_gate(run, given).await.unwrap();
    }
    let again = answer("human", 2, Basis::Override, "ben");
    fleet.record.answer_gate(run, &again).await.unwrap();
    let mut kept = fleet.record.gate_answers(run).await.unwrap();
    kept.sort_by_key(|answer| (answer.gate.clone(), answer.subject.0));
    assert_eq!(kept, [first, again, second]);
    assert_eq!(fleet.record.gate_answers(fleet.run(TENANT)).await.unwrap(), []);
}
