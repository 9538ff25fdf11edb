//! `tidemill doctor`: looks at everything that a fleet needs, says what is wrong or stuck, and what to do about it.

mod outside;

use std::path::Path;
use std::time::Duration;

use fleet::config::Overrides;
use fleet::{Fault, Settings};
use record::{LetterFilter, Record};
use serde::Serialize;
use streams::Streams;
use vectors::VectorStore;

use crate::agents::Agents;
use crate::args::Doctor;
use crate::table;

/// Clocks further apart than this are told.
const SKEW: Duration = Duration::from_secs(2);
/// An entry older than this, with workers there, is told.
const OLD: Duration = Duration::from_secs(300);
/// Less free disk than this is told.
const FREE: u64 = 1 << 30;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Ok,
    Warning,
    Failure,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    verdict: Verdict,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

fn ok(check: &'static str, found: impl Into<String>) -> Finding {
    Finding { check, verdict: Verdict::Ok, found: found.into(), remedy: None }
}

fn warning(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { check, verdict: Verdict::Warning, found: found.into(), remedy: Some(remedy.into()) }
}

fn failure(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { check, verdict: Verdict::Failure, found: found.into(), remedy: Some(remedy.into()) }
}

pub(crate) async fn run(doctor: Doctor) -> Result<(), Fault> {
    let findings = examine(&doctor).await;
    if doctor.json {
        table::json(&serde_json::json!(findings));
    } else {
        let mut shown = table::table(&["", "check", "found"]);
        for finding in &findings {
            let mark = match finding.verdict {
                Verdict::Ok => "ok",
                Verdict::Warning => "!",
                Verdict::Failure => "FAIL",
            };
            let remedy = finding.remedy.as_ref().map(|remedy| format!("\n→ {remedy}")).unwrap_or_default();
            shown.add_row([mark, finding.check, &format!("{}{remedy}", finding.found)]);
        }
        println!("{shown}");
    }
    match findings.iter().filter(|finding| finding.verdict == Verdict::Failure).count() {
        0 => Ok(()),
        failures => Err(Fault::unavailable(format!("{failures} checks failed"))),
    }
}

async fn examine(doctor: &Doctor) -> Vec<Finding> {
    let mut findings = Vec::new();
    let settings = match Settings::load(&Overrides::default()) {
        Ok(settings) => Some(settings),
        Err(fault) => {
            findings.push(failure("configuration", fault.message, "mend the file that is named"));
            None
        }
    };
    if let Some(settings) = &settings {
        findings.extend(files(settings));
    }
    let (record, streams) = (doctor.database.record().await, doctor.database.streams().await);
    match &record {
        Ok(record) => findings.extend(postgres(record).await),
        Err(fault) => findings.push(failure("PostgreSQL", &fault.message, "start it, or correct its URL")),
    }
    match &streams {
        Ok(streams) => findings.extend(redis(streams).await),
        Err(fault) => findings.push(failure("Redis", &fault.message, "start it, or correct its URL")),
    }
    if let (Some(settings), Ok(record)) = (&settings, &record) {
        findings.push(vector_store(settings, record).await);
    }
    if let (Ok(record), Ok(streams)) = (&record, &streams) {
        findings.push(match fleet::refuse_unsaid_restore(record, streams).await {
            Ok(()) => ok("backups", "the record has the last posts that went out"),
            Err(fault) => failure("backups", fault.message, "docs/deployment.md, Backup and restore"),
        });
        let limits = settings.as_ref().map(Limits::of).unwrap_or_default();
        match stuck(record, streams, &limits).await {
            Ok(found) => findings.extend(found),
            Err(fault) => findings.push(failure("the flow", fault.message, "run the doctor again")),
        }
    }
    findings
}

/// The configuration's own files, and the disk.
fn files(settings: &Settings) -> Vec<Finding> {
    let faults = crate::config::faults(settings);
    let mut findings: Vec<Finding> = faults
        .into_iter()
        .map(|fault| {
            failure("configuration", fault.message, "mend it: the process that it is for does not start")
        })
        .collect();
    if findings.is_empty() {
        findings.push(ok("configuration", "every section can be read"));
    }
    findings.push(match settings.shared.policy.read() {
        Ok(_) if settings.shared.policy.file.is_none() => {
            warning("policy", "none: nothing is forbidden", "set policy.file")
        }
        Ok(_) => ok("policy", "can be read"),
        Err(fault) => {
            failure("policy", fault.message, "mend the file: the judge and the gateway do not start")
        }
    });
    findings.push(agents(settings));
    findings.push(match settings.shared.gates.read() {
        Ok(gates) => ok("gates", format!("{} in the policy documents", gates.iter().count())),
        Err(fault) => failure("gates", fault.message, "mend the file: no process starts"),
    });
    if let Ok(section) = settings.section::<recall::config::Section>("embedding") {
        let folder = &section.model_folder;
        findings.push(match vectors::model_folder::verify(folder) {
            Ok(_) => ok("embedding model", format!("whole, in {}", folder.display())),
            Err(error) => warning(
                "embedding model",
                error.to_string(),
                format!(
                    "`tidemill model fetch {}`; until then only repeats of words are found",
                    folder.display()
                ),
            ),
        });
    }
    findings.push(disk(Path::new(".")));
    findings
}

