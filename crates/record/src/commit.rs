//! The commit: a group of runs advances, each by one compare-and-set, in one statement or one transaction.

use std::collections::HashMap;

use model::{Claims, RunId};
use rails::Facts;

use crate::compare_and_set::compare_and_set;
use crate::surroundings::Surroundings;
use crate::{
    Error, Handling, Item, LoadedRun, Record, Route, Routed, Verdict, Won, admission, beyond, claims, extras,
    manifests,
};

impl Record {
    /// Commits a group. One verdict per item, in order.
    ///
    /// Cancellation: dropping the future rolls the transaction back or leaves it committed; either way the
    /// compare-and-set tells afterwards.
    ///
    /// # Errors
    /// [`Error::Sql`] to be retried as a group ([`Handling::RetryGroup`]), or a bug.
    pub async fn commit(&self, items: &[Item], route: &Route<'_>) -> Result<Vec<Verdict>, Error> {
        match self.commit_group(items, 0, route).await {
            Err(error) if error.handling() == Handling::Culprit => self.commit_one_by_one(items, route).await,
            result => result,
        }
    }

    async fn commit_one_by_one(&self, items: &[Item], route: &Route<'_>) -> Result<Vec<Verdict>, Error> {
        let mut verdicts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            match self.commit_group(std::slice::from_ref(item), index, route).await {
                Ok(verdict) => verdicts.extend(verdict),
                Err(error) if error.handling() == Handling::Culprit => {
                    verdicts.push(Verdict::Refused(error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(verdicts)
    }

    async fn commit_group(
        &self,
        items: &[Item],
        first: usize,
        route: &Route<'_>,
    ) -> Result<Vec<Verdict>, Error> {
        if items.iter().any(|item| item.run.memory.is_some()) {
            return self.commit_with_manifests(items, first, route).await;
        }
        let asks = items.iter().any(|item| item.admission.is_some() || item.claims != Claims::default());
        if !asks {
            let facts = Facts::default();
            let routed: Vec<Routed> =
                (first..).zip(items).map(|(index, item)| route(index, &item.run, &facts)).collect();
            if !routed.iter().any(extras::has_any) {
                let mut connection = self.pool.acquire().await.map_err(Error::sql("a connection"))?;
                let won = compare_and_set(&mut connection, items, &routed, &vec![true; items.len()]).await?;
                return Ok(verdicts(routed, &won, &vec![None; items.len()]));
            }
            let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
            let won = compare_and_set(&mut tx, items, &routed, &vec![true; items.len()]).await?;
            extras::write(&mut tx, items, &routed, &won).await?;
            tx.commit().await.map_err(Error::sql("a commit"))?;
            return Ok(verdicts(routed, &won, &vec![None; items.len()]));
        }
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let known = admission::admit_items(&mut tx, items).await?;
        let facts = claims::answer(&mut tx, items, &known).await?;
        let routed: Vec<Routed> = (first..)
            .zip(items)
            .zip(&facts)
            .map(|((index, item), facts)| route(index, &item.run, facts))
            .collect();
        let fresh: Vec<bool> = known.iter().map(Option::is_none).collect();
        let won = compare_and_set(&mut tx, items, &routed, &fresh).await?;
        extras::write(&mut tx, items, &routed, &won).await?;
        tx.commit().await.map_err(Error::sql("a commit"))?;
        Ok(verdicts(routed, &won, &known))
    }

    /// As [`Record::commit_group`], where some of the runs keep a manifest: those come one by one, since what one leaves the
    /// next one finds. The others are advanced together, as ever.
    async fn commit_with_manifests(
        &self,
        items: &[Item],
        first: usize,
        route: &Route<'_>,
    ) -> Result<Vec<Verdict>, Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let known = admission::admit_items(&mut tx, items).await?;
        let mut verdicts: Vec<Verdict> =
            known.iter().map(|known| known.map_or(Verdict::Lost, Verdict::Known)).collect();
        let (keepers, plain): (Vec<usize>, Vec<usize>) = (0..items.len())
            .filter(|index| known[*index].is_none())
            .partition(|index| items[*index].run.memory.is_some());
        let mut kept = manifests::lock(&mut tx, keepers.iter().map(|index| &items[*index].run)).await?;
        let facts = claims::answer(&mut tx, items, &known).await?;
        let (some, routed): (Vec<&Item>, Vec<Routed>) = plain
            .iter()
            .map(|index| (&items[*index], route(first + index, &items[*index].run, &facts[*index])))
            .unzip();
        if !some.is_empty() {
            let won = compare_and_set(&mut tx, &some, &routed, &vec![true; some.len()]).await?;
            extras::write(&mut tx, &some, &routed, &won).await?;
            for ((index, routed), won) in plain.into_iter().zip(routed).zip(won) {
                if let Some(seq) = won {
                    verdicts[index] = Verdict::Won(Won::plain(seq, routed));
                }
            }
        }
        let mut counting = Vec::new();
        for index in keepers {
            let item = &items[index];
            // Of several items of one run the later ones find what the earlier ones left.
            let mut again = HashMap::new();
            if !kept.contains_key(&item.run.run) {
                again = manifests::lock(&mut tx, std::iter::once(&item.run)).await?;
            }
            let found = kept.remove(&item.run.run).or_else(|| again.remove(&item.run.run));
            let Some(found) = found.filter(|found| beyond::stands(item, found)) else { continue };
            let mut surroundings = match items.len() {
                1 => Surroundings::alone(&self.policies, &item.run),
                _ => Surroundings::in_company(&self.policies, &item.run),
            };
            let mut chosen =
                |run: &LoadedRun, facts: &Facts| Ok::<_, Error>(route(first + index, run, facts));
            let given = facts[index].clone();
            match surroundings.route(&mut tx, item, &found, given, &mut chosen).await? {
                None => counting.push(index),
                Some(routed) => {
                    if let Some(won) = beyond::advance(&mut tx, item, routed, &found, &surroundings).await? {
                        verdicts[index] = Verdict::Won(won);
                    }
                }
            }
        }
        tx.commit().await.map_err(Error::sql("a commit"))?;
        for index in counting {
            let chosen = |run: &LoadedRun, facts: &Facts| route(first + index, run, facts);
            if let Some(won) = self.commit_counting(&items[index], &facts[index], chosen).await? {
                verdicts[index] = Verdict::Won(won);
            }
        }
        Ok(verdicts)
    }

    /// An item that counts under locks which are common to a tenant has a transaction of its own: so all take those locks in
    /// one order, and hold them only briefly.
    async fn commit_counting(
        &self,
        item: &Item,
        facts: &Facts,
        route: impl Fn(&LoadedRun, &Facts) -> Routed,
    ) -> Result<Option<Won>, Error> {
        let mut tx = self.pool.begin().await.map_err(Error::sql("a transaction"))?;
        let mut kept = manifests::lock(&mut tx, std::iter::once(&item.run)).await?;
        let Some(found) = kept.remove(&item.run.run).filter(|found| beyond::stands(item, found)) else {
            return Ok(None);
        };
        let mut surroundings = Surroundings::alone(&self.policies, &item.run);
        let mut chosen = |run: &LoadedRun, facts: &Facts| Ok::<_, Error>(route(run, facts));
        let routed = surroundings.route(&mut tx, item, &found, facts.clone(), &mut chosen).await?;
        let Some(routed) = routed else { return Ok(None) };
        let won = beyond::advance(&mut tx, item, routed, &found, &surroundings).await?;
        if won.is_some() {
            tx.commit().await.map_err(Error::sql("a commit"))?;
        }
        Ok(won)
    }
}

fn verdicts(routed: Vec<Routed>, won: &[Option<i32>], known: &[Option<RunId>]) -> Vec<Verdict> {
    routed
        .into_iter()
        .zip(won)
        .zip(known)
        .map(|((routed, won), known)| match (known, won) {
            (Some(run), _) => Verdict::Known(*run),
            (None, Some(seq)) => Verdict::Won(Won::plain(*seq, routed)),
            (None, None) => Verdict::Lost,
        })
        .collect()
}
