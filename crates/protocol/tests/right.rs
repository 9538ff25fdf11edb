//! The right protocol keeps every property in every state within its bounds.

use std::collections::BTreeSet;

use stateright::{Checker, Model};
use tidemill_protocol::{Bounds, OutletKind, Protocol, examples};

/// Asserts that no property is broken in any state, and that there are at least so many: a walk that stops short proves
/// nothing.
fn holds(bounds: Bounds, at_least: usize) {
    let checker = Protocol::right(bounds).checker().threads(2).spawn_dfs().join();
    for property in checker.model().properties() {
        if let Some(trace) = checker.discovery(property.name) {
            panic!("`{}` is broken by {:#?}", property.name, trace.into_actions());
        }
    }
    let states = checker.unique_state_count();
    eprintln!("{states} states, {} steps deep", checker.max_depth());
    assert!(states >= at_least, "{states} states are fewer than there were: {at_least}");
}

#[test]
fn a_run_survives_any_fault_on_its_whole_way() {
    holds(Bounds::whole(), 240_000);
}

#[test]
fn a_run_survives_workers_that_die_stop_and_are_slow() {
    holds(Bounds::workers(), 750_000);
}

#[test]
fn a_post_goes_out_once_whatever_its_outlet_can_tell() {
    holds(Bounds::ledger(), 500_000);
}

#[test]
fn a_post_goes_out_once_however_slow_its_senders_are() {
    holds(Bounds::slow_senders(OutletKind::CannotTell), 900_000);
    holds(Bounds::slow_senders(OutletKind::Deduplicates), 200_000);
}

#[test]
fn a_run_survives_a_redis_that_forgets() {
    holds(Bounds::forgetting(), 1000);
}

#[test]
fn a_decision_is_carried_out_once_whoever_dies() {
    holds(Bounds::decisions(), 180_000);
}

#[test]
fn nothing_is_published_that_was_changed_after_its_approval() {
    holds(Bounds::rewriting(), 44_000);
}

#[test]
fn the_walk_comes_across_everything_that_can_happen() {
    let walks = [Bounds::whole(), Bounds::ledger()];
    let seen: BTreeSet<&str> = walks.into_iter().flat_map(seen_within).collect();
    let unseen: Vec<&str> =
        examples().iter().map(|property| property.name).filter(|name| !seen.contains(name)).collect();
    assert!(unseen.is_empty(), "never seen: {unseen:?}");
}

fn seen_within(bounds: Bounds) -> Vec<&'static str> {
    let checker = Protocol::shown(bounds).checker().target_state_count(400_000).spawn_bfs().join();
    checker.discoveries().into_keys().collect()
}