/// The brains that perform steps by role.
fn agents(settings: &Settings) -> Finding {
    match Agents::of(settings) {
        None => {
            ok("agents", "no provider is configured: a workflow whose steps are done by agents would fail")
        }
        Some(Agents { told, mute: true }) => warning(
            "agents",
            format!("{told}; no worker can call back"),
            "set agent.callbacks to the gateway's address as workers reach it; until then they are asked every 5 s",
        ),
        Some(agents) => ok("agents", agents.told),
    }
}

fn disk(path: &Path) -> Finding {
    match nix::sys::statvfs::statvfs(path) {
        Ok(found) => {
            let free = found.blocks_available() * found.fragment_size();
            let told = format!("{:.1} GiB free here", free as f64 / f64::from(1 << 30));
            if free < FREE {
                warning("disk", told, "make room: a full disk stops Redis and PostgreSQL")
            } else {
                ok("disk", told)
            }
        }
        Err(error) => warning("disk", error.to_string(), "look at it by hand"),
    }
}

fn clock(check: &'static str, theirs: chrono::DateTime<chrono::Utc>) -> Finding {
    let apart = (chrono::Utc::now() - theirs).abs().to_std().unwrap_or_default();
    let told = format!("{:.1} s apart from this machine's", apart.as_secs_f64());
    if apart > SKEW { warning(check, told, "let NTP set both clocks") } else { ok(check, told) }
}

async fn postgres(record: &Record) -> Vec<Finding> {
    let mut findings = Vec::new();
    match record.server().await {
        Err(error) => return vec![failure("PostgreSQL", error.to_string(), "look at its log")],
        Ok(server) => {
            let size = server.bytes / (1 << 20);
            findings.push(ok("PostgreSQL", format!("version {}, {size} MiB of data", server.version)));
            if !server.fsync {
                findings.push(failure(
                    "PostgreSQL fsync",
                    "off",
                    "set fsync = on: a power cut loses what was accepted",
                ));
            }
            findings.push(clock("clock of PostgreSQL", server.now));
        }
    }
    findings.push(match record.check().await {
        Ok(()) => ok("schema", format!("fits; this build's is {}", record::SCHEMA_VERSION)),
        Err(error) => failure("schema", error.to_string(), "do what it says, with the newest build"),
    });
    findings.push(match record.active_intents().await {
        Ok(intents) if intents.is_empty() => {
            failure("intents", "none is registered: nothing is taken in", "start a tidemill-planner")
        }
        Ok(intents) => ok("intents", format!("{} registered", intents.len())),
        Err(error) => failure("intents", error.to_string(), "`tidemill migrate`"),
    });
    findings
}

/// Whether the vector store is there and has what the record has.
async fn vector_store(settings: &Settings, record: &Record) -> Finding {
    let weaviate = settings.section::<recall::config::Section>("embedding").and_then(|one| one.weaviate());
    let weaviate = match weaviate {
        Ok(Some(weaviate)) => weaviate,
        Ok(None) => return ok("vector store", "embedded, in each process that asks"),
        Err(fault) => return failure("vector store", fault.message, "mend embedding.weaviate"),
    };
    let looked = async {
        weaviate.check().await?;
        Ok::<_, vectors::Error>((weaviate.version().await?, weaviate.len().await?))
    };
    let (version, held) = match looked.await {
        Ok(found) => found,
        Err(error) => {
            let remedy = "bring it back: until then embedding waits, and nothing is lost";
            return failure("vector store", error.to_string(), remedy);
        }
    };
    match record.embedding_models().await {
        Err(error) => failure("vector store", error.to_string(), "`tidemill migrate`"),
        Ok(models) => {
            let stored: u64 = models.iter().map(|(_, count)| count).sum();
            let told = format!("Weaviate {version} has {held} vectors, the record {stored}");
            if stored > held as u64 {
                warning("vector store", told, "`tidemill vectors rebuild`, unless they are of other models")
            } else {
                ok("vector store", told)
            }
        }
    }
}

async fn redis(streams: &Streams) -> Vec<Finding> {
    let server = match streams.server().await {
        Ok(server) => server,
        Err(error) => return vec![failure("Redis", error.to_string(), "look at its log")],
    };
    let used = server.used_memory / (1 << 20);
    let mut findings = vec![ok("Redis", format!("version {}, {used} MiB in use", server.version))];
    if server.max_memory > 0 && server.used_memory > server.max_memory / 10 * 8 {
        let limit = server.max_memory / (1 << 20);
        findings.push(warning(
            "memory of Redis",
            format!("{used} of {limit} MiB"),
            "raise maxmemory, or start more of the worker type whose stream is long",
        ));
    }
    if !server.appendonly {
        findings.push(warning(
            "Redis appendonly",
            "off: entries that upstreams add themselves are lost when it restarts",
            "`CONFIG SET appendonly yes`, and in its configuration file",
        ));
    }
    findings.push(match streams.now_ms().await {
        Ok(now) => clock("clock of Redis", chrono::DateTime::from_timestamp_millis(now).unwrap_or_default()),
        Err(error) => failure("clock of Redis", error.to_string(), "look at its log"),
    });
    findings
}

