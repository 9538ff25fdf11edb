//! The intake lane: concurrent requests share commits. While one commit is in flight, the next group gathers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use fleet::{Arrival, Process};
use record::{Admission, Admitted, Handling};
use tokio::sync::{mpsc, oneshot};

use crate::error::Problem;

/// Events committed at once, at most.
const GROUP: usize = 256;
/// How often the backlog is measured.
const MEASURED: Duration = Duration::from_millis(100);
/// The worker type whose stream new runs begin in, for the backlog.
const FIRST: &str = "etl";

struct Asked {
    arrival: Arrival,
    answer: oneshot::Sender<Result<Admitted, Problem>>,
}

/// Commits events and adds their jobs.
pub(crate) struct Intake {
    asked: mpsc::Sender<Asked>,
    backlog: Arc<AtomicU64>,
}

impl Intake {
    /// Starts the lane; it ends with the intake.
    pub(crate) fn start(process: Process) -> Self {
        let (asked, queue) = mpsc::channel(4 * GROUP);
        let backlog = Arc::new(AtomicU64::new(0));
        tokio::spawn(measure(process.clone(), Arc::clone(&backlog)));
        tokio::spawn(run(process, queue));
        Self { asked, backlog }
    }

    /// Entries of the ingest stream, as measured a moment ago.
    pub(crate) fn backlog(&self) -> u64 {
        self.backlog.load(Ordering::Relaxed)
    }

    /// Hands an event to the lane; the receiver tells once it is committed.
    pub(crate) async fn submit(
        &self,
        arrival: Arrival,
    ) -> Result<oneshot::Receiver<Result<Admitted, Problem>>, Problem> {
        let (answer, answered) = oneshot::channel();
        let stopping = || Problem::unavailable("the gateway is stopping");
        self.asked.send(Asked { arrival, answer }).await.map_err(|_| stopping())?;
        Ok(answered)
    }
}

async fn measure(process: Process, backlog: Arc<AtomicU64>) {
    let mut ticks = tokio::time::interval(MEASURED);
    while !process.shutdown.is_cancelled() {
        ticks.tick().await;
        if let Ok(measured) = process.streams.backlog(FIRST).await {
            backlog.store(measured.stream, Ordering::Relaxed);
        }
    }
}

async fn run(process: Process, mut queue: mpsc::Receiver<Asked>) {
    let mut group = Vec::with_capacity(GROUP);
    while queue.recv_many(&mut group, GROUP).await > 0 {
        commit(&process, std::mem::take(&mut group)).await;
    }
}

async fn commit(process: &Process, group: Vec<Asked>) {
    let (admissions, waiting): (Vec<Admission>, Vec<_>) = group
        .into_iter()
        .map(|asked| (asked.arrival.admission, (asked.arrival.worker, asked.answer)))
        .unzip();
    let admitted = admit(process, &admissions).await;
    fleet::failpoint::reach("accepted");
    let created =
        admissions.iter().zip(&admitted).zip(&waiting).filter_map(|((admission, admitted), (worker, _))| {
            matches!(admitted, Ok(Admitted { created: true, .. })).then_some((admission, worker.as_str()))
        });
    fleet::add_first_jobs(&process.streams, created).await;
    for ((_, answer), admitted) in waiting.into_iter().zip(admitted) {
        if matches!(admitted, Ok(Admitted { created: true, .. })) {
            process.metrics.events_accepted.inc();
        }
        // A sender that went away learns nothing; its event is committed all the same.
        drop(answer.send(admitted));
    }
}

/// Commits as a group; where one event is at fault, one by one.
async fn admit(process: &Process, admissions: &[Admission]) -> Vec<Result<Admitted, Problem>> {
    match process.record.admit(admissions).await {
        Ok(admitted) => admitted.into_iter().map(Ok).collect(),
        Err(error) if error.handling() == Handling::Culprit && admissions.len() > 1 => {
            let mut answers = Vec::with_capacity(admissions.len());
            for admission in admissions {
                let one = process.record.admit(std::slice::from_ref(admission)).await;
                answers.push(one.map_err(Problem::from).and_then(|mut one| {
                    one.pop().ok_or_else(|| Problem::unavailable("the record did not answer for the event"))
                }));
            }
            answers
        }
        Err(error) => {
            let problem = Problem::from(error);
            admissions.iter().map(|_| Err(problem.clone())).collect()
        }
    }
}
