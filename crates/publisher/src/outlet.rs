//! The configured outlets, each behind its gate.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fleet::{Breakers, FILES_OUTLET, Fault};
use model::{EffectResult, Failure, Known, PROVIDER_CALLS, RetryClass, TOOL_CALLS};
use outlets::{Email, Files, Mcp, Outlet, Post, Webhook, Wordpress};
use record::BreakerKind;

use crate::config::{OutletSection, Section};
use crate::gate::Gate;

/// An outlet that can be sent to.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) name: String,
    pub(crate) timeout: Duration,
    pub(crate) outlet: Box<dyn Outlet>,
    pub(crate) gate: Gate,
    breakers: Breakers,
}

/// Opens every configured outlet, by name.
pub(crate) fn open(config: &Section, breakers: &Breakers) -> Result<BTreeMap<String, Open>, Fault> {
    let files = OutletSection {
        timeout: config.timeout,
        files: Some(config.files.clone()),
        ..OutletSection::default()
    };
    let mut sections = config.outlets.clone();
    sections.entry(FILES_OUTLET.to_owned()).or_insert(files);
    let outlets = sections
        .into_iter()
        .map(|(name, section)| {
            let outlet = kind(&name, &section)?;
            let gate = Gate::new(section.per_minute, config.breaker);
            let breakers = breakers.clone();
            Ok((name.clone(), Open { name, timeout: section.timeout, outlet, gate, breakers }))
        })
        .collect::<Result<BTreeMap<_, _>, Fault>>()?;
    default_is_known(config)?;
    Ok(outlets)
}

/// Looks for what [`open`] would refuse, and touches nothing: folders, which `open` makes, are left alone.
pub(crate) fn check(config: &Section) -> Result<(), Fault> {
    for (name, section) in &config.outlets {
        has_one_kind(name, section)?;
        if section.files.is_none() {
            kind(name, section)?;
        }
    }
    default_is_known(config)
}

fn default_is_known(config: &Section) -> Result<(), Fault> {
    let mut known: BTreeSet<&str> = config.outlets.keys().map(String::as_str).collect();
    known.insert(FILES_OUTLET);
    if known.contains(config.outlet.as_str()) {
        return Ok(());
    }
    Err(Fault::usage(format!(
        "publisher.outlet: there is no outlet `{}`; known are {}",
        config.outlet,
        known.into_iter().collect::<Vec<_>>().join(", ")
    )))
}

fn has_one_kind(name: &str, section: &OutletSection) -> Result<(), Fault> {
    if !model::takes_posts(name) {
        return Err(Fault::usage(format!(
            "publisher.outlets.{name}: names that begin with {PROVIDER_CALLS} or {TOOL_CALLS} are those of calls; choose another"
        )));
    }
    let OutletSection { files, webhook, wordpress, email, mcp, .. } = section;
    let given = [files.is_some(), webhook.is_some(), wordpress.is_some(), email.is_some(), mcp.is_some()];
    if given.into_iter().filter(|given| *given).count() == 1 {
        return Ok(());
    }
    Err(Fault::usage(format!(
        "publisher.outlets.{name} needs exactly one of files, webhook, wordpress, email, mcp"
    )))
}

fn kind(name: &str, section: &OutletSection) -> Result<Box<dyn Outlet>, Fault> {
    has_one_kind(name, section)?;
    let OutletSection { files, webhook, wordpress, email, mcp, .. } = section.clone();
    let wrong = |failure: Failure| Fault::usage(format!("publisher.outlets.{name}: {}", failure.reason));
    let mut kinds: Vec<Result<Box<dyn Outlet>, Failure>> = Vec::new();
    kinds.extend(files.map(|config| Files::new(config).map(boxed)));
    kinds.extend(webhook.map(|config| Webhook::new(&config).map(boxed)));
    kinds.extend(wordpress.map(|config| Wordpress::new(config).map(boxed)));
    kinds.extend(email.map(|config| Email::new(&config).map(boxed)));
    kinds.extend(mcp.map(|config| Mcp::new(config, section.timeout).map(boxed)));
    kinds.pop().ok_or_else(|| Fault::bug("an outlet without a kind"))?.map_err(wrong)
}

fn boxed(outlet: impl Outlet + 'static) -> Box<dyn Outlet> {
    Box::new(outlet)
}

impl Open {
    /// Delivers a post and lets the gate know how it went. A sending that nobody waits for any more counts as a failure.
    pub(crate) async fn deliver(&self, post: &Post<'_>) -> EffectResult {
        let mut unanswered = Unanswered { open: self, armed: true };
        let result = self.outlet.deliver(post).await;
        unanswered.armed = false;
        match result {
            EffectResult::NotSent(failure) => EffectResult::NotSent(self.not_sent(failure)),
            EffectResult::Unsettled { reason } => {
                self.failed(None, &reason);
                EffectResult::Unsettled { reason }
            }
            settled => {
                self.answered();
                settled
            }
        }
    }

    /// Asks whether the outlet has a post, and lets the gate know where that was an answer, or none came.
    pub(crate) async fn ask(&self, key: &str) -> Result<Known, Failure> {
        let known = self.outlet.ask(key).await;
        match &known {
            Ok(Known::Delivered { .. } | Known::Absent) => self.answered(),
            // It was not asked.
            Ok(Known::Repeatable | Known::CannotTell) => {}
            Err(failure) => drop(self.not_sent(failure.clone())),
        }
        known
    }

    /// Lets the gate know that the outlet is there, and those who are told of outages.
    pub(crate) fn answered(&self) {
        self.gate.answered();
        self.breakers.closed(BreakerKind::Outlet, &self.name);
    }

    /// An outage of the outlet is no fault of the job: it comes back when the outlet is tried again.
    fn not_sent(&self, failure: Failure) -> Failure {
        let asked = match failure.class {
            RetryClass::Unavailable | RetryClass::Outage => None,
            RetryClass::RetryAfter(pause) => Some(pause),
            RetryClass::Transient
            | RetryClass::Permanent
            | RetryClass::Unreadable
            | RetryClass::Later(_)
            | RetryClass::UnderWay(_)
            | RetryClass::OverBudget(_) => return failure,
        };
        match self.failed(asked, &failure.reason) {
            Some(pause) => Failure::later(pause, failure.reason),
            None => Failure::unavailable(failure.reason),
        }
    }

    /// Lets the gate know, and those who are told of outages. Returns how long the outlet is left alone, where it is.
    fn failed(&self, asked: Option<Duration>, reason: &str) -> Option<Duration> {
        let pause = self.gate.failed(asked);
        if let Some(pause) = pause {
            tracing::warn!(outlet = self.name, ?pause, reason, "the outlet is left alone");
        }
        // A pause that it asked for is no outage.
        if asked.is_none() && self.gate.is_open() {
            self.breakers.opened(BreakerKind::Outlet, &self.name, reason);
        }
        pause
    }
}

struct Unanswered<'a> {
    open: &'a Open,
    armed: bool,
}

impl Drop for Unanswered<'_> {
    fn drop(&mut self) {
        if self.armed {
            self.open.failed(None, "it did not answer in time");
        }
    }
}
