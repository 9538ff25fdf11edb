//! The floor: what a hand-written loop reaches on the same two servers when it does only the unavoidable.
//!
//! Per stage and batch that is one read of the stream, one select, one compare-and-set update with its provenance, one
//! insert of artifacts, one commit and one script that adds downstream, acknowledges and deletes. The tables are as
//! narrow as they can be; nothing is decoded, routed, measured, checked or logged.

use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::streams::StreamReadReply;
use sha2::{Digest, Sha256};
use sqlx::{PgPool, Row};
use uuid::Uuid;

use crate::{BATCH, EVENT_BYTES, Fault, STAGES};

/// Bytes of one stage's result.
const RESULT_BYTES: usize = 300;

const HAND_OVER: &str = r"
local answers = {}
for i = 2, #ARGV, 2 do
  redis.call('XADD', KEYS[2], '*', 'run', ARGV[i + 1])
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[i])
  answers[#answers + 1] = redis.call('XDEL', KEYS[1], ARGV[i])
end
return answers";

/// The loop, with its connections.
#[derive(Debug)]
pub struct Floor {
    pool: PgPool,
    redis: MultiplexedConnection,
}

struct Entry {
    id: String,
    run: Uuid,
}

impl Floor {
    /// Connects and makes the tables.
    ///
    /// # Errors
    /// Whatever the servers say.
    pub async fn prepare(database: &str, redis: &str) -> Result<Self, Fault> {
        let pool = PgPool::connect(database).await?;
        sqlx::raw_sql(
            "CREATE TABLE floor_events (event_id uuid PRIMARY KEY, payload bytea NOT NULL);
             CREATE TABLE floor_runs (run_id uuid PRIMARY KEY, event_id uuid NOT NULL, seq integer NOT NULL,
                                      step text NOT NULL, chain_head bytea NOT NULL) WITH (fillfactor = 70);
             CREATE TABLE floor_provenance (run_id uuid, pos integer, body text NOT NULL, hash bytea NOT NULL,
                                            PRIMARY KEY (run_id, pos));
             CREATE TABLE floor_artifacts (run_id uuid, seq integer, body json NOT NULL, PRIMARY KEY (run_id, seq))",
        )
        .execute(&pool)
        .await?;
        let redis = redis::Client::open(redis)?.get_multiplexed_async_connection().await?;
        Ok(Self { pool, redis })
    }

    /// Puts `events` through every stage; returns how long the loop took, without its preparation.
    ///
    /// # Errors
    /// Whatever the servers say; also where an event did not come through.
    pub async fn run(&mut self, events: usize) -> Result<Duration, Fault> {
        self.fill(events).await?;
        let started = Instant::now();
        let mut through = 0;
        while through < events {
            for stage in 0..STAGES.len() {
                let entries = self.read(stage).await?;
                self.advance(stage, &entries).await?;
                self.hand_over(stage, &entries).await?;
                if stage + 1 == STAGES.len() {
                    through += entries.len();
                }
            }
        }
        let took = started.elapsed();
        let done: i64 = sqlx::query_scalar("SELECT count(*) FROM floor_runs WHERE seq = $1")
            .bind(i32::try_from(STAGES.len())?)
            .fetch_one(&self.pool)
            .await?;
        if usize::try_from(done)? == events {
            return Ok(took);
        }
        Err(format!("the floor brought {done} of {events} events through").into())
    }

    async fn fill(&mut self, events: usize) -> Result<(), Fault> {
        let payload = vec![b'x'; EVENT_BYTES];
        for stage in 0..=STAGES.len() {
            let key = format!("floor:{stage}");
            let () = redis::pipe()
                .cmd("DEL")
                .arg(&key)
                .ignore()
                .cmd("XGROUP")
                .arg("CREATE")
                .arg(&key)
                .arg("floor")
                .arg("0")
                .arg("MKSTREAM")
                .ignore()
                .query_async(&mut self.redis)
                .await?;
        }
        let runs: Vec<Uuid> = (0..events).map(|_| Uuid::now_v7()).collect();
        for chunk in runs.chunks(BATCH) {
            sqlx::query(
                "WITH given AS (SELECT * FROM UNNEST($1::uuid[]) AS g(run_id)),
                      ev AS (INSERT INTO floor_events SELECT run_id, $2 FROM given)
                 INSERT INTO floor_runs SELECT run_id, run_id, 0, 'etl', $3 FROM given",
            )
            .bind(chunk)
            .bind(&payload)
            .bind(vec![0_u8; 32])
            .execute(&self.pool)
            .await?;
            let mut pipe = redis::pipe();
            for run in chunk {
                pipe.cmd("XADD").arg("floor:0").arg("*").arg("run").arg(run.to_string()).ignore();
            }
            let () = pipe.query_async(&mut self.redis).await?;
        }
        Ok(())
    }

    async fn read(&mut self, stage: usize) -> Result<Vec<Entry>, Fault> {
        let reply: StreamReadReply = redis::cmd("XREADGROUP")
            .arg(&["GROUP", "floor", "loop", "COUNT"])
            .arg(BATCH)
            .arg("STREAMS")
            .arg(format!("floor:{stage}"))
            .arg(">")
            .query_async(&mut self.redis)
            .await?;
        let entries = reply.keys.into_iter().flat_map(|key| key.ids).map(|entry| {
            let run: String = entry.get("run").ok_or("an entry without a run")?;
            Ok(Entry { id: entry.id, run: run.parse()? })
        });
        entries.collect()
    }

    async fn advance(&self, stage: usize, entries: &[Entry]) -> Result<(), Fault> {
        let ids: Vec<Uuid> = entries.iter().map(|entry| entry.run).collect();
        let rows = sqlx::query(
            "SELECT r.run_id, r.seq, r.chain_head, e.payload FROM floor_runs r JOIN floor_events e USING (event_id)
             WHERE r.run_id = ANY($1)",
        )
        .bind(&ids)
        .fetch_all(&self.pool)
        .await?;
        let body = "b".repeat(RESULT_BYTES);
        let (mut runs, mut seqs, mut hashes) = (Vec::new(), Vec::new(), Vec::new());
        for row in &rows {
            runs.push(row.try_get::<Uuid, _>("run_id")?);
            seqs.push(row.try_get::<i32, _>("seq")?);
            let digest =
                Sha256::new().chain_update(row.try_get::<&[u8], _>("chain_head")?).chain_update(&body);
            hashes.push(digest.finalize().to_vec());
        }
        let bodies = vec![body; rows.len()];
        let results = vec![format!(r#"{{"result":"{}"}}"#, "r".repeat(RESULT_BYTES - 13)); rows.len()];
        let step = STAGES.get(stage + 1).copied().unwrap_or("done");
        let mut transaction = self.pool.begin().await?;
        let won = sqlx::query(
            "WITH won AS (
                 UPDATE floor_runs r SET seq = r.seq + 1, step = $5, chain_head = i.hash
                 FROM UNNEST($1::uuid[], $2::int[], $3::bytea[]) AS i(run_id, seq, hash)
                 WHERE r.run_id = i.run_id AND r.seq = i.seq RETURNING r.run_id),
             chained AS (
                 INSERT INTO floor_provenance
                 SELECT p.run_id, p.seq + 1, p.body, p.hash
                 FROM UNNEST($1::uuid[], $2::int[], $4::text[], $3::bytea[]) AS p(run_id, seq, body, hash)
                 JOIN won USING (run_id))
             SELECT run_id FROM won",
        )
        .bind(&runs)
        .bind(&seqs)
        .bind(&hashes)
        .bind(&bodies)
        .bind(step)
        .fetch_all(&mut *transaction)
        .await?;
        if won.len() != entries.len() {
            return Err(format!("the floor advanced {} of {} runs", won.len(), entries.len()).into());
        }
        sqlx::query(
            "INSERT INTO floor_artifacts SELECT a.run_id, a.seq, a.body::json
             FROM UNNEST($1::uuid[], $2::int[], $3::text[]) AS a(run_id, seq, body)",
        )
        .bind(&runs)
        .bind(&seqs)
        .bind(&results)
        .execute(&mut *transaction)
        .await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn hand_over(&mut self, stage: usize, entries: &[Entry]) -> Result<(), Fault> {
        let script = redis::Script::new(HAND_OVER);
        let mut call = script.key(format!("floor:{stage}"));
        call.key(format!("floor:{}", stage + 1)).arg("floor");
        for entry in entries {
            call.arg(&entry.id).arg(entry.run.to_string());
        }
        let () = call.invoke_async(&mut self.redis).await?;
        Ok(())
    }
}
