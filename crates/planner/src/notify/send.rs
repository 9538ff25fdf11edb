//! Sending to one target: what is due is taken, called with, and noted.

use std::sync::Arc;
use std::time::Duration;

use fleet::{NotificationLabels, Process};
use model::{Failure, RetryClass};
use rails::Backoff;
use record::DueNotification;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Receiver, Retry};

/// How often the record is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Calls of one target at once.
const AT_ONCE: usize = 4;
/// What a claim lasts beyond its call.
const MARGIN: Duration = Duration::from_secs(5);

/// Sends while the lease is held, until the process stops.
pub(crate) async fn run(
    process: Process,
    receiver: Arc<Receiver>,
    retry: Retry,
    mut held: watch::Receiver<bool>,
) {
    let mut calls = JoinSet::new();
    loop {
        // An error means that the planner stops.
        if held.wait_for(|held| *held).await.is_err() {
            return;
        }
        let room = AT_ONCE.saturating_sub(calls.len());
        if room > 0 {
            for due in claim(&process, &receiver, room).await {
                calls.spawn(call(process.clone(), Arc::clone(&receiver), retry, due));
            }
        }
        tokio::select! {
            Some(_) = calls.join_next(), if !calls.is_empty() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

async fn claim(process: &Process, receiver: &Receiver, room: usize) -> Vec<DueNotification> {
    let limit = i64::try_from(room).unwrap_or(i64::MAX);
    let claimed = process.record.claim_notifications(&receiver.name, limit, receiver.timeout + MARGIN).await;
    claimed.unwrap_or_else(|error| {
        tracing::debug!(%error, target_name = receiver.name, "notifications cannot be looked at");
        Vec::new()
    })
}

async fn call(process: Process, receiver: Arc<Receiver>, retry: Retry, due: DueNotification) {
    let id = due.notification_id;
    let answer = receiver.target.notify(&id.to_string(), &due.document).await;
    fleet::failpoint::reach("notified");
    let noted = match answer {
        Ok(()) => {
            count(&process, &receiver.name, "delivered");
            process.record.notification_delivered(id).await
        }
        Err(failure) => {
            count(&process, &receiver.name, "failed");
            let pause = pause(retry, due.attempts, &failure);
            let (name, reason) = (&receiver.name, model::storable(&failure.reason));
            tracing::warn!(target_name = name, %id, ?pause, reason, "a notification was not taken");
            process.record.postpone_notification(id, &reason, pause).await
        }
    };
    if let Err(error) = noted {
        tracing::warn!(%error, %id, "a notification could not be noted: it is sent again");
    }
}

/// With jitter: a target that comes back is not called for all at once.
fn pause(retry: Retry, attempts: i32, failure: &Failure) -> Duration {
    let backoff = Backoff { initial: retry.pause, max: retry.longest_pause };
    let pause = backoff.delay(attempts, rand::random_range(0.75..1.0));
    match failure.class {
        RetryClass::RetryAfter(asked) => pause.max(asked),
        _ => pause,
    }
}

pub(super) fn count(process: &Process, target: &str, outcome: &str) {
    let labels = NotificationLabels { target: target.to_owned(), outcome: outcome.to_owned() };
    process.metrics.notifications.get_or_create(&labels).inc();
}
