//! Every metric of a process: names, labels and units stand here and nowhere else.
//!
//! Names are prefixed `tidemill_`; times are in seconds.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::{EncodeLabelSet, text::encode};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Labels of job metrics.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct JobLabels {
    /// The worker type.
    pub worker: String,
    /// What became of it.
    pub outcome: String,
}

/// Labels of metrics of one worker type.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WorkerLabels {
    /// The worker type.
    pub worker: String,
}

/// Labels of metrics of one step.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StepLabels {
    /// The workflow's name.
    pub workflow: String,
    /// The step.
    pub step: String,
}

/// Labels of firings.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FiringLabels {
    /// The trigger.
    pub trigger: String,
    /// `run`, `merged` or `suppressed`.
    pub outcome: String,
}

/// Labels of connections that were not let in, or ended by the gateway.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CutLabels {
    /// `full`: no place for it; `room`: without a request, and its place was wanted; `idle`, `headers`, `write`: out of time.
    pub reason: &'static str,
}

/// Labels of metrics of notifications.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct NotificationLabels {
    /// The target's name.
    pub target: String,
    /// `delivered`, `failed` (and tried again) or `given_up`.
    pub outcome: String,
}

/// Labels of metrics of providers.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ProviderLabels {
    /// The provider that was asked first.
    pub provider: String,
    /// The role that asked.
    pub role: String,
    /// `answered` or `failed`.
    pub outcome: String,
}

/// The metrics of a process: cheap to clone.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    /// Jobs by what became of them: done, retried, failed, escalated, rejected, dead, deleted, lost, …
    pub jobs: Family<JobLabels, Counter>,
    /// Answers of the hand-over script.
    pub hand_overs: Family<JobLabels, Counter>,
    /// Seconds a handler took.
    pub handling: Family<WorkerLabels, Histogram, fn() -> Histogram>,
    /// Jobs of one commit.
    pub commit_group: Family<WorkerLabels, Histogram, fn() -> Histogram>,
    /// Entries taken over from consumers that went silent.
    pub takeovers: Family<WorkerLabels, Counter>,
    /// Dead letters written.
    pub dead_letters: Family<WorkerLabels, Counter>,
    /// Jobs held now.
    pub held: Family<WorkerLabels, Gauge>,
    /// Entries in the work stream.
    pub backlog: Family<WorkerLabels, Gauge>,
    /// Entries in the retry set.
    pub retry_set: Family<WorkerLabels, Gauge>,
    /// Age of the oldest entry of the work stream, in seconds.
    pub oldest_seconds: Family<WorkerLabels, Gauge<f64, AtomicU64>>,
    /// 1 while reading is paused: an outage, or a full stream downstream.
    pub paused: Family<WorkerLabels, Gauge>,
    /// Events accepted.
    pub events_accepted: Counter,
    /// Events refused at the door.
    pub events_refused: Counter,
    /// Connections that the gateway holds.
    pub connections: Gauge,
    /// Connections that the gateway did not let in, or ended.
    pub connections_cut: Family<CutLabels, Counter>,
    /// Requests refused because their sender had sent too many.
    pub requests_limited: Counter,
    /// Jobs that the reconciler added.
    pub reconciled: Counter,
    /// Longest time that an open run has been at a step without moving on, in seconds; nobody is waited for.
    pub at_step_seconds: Family<StepLabels, Gauge<f64, AtomicU64>>,
    /// Jobs that are due for long, of a worker type of which no process lives.
    pub unattended: Family<WorkerLabels, Gauge>,
    /// Escalations that were raised because their due time passed.
    pub escalations_overdue: Counter,
    /// Runs that were parked since a budget was used up.
    pub budget_overruns: Counter,
    /// Firings by what became of them.
    pub firings: Family<FiringLabels, Counter>,
    /// Calls of notification targets by how they ended.
    pub notifications: Family<NotificationLabels, Counter>,
    /// Seconds that a call of a provider took, those that stand in for it included.
    pub provider_calls: Family<ProviderLabels, Histogram, fn() -> Histogram>,
    /// Tokens of prompts and answers.
    pub provider_tokens: Family<ProviderLabels, Counter>,
    /// What providers cost, in millionths of the configured currency.
    pub provider_cost: Family<ProviderLabels, Counter>,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 4.0, 12))
}

