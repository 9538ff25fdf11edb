//! Notifications for people: what happened is in the record already; here it is spread to the targets that want it, and
//! sent.
//!
//! The planner that holds the lease works. Each target has a task of its own, so that one that is slow or out delays
//! neither the others nor the rails. A notification is sent until the target answers 2xx, always under the same
//! `webhook-id`, or until its time is over: then it is given up, in the log, a metric and `tidemill doctor`.

mod config;
mod document;
mod send;

use std::sync::Arc;
use std::time::Duration;

use fleet::Process;
use record::{Lease, NewNotification, Notice, NoticeKind, Record};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::error::RoundError;

pub(crate) use config::{Receiver, check};
pub use config::{Retry, Section, TargetSection};

/// How often the record is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long the lease lasts; it is renewed with every look.
const LEASE: Duration = Duration::from_secs(15);
/// Notices spread at once.
const GROUP: i64 = 200;
/// How long notices are kept once they wait for nobody.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// How often old ones are looked for.
const SWEEP: Duration = Duration::from_secs(3600);

/// Makes known which targets the end of a run can be told.
///
/// # Errors
/// [`record::Error`].
pub(crate) async fn register(record: &Record, receivers: &[Receiver]) -> Result<(), record::Error> {
    let targets: Vec<(&str, &str)> =
        receivers.iter().filter(|one| one.hears_of(NoticeKind::RunEnded)).map(Receiver::named).collect();
    record.register_targets(&targets).await
}

/// Notifies until the process stops.
pub(crate) async fn run(process: Process, section: Section, receivers: Vec<Receiver>) {
    let receivers: Vec<Arc<Receiver>> = receivers.into_iter().map(Arc::new).collect();
    let held = watch::Sender::new(false);
    let mut sending = JoinSet::new();
    for receiver in &receivers {
        sending.spawn(send::run(process.clone(), Arc::clone(receiver), section.retry, held.subscribe()));
    }
    let notifier = Notifier {
        lease: Lease { name: "notifier", holder: process.consumer.clone() },
        process,
        section,
        receivers,
    };
    let mut swept = None;
    while !notifier.process.shutdown.is_cancelled() {
        match notifier.round(&held, &mut swept).await {
            Ok(()) => {}
            Err(error) => tracing::warn!(%error, "a round of notifying failed; the next one tries again"),
        }
        notifier.process.idle(LOOK).await;
    }
    sending.shutdown().await;
    if let Err(error) = notifier.process.record.release(&notifier.lease).await {
        tracing::debug!(%error, "the lease expires by itself");
    }
}

struct Notifier {
    process: Process,
    section: Section,
    receivers: Vec<Arc<Receiver>>,
    lease: Lease,
}

impl Notifier {
    async fn round(
        &self,
        held: &watch::Sender<bool>,
        swept: &mut Option<tokio::time::Instant>,
    ) -> Result<(), RoundError> {
        let record = &self.process.record;
        let is_held = record.lease(&self.lease, LEASE).await?;
        held.send_if_modified(|known| std::mem::replace(known, is_held) != is_held);
        if !is_held {
            return Ok(());
        }
        record.notice_overdue_escalations(self.section.overdue_after).await?;
        record.notice_ended_runs().await?;
        while self.spread().await? {}
        for (target, reason) in record.give_up_notifications().await? {
            send::count(&self.process, &target, "given_up");
            let reason = reason.unwrap_or_else(|| "it was not tried in time".to_owned());
            tracing::error!(target_name = target, reason, "a notification is given up");
        }
        if swept.is_none_or(|at| at.elapsed() >= SWEEP) {
            record.forget_notices(KEPT).await?;
            *swept = Some(tokio::time::Instant::now());
        }
        Ok(())
    }

    /// Spreads the oldest notices; whether there may be more.
    async fn spread(&self) -> Result<bool, RoundError> {
        let notices = self.process.record.fresh_notices(GROUP).await?;
        if notices.is_empty() {
            return Ok(false);
        }
        let notifications: Vec<NewNotification> =
            notices.iter().flat_map(|notice| self.notifications(notice)).collect();
        self.process.record.spread_notices(&notices, &notifications, self.section.give_up_after).await?;
        Ok(i64::try_from(notices.len()).is_ok_and(|count| count == GROUP))
    }

    fn notifications(&self, notice: &Notice) -> Vec<NewNotification> {
        let wanted: Vec<_> = self.receivers.iter().filter(|receiver| receiver.wants(notice)).collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        let document = document::of(notice).to_string();
        let one = |receiver: &Arc<Receiver>| NewNotification {
            notice_id: notice.notice_id,
            target: receiver.name.clone(),
            document: document.clone(),
        };
        wanted.into_iter().map(one).collect()
    }
}
