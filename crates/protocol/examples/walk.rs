//! Walks the protocol and tells how far it came: `cargo run -p tidemill-protocol --example walk [BOUNDS [FAULTS]]`. More
//! faults than the tests take want minutes, and gigabytes.

#![expect(clippy::print_stdout, reason = "what it tells is its output")]

use std::time::Instant;

use stateright::{Checker, Model};
use tidemill_protocol::{Bounds, OutletKind, Protocol};

fn main() {
    let only = std::env::args().nth(1);
    let all = [
        ("whole", Bounds::whole()),
        ("workers", Bounds::workers()),
        ("ledger", Bounds::ledger()),
        ("slow senders, cannot tell", Bounds::slow_senders(OutletKind::CannotTell)),
        ("slow senders, deduplicates", Bounds::slow_senders(OutletKind::Deduplicates)),
        ("forgetting", Bounds::forgetting()),
        ("decisions", Bounds::decisions()),
        ("rewriting", Bounds::rewriting()),
    ];
    for (name, mut bounds) in all {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        if let Some(faults) = std::env::args().nth(2).and_then(|n| n.parse().ok()) {
            bounds.faults = faults;
        }
        let began = Instant::now();
        let checker = Protocol::right(bounds).checker().threads(2).spawn_dfs().join();
        println!(
            "{name}: {} states, depth {}, {:?}",
            checker.unique_state_count(),
            checker.max_depth(),
            began.elapsed()
        );
        for property in checker.model().properties() {
            let found = checker.discovery(property.name);
            if found.is_some() == property.expectation.discovery_is_failure() {
                println!("  {}: {}", property.name, if found.is_some() { "BROKEN" } else { "not seen" });
                if let Some(trace) = found {
                    println!("    {:?}", trace.into_actions());
                }
            }
        }
    }
}