fn sizes() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 9))
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Registers every metric.
    #[must_use]
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("tidemill");
        let mut metrics = Self {
            registry: Arc::new(Registry::default()),
            jobs: Family::default(),
            hand_overs: Family::default(),
            handling: Family::new_with_constructor(seconds),
            commit_group: Family::new_with_constructor(sizes),
            takeovers: Family::default(),
            dead_letters: Family::default(),
            held: Family::default(),
            backlog: Family::default(),
            retry_set: Family::default(),
            oldest_seconds: Family::default(),
            paused: Family::default(),
            events_accepted: Counter::default(),
            events_refused: Counter::default(),
            connections: Gauge::default(),
            connections_cut: Family::default(),
            requests_limited: Counter::default(),
            reconciled: Counter::default(),
            at_step_seconds: Family::default(),
            unattended: Family::default(),
            escalations_overdue: Counter::default(),
            budget_overruns: Counter::default(),
            firings: Family::default(),
            notifications: Family::default(),
            provider_calls: Family::new_with_constructor(seconds),
            provider_tokens: Family::default(),
            provider_cost: Family::default(),
        };
        let m = &metrics;
        registry.register("jobs", "Jobs by what became of them", m.jobs.clone());
        registry.register("hand_overs", "Hand-over answers", m.hand_overs.clone());
        registry.register("handling_seconds", "Time a handler took", m.handling.clone());
        registry.register("commit_group_jobs", "Jobs of one commit", m.commit_group.clone());
        registry.register("takeovers", "Entries taken over from silent consumers", m.takeovers.clone());
        registry.register("dead_letters", "Dead letters written", m.dead_letters.clone());
        registry.register("held_jobs", "Jobs held now", m.held.clone());
        registry.register("backlog_entries", "Entries in the work stream", m.backlog.clone());
        registry.register("retry_set_entries", "Entries in the retry set", m.retry_set.clone());
        registry.register("oldest_entry_age_seconds", "Age of the oldest entry", m.oldest_seconds.clone());
        registry.register("reading_paused", "1 while reading is paused", m.paused.clone());
        registry.register("events_accepted", "Events accepted", m.events_accepted.clone());
        registry.register("events_refused", "Events refused at the door", m.events_refused.clone());
        registry.register("connections", "Connections the gateway holds", m.connections.clone());
        registry.register("connections_cut", "Connections the gateway ended", m.connections_cut.clone());
        registry.register("requests_limited", "Requests refused for their rate", m.requests_limited.clone());
        registry.register("reconciled_jobs", "Jobs the reconciler added", m.reconciled.clone());
        registry.register("at_step_seconds", "Longest time of a run at a step", m.at_step_seconds.clone());
        registry.register("unattended_jobs", "Due jobs that no live process reads", m.unattended.clone());
        registry.register(
            "escalations_overdue",
            "Escalations past their due time",
            m.escalations_overdue.clone(),
        );
        registry.register(
            "budget_overruns",
            "Runs parked since a budget is used up",
            m.budget_overruns.clone(),
        );
        registry.register("firings", "Firings of triggers by what became of them", m.firings.clone());
        registry.register("notifications", "Notifications by how they ended", m.notifications.clone());
        registry.register(
            "provider_call_seconds",
            "Time a call of a provider took",
            m.provider_calls.clone(),
        );
        registry.register("provider_tokens", "Tokens of prompts and answers", m.provider_tokens.clone());
        registry.register(
            "provider_cost_micros",
            "What providers cost, in millionths",
            m.provider_cost.clone(),
        );
        metrics.registry = Arc::new(registry);
        metrics
    }

    /// The metrics in OpenMetrics text.
    ///
    /// # Errors
    /// Only where formatting fails.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}
