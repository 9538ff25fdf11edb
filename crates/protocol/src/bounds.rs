//! How far the protocol is walked.

use crate::{FaultKind, OutletKind, Step};

/// How far the protocol is walked. Every walk of so many faults is taken, whatever their order and place.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// The step that the run begins at; at `publish` its content is approved.
    pub begins: Step,
    /// Whether a step after `judge` makes another content of what was approved.
    pub rewrites: bool,
    /// The outlets that it may have.
    pub outlets: Vec<OutletKind>,
    /// Whether a person may cancel it.
    pub cancels: bool,
    /// After so many deliveries a job is poison.
    pub most_deliveries: u8,
    /// Faults that happen in one walk, at most.
    pub faults: u8,
    /// Which faults may happen.
    pub kinds: Vec<FaultKind>,
}

impl Bounds {
    /// The whole way of a run, and any one fault.
    #[must_use]
    pub fn whole() -> Self {
        use FaultKind::*;
        Self {
            begins: Step::Judge,
            rewrites: false,
            outlets: vec![OutletKind::CannotTell, OutletKind::Refuses],
            cancels: true,
            most_deliveries: 2,
            faults: 1,
            kinds: vec![
                Crash,
                Stop,
                Slow,
                LostReply,
                Failure,
                Silence,
                PlannerDies,
                GatewayDies,
                Forget,
                Strand,
            ],
        }
    }

    /// Workers who die, stop, are slow and do not hear what became of their calls.
    #[must_use]
    pub fn workers() -> Self {
        use FaultKind::*;
        let kinds = vec![Crash, Stop, Slow, LostReply, Failure];
        Self { cancels: false, outlets: vec![OutletKind::Deduplicates], faults: 2, kinds, ..Self::whole() }
    }

    /// The effect outside, with any outlet.
    #[must_use]
    pub fn ledger() -> Self {
        use FaultKind::*;
        let outlets =
            vec![OutletKind::CannotTell, OutletKind::Tells, OutletKind::Deduplicates, OutletKind::Refuses];
        let kinds = vec![Crash, Slow, LostReply, Failure, Silence];
        Self { begins: Step::Publish, outlets, cancels: false, faults: 2, kinds, ..Self::whole() }
    }

    /// The effect outside, sent by workers that are slow and fail, and looked at more deeply.
    #[must_use]
    pub fn slow_senders(outlet: OutletKind) -> Self {
        let kinds = vec![FaultKind::Slow, FaultKind::Failure];
        Self { outlets: vec![outlet], faults: 3, kinds, ..Self::ledger() }
    }

    /// A Redis that forgets, while processes die.
    #[must_use]
    pub fn forgetting() -> Self {
        use FaultKind::*;
        let kinds = vec![Crash, Forget, Older];
        Self { outlets: vec![OutletKind::Tells], kinds, ..Self::ledger() }
    }

    /// People who decide, while whoever carries out what they decided dies.
    #[must_use]
    pub fn decisions() -> Self {
        use FaultKind::*;
        let kinds = vec![PlannerDies, GatewayDies, Forget];
        Self { outlets: vec![OutletKind::Tells], faults: 3, kinds, ..Self::whole() }
    }

    /// A workflow that changes what was approved.
    #[must_use]
    pub fn rewriting() -> Self {
        Self { rewrites: true, kinds: vec![FaultKind::Crash], ..Self::whole() }
    }
}
