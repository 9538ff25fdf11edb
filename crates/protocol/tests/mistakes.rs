//! Each mistake is found, by the property that it breaks: so the checker would find others.

use stateright::{Checker, HasDiscoveries, Model};
use tidemill_protocol::{Bounds, Mistake, OF_THE_CODE, OutletKind, Protocol, names};

/// Asserts that a walk within these bounds, which the right protocol survives, breaks this property.
fn finds(mistake: Mistake, bounds: Bounds, property: &'static str) {
    let wrong = Protocol::wrong(bounds, &[mistake]);
    let when = HasDiscoveries::AnyOf([property].into());
    let checker = wrong.checker().finish_when(when).spawn_bfs().join();
    let trace =
        checker.discovery(property).unwrap_or_else(|| panic!("{mistake:?} breaks nothing: {property}"));
    let actions = trace.into_actions();
    eprintln!("{mistake:?} breaks `{property}` in {} steps: {actions:?}", actions.len());
}

#[test]
fn an_acknowledgement_before_the_next_job_is_added_loses_it() {
    finds(Mistake::AckBeforeAdd, Bounds::whole(), names::SOMEWHERE);
}

#[test]
fn without_a_fence_a_zombie_deletes_what_another_died_with() {
    finds(Mistake::NoFence, Bounds::workers(), names::SOMEWHERE);
}

#[test]
fn a_hand_over_before_the_commit_runs_ahead_of_the_record() {
    finds(Mistake::HandOverBeforeCommit, Bounds::whole(), names::SOMEWHERE);
}

#[test]
fn a_commit_that_does_not_compare_advances_a_run_twice() {
    finds(Mistake::NoCompareAndSet, Bounds::whole(), names::ONCE);
}

#[test]
fn a_takeover_that_counts_no_delivery_loses_what_was_committed_before_a_crash() {
    finds(Mistake::TakeoverUncounted, Bounds::whole(), names::SOMEWHERE);
}

#[test]
fn what_is_given_back_as_new_is_lost_where_it_was_committed() {
    finds(Mistake::GivenBackAsNew, Bounds::whole(), names::SOMEWHERE);
}

#[test]
fn a_deletion_by_a_later_delivery_than_it_was_decided_by_loses_the_job() {
    finds(Mistake::DeletionByLaterDelivery, Bounds::workers(), names::SOMEWHERE);
}

#[test]
fn a_stale_claim_that_only_deletes_its_entry_loses_the_job() {
    finds(Mistake::StaleClaimDeletes, Bounds::ledger(), names::SOMEWHERE);
}

#[test]
fn a_row_that_is_written_after_sending_lets_a_post_go_out_twice() {
    finds(Mistake::SentAfterSending, Bounds::whole(), names::ONE_POST);
}

#[test]
fn an_overdue_row_that_is_sent_again_unasked_lets_a_post_go_out_twice() {
    finds(Mistake::BlindResend, Bounds::whole(), names::ONE_POST);
}

#[test]
fn a_claim_that_looks_for_no_approval_publishes_what_nobody_approved() {
    finds(Mistake::ClaimWithoutApproval, Bounds::rewriting(), names::APPROVED);
}

#[test]
fn a_claim_that_does_not_compare_the_run_is_made_for_one_that_ended() {
    finds(Mistake::ClaimWithoutSeq, Bounds::whole(), names::CLAIMED);
}

#[test]
fn a_late_confirmation_that_is_dropped_leaves_a_delivered_post_unknown() {
    finds(Mistake::LateAnswerDropped, Bounds::ledger(), names::CONFIRMED);
}

#[test]
fn a_cancellation_that_ignores_the_ledger_ends_a_run_whose_post_is_under_way() {
    finds(Mistake::CancelWithoutLedger, Bounds::whole(), names::LEDGER);
}

#[test]
fn a_decision_that_does_not_compare_moves_on_a_run_that_another_decided() {
    finds(Mistake::ResumeWithoutCompareAndSet, Bounds::whole(), names::ONCE);
}

#[test]
fn a_wake_up_that_is_acknowledged_first_is_lost_with_the_planner() {
    finds(Mistake::WakeUpAcknowledgedFirst, Bounds::decisions(), names::SOMEWHERE);
}

#[test]
fn silence_that_counts_as_leave_approves() {
    finds(Mistake::SilenceApproves, Bounds::whole(), names::SPOKEN);
}

#[test]
fn a_letter_in_another_transaction_than_the_death_may_never_be_written() {
    finds(Mistake::LetterAfterDeath, Bounds::whole(), names::LETTER);
}

#[test]
fn a_reconciler_that_does_not_compare_adds_what_is_there() {
    finds(Mistake::ReconcilerWithoutCompare, Bounds::whole(), names::MISSING);
}

#[test]
fn a_reconciler_that_reads_the_retries_last_misses_one_that_is_promoted_meanwhile() {
    finds(Mistake::RetriesReadLast, Bounds::whole(), names::MISSING);
}

#[test]
fn without_a_reconciler_a_redis_that_forgets_ends_no_run() {
    finds(Mistake::NobodyReconciles, Bounds::whole(), names::SETTLES);
}

#[test]
fn a_row_that_nobody_gives_up_stays_sent_for_ever() {
    finds(Mistake::RowsLeftSent, Bounds::ledger(), names::SETTLES);
}

#[test]
fn an_answer_about_a_post_that_settles_the_ledger_alone_leaves_the_run_waiting() {
    finds(Mistake::SettledAlone, Bounds::ledger(), names::SETTLES);
}

#[test]
fn two_who_settle_by_a_chain_that_grew_send_on_and_on_what_is_refused() {
    let refusing = Bounds { outlets: vec![OutletKind::Refuses], ..Bounds::ledger() };
    finds(Mistake::SettledByChain, refusing, names::BOUNDED);
}

#[test]
fn a_row_that_was_taken_over_and_is_withdrawn_takes_along_what_its_first_sender_hears() {
    let deduplicates = Bounds::slow_senders(OutletKind::Deduplicates);
    finds(Mistake::ReclaimedRowWithdrawn, deduplicates, names::CONFIRMED);
}

#[test]
fn a_row_that_vanished_while_its_outlet_was_asked_leaves_a_question_without_a_row() {
    finds(Mistake::VanishedRowSettled, Bounds::slow_senders(OutletKind::CannotTell), names::SETTLES);
}

#[test]
fn a_job_that_is_added_anew_is_deleted_where_a_zombie_moved_the_run_on() {
    finds(Mistake::RequeuedAsNew, Bounds::slow_senders(OutletKind::CannotTell), names::SOMEWHERE);
}

#[test]
fn the_code_as_it_is_advances_once_and_publishes_nothing_twice_and_nothing_unapproved() {
    for outlet in [OutletKind::CannotTell, OutletKind::Tells, OutletKind::Deduplicates] {
        let bounds = Bounds { outlets: vec![outlet], ..Bounds::ledger() };
        let checker = Protocol::wrong(bounds, &OF_THE_CODE).checker().threads(2).spawn_dfs().join();
        let kept = [
            names::ONCE,
            names::ONE_POST,
            names::APPROVED,
            names::SPOKEN,
            names::CLAIMED,
            names::LEDGER,
            names::LETTER,
        ];
        for name in kept {
            checker.assert_no_discovery(name);
        }
        assert!(checker.unique_state_count() > 10_000, "{} states", checker.unique_state_count());
    }
}
