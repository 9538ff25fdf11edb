//! Walks the protocol within each bounds and tells how far it came: `cargo run -p tidemill-protocol --example walk`.

use std::time::Instant;

use stateright::{Checker, Model};
use tidemill_protocol::{Bounds, Protocol};

fn main() {
    let only = std::env::args().nth(1);
    let all = [
        ("whole", Bounds::whole()),
        ("workers", Bounds::workers()),
        ("ledger", Bounds::ledger()),
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
        let checker = Protocol::right(bounds)
            .checker()
            .finish_when(stateright::HasDiscoveries::AnyFailures)
            .spawn_bfs()
            .join();
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
