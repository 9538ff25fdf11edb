//! Budgets beyond the run: reserved before a call, settled after it.

use std::time::Duration;

use model::{RunId, Usage};
use rails::{Budget, BudgetScope};
use record::Spender;
use uuid::Uuid;

use crate::corridors::Standing;

fn tokens(tokens: u64) -> Budget {
    Budget { tokens: Some(tokens), ..Budget::default() }
}

fn spender(run: RunId) -> Spender<'static> {
    Spender { run, branch: 0, tenant: "acme", intent: Uuid::nil() }
}

fn used(tokens_in: u64, tokens_out: u64) -> Usage {
    Usage { tokens_in, tokens_out, ..Usage::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_eight_calls_at_once_only_those_begin_for_which_there_is_budget() {
    let fleet = Standing::start().await;
    let runs: Vec<RunId> = (0..8).map(|_| fleet.run("acme")).collect();
    let limits = [(BudgetScope::Day, tokens(10)), (BudgetScope::Tenant, tokens(1000))];
    let asked: Vec<_> = runs
        .iter()
        .map(|run| {
            let (record, run) = (fleet.record.clone(), *run);
            tokio::spawn(async move { record.reserve_spending(&spender(run), &tokens(2), &limits).await })
        })
        .collect();
    let (mut granted, mut refused) = (Vec::new(), Vec::new());
    for (run, asked) in runs.iter().zip(asked) {
        match asked.await.unwrap().unwrap() {
            Ok(()) => granted.push(*run),
            Err(overrun) => refused.push((*run, overrun)),
        }
    }
    assert_eq!(granted.len(), 5);
    let (late, overrun) = &refused[0];
    assert_eq!(
        (overrun.scope, overrun.what, overrun.limit, overrun.reserved),
        (BudgetScope::Day, "tokens", 10, 10)
    );

    // What was reserved and not spent is there again; what an ended run reserved, too.
    fleet.record.settle_spending(&spender(granted[0]), &used(1, 0)).await.unwrap();
    let reserve = async |run: RunId, amount: u64| {
        fleet.record.reserve_spending(&spender(run), &tokens(amount), &limits).await.unwrap()
    };
    assert_eq!(reserve(*late, 2).await.unwrap_err().spent, 1);
    assert_eq!(reserve(*late, 1).await, Ok(()));
    assert_eq!(reserve(*late, 1).await, Ok(()), "one's own reservation is not in one's way");
    fleet.sql(&format!("UPDATE runs SET state = 'cancelled' WHERE run_id = '{}'", granted[1]));
    assert_eq!(reserve(refused[1].0, 2).await, Ok(()));
    assert!(reserve(refused[2].0, 0).await.is_err(), "where nothing is left, nothing begins");
}

#[tokio::test]
async fn each_scope_counts_for_itself_and_what_was_spent_is_charged_whatever_was_reserved() {
    let fleet = Standing::start().await;
    let run = fleet.run("acme");
    let (one, other) = (spender(run), Spender { intent: Uuid::max(), ..spender(run) });
    let spent = Usage { tokens_in: 3, tokens_out: 4, cost_micros: 50, millis: 2000 };
    fleet.record.settle_spending(&one, &spent).await.unwrap();
    fleet.record.settle_spending(&one, &spent).await.unwrap();
    let refused = async |spender: &Spender<'_>, scope: BudgetScope, limit: Budget| {
        fleet.record.reserve_spending(spender, &Budget::default(), &[(scope, limit)]).await.unwrap().err()
    };
    for scope in [BudgetScope::Day, BudgetScope::Intent, BudgetScope::Tenant] {
        assert_eq!(refused(&one, scope, tokens(14)).await.unwrap().spent, 14, "{scope:?}");
        assert_eq!(refused(&one, scope, tokens(15)).await, None, "{scope:?}");
        let cost = Budget { cost_micros: Some(100), ..Budget::default() };
        assert_eq!(refused(&one, scope, cost).await.unwrap().what, "cost");
        let time = Budget { time: Some(Duration::from_secs(4)), ..Budget::default() };
        assert_eq!(refused(&one, scope, time).await.unwrap().what, "time");
        assert_eq!(refused(&one, scope, Budget::default()).await, None, "what is not bounded");
    }
    assert_eq!(refused(&other, BudgetScope::Intent, tokens(1)).await, None, "another intent");
    assert!(refused(&other, BudgetScope::Tenant, tokens(1)).await.is_some());
    let elsewhere = Spender { tenant: "elsewhere", ..one };
    assert_eq!(refused(&elsewhere, BudgetScope::Tenant, tokens(1)).await, None);
    fleet.sql("UPDATE spending SET subject = '2026-01-01' WHERE scope = 'day'");
    assert_eq!(refused(&one, BudgetScope::Day, tokens(1)).await, None, "a new day");
}

#[tokio::test]
async fn what_branches_reserve_is_counted_apart_and_huge_amounts_do_not_wrap() {
    let fleet = Standing::start().await;
    let run = fleet.run("acme");
    let limits = [(BudgetScope::Tenant, tokens(10))];
    let branch = |branch: i32| Spender { branch, ..spender(run) };
    let reserve = async |number: i32, amount: u64| {
        fleet.record.reserve_spending(&branch(number), &tokens(amount), &limits).await.unwrap()
    };
    assert_eq!(reserve(1, 6).await, Ok(()));
    assert_eq!(reserve(2, 6).await.unwrap_err().reserved, 6);
    assert_eq!(reserve(2, 4).await, Ok(()));
    assert!(reserve(3, u64::MAX).await.is_err());
    fleet.record.settle_spending(&branch(1), &used(u64::MAX, 0)).await.unwrap();
    fleet.record.settle_spending(&branch(1), &used(1, 0)).await.unwrap();
    assert_eq!(reserve(1, 1).await.unwrap_err().spent, i64::MAX as u64);
}