/// What the configuration calls too much or too late; nothing where it cannot be read.
#[derive(Default)]
struct Limits {
    overdue_after: Option<Duration>,
    high_water: Option<u64>,
}

impl Limits {
    fn of(settings: &Settings) -> Self {
        let notifications = settings.section::<planner::notify::Section>("notifications").ok();
        let gateway = settings.section::<gateway::config::Section>("gateway").ok();
        Self {
            overdue_after: notifications.and_then(|section| section.overdue_after),
            high_water: gateway.map(|section| section.high_water),
        }
    }
}

/// What waits for somebody, and for whom.
async fn stuck(record: &Record, streams: &Streams, limits: &Limits) -> Result<Vec<Finding>, Fault> {
    let mut findings = Vec::new();
    let pauses = record.pauses().await?;
    for pause in &pauses {
        findings.push(warning(
            "pause",
            format!(
                "{} {} is paused by {}: {}",
                pause.kind.as_str(),
                pause.name,
                pause.paused_by,
                pause.reason
            ),
            format!("`tidemill resume {} {}`", pause.kind.as_str(), pause.name),
        ));
    }
    for stream in streams::WORK_STREAMS {
        findings.push(stage(streams, stream.worker, limits).await?);
    }
    findings.extend(outside::examine(record).await?);
    let open = record.open_escalations(None, 1000).await?;
    // Whichever comes first: what people are told of by `notifications`, or the step's own due time.
    let now = chrono::Utc::now();
    let waits_long = |opened: chrono::DateTime<chrono::Utc>| {
        limits.overdue_after.is_some_and(|after| (now - opened).to_std().is_ok_and(|waited| waited > after))
    };
    let overdue = open.iter().filter(|one| one.due_at < now || waits_long(one.opened_at)).count();
    findings.push(match (open.len(), overdue) {
        (0, _) => ok("escalations", "nobody is asked anything"),
        (asked, 0) => ok("escalations", format!("{asked} wait for a person, none overdue")),
        (asked, overdue) => warning(
            "escalations",
            format!("{asked} wait for a person, {overdue} of them overdue"),
            "`tidemill escalations list`",
        ),
    });
    let unknown = record.publications(None, 1000).await?;
    let unknown = unknown.iter().filter(|row| row.state == record::PublicationState::Unknown).count();
    findings.push(match unknown {
        0 => ok("publications", "what became of each is known"),
        unknown => warning(
            "publications",
            format!("of {unknown} nobody knows whether they went out"),
            "look at the outlet, then `tidemill publications settle`",
        ),
    });
    let letters = record.dead_letters(&LetterFilter::default(), 1000).await?;
    findings.push(match letters.len() {
        0 => ok("dead letters", "none waits"),
        count => warning(
            "dead letters",
            format!(
                "{count}{} wait, the newest: {}",
                if count == 1000 { " or more" } else { "" },
                letters[0].reason
            ),
            "`tidemill dlq list`, then `dlq replay` or `dlq discard`",
        ),
    });
    Ok(findings)
}

async fn stage(streams: &Streams, worker: &'static str, limits: &Limits) -> Result<Finding, Fault> {
    let backlog = streams.backlog(worker).await?;
    let mut live = 0;
    for partition in 0..streams.partitions() {
        let consumers = streams.consumers(worker, partition).await?;
        live += consumers.iter().filter(|consumer| consumer.idle_ms < streams::SILENT_MS).count();
    }
    let oldest = Duration::from_millis(backlog.oldest_ms);
    let told = format!(
        "{} entries, {} to be retried, the oldest {} old; {live} processes",
        backlog.stream,
        backlog.retry,
        humantime::format_duration(Duration::from_secs(oldest.as_secs()))
    );
    // Only workflows that keep a blackboard have agents.
    let needed = worker != "agent" || backlog.stream + backlog.retry > 0;
    Ok(if live == 0 && !needed {
        ok(worker, "no process, and no entry that waits for one".to_owned())
    } else if live == 0 {
        let told = format!("{told}: nobody works on it");
        failure(worker, told, format!("start tidemill-{worker}"))
    } else if worker == "etl" && limits.high_water.is_some_and(|most| backlog.stream > most) {
        let told = format!("{told}: over gateway.high_water, so that the gateway answers 429");
        warning(worker, told, "more processes of tidemill-etl, or end its pause; senders wait until then")
    } else if backlog.stream > 0 && oldest > OLD {
        warning(worker, told, format!("more processes of tidemill-{worker}; its log says what holds it up"))
    } else {
        ok(worker, told)
    })
}
