use std::sync::Mutex;

use super::*;

const NOW: i64 = 1_800_000_000;
const CONFIG: WindowConfig =
    WindowConfig { max_age: Duration::from_secs(1_000_000), max_count: 100_000, dimensions: 384 };

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(NOW + second, 0).unwrap()
}

fn store(config: WindowConfig) -> Embedded {
    Embedded::with_clock(config, Arc::new(|| at(0)))
}

/// A direction that depends on the seed alone (xorshift64*).
fn direction(seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    let mut vector: Vec<f32> = (0..384).map(|_| next()).collect();
    assert!(crate::embedder::normalise(&mut vector));
    vector
}

fn entry(n: u64) -> Entry {
    Entry {
        id: Uuid::from_u128(u128::from(n)),
        run_id: Uuid::from_u128(u128::from(n)),
        tenant: "acme".to_owned(),
        model: "m".to_owned(),
        received_at: at(-1),
        vector: direction(n),
    }
}

fn query(vector: &[f32]) -> Query<'_> {
    Query { tenant: "acme", model: "m", vector, k: 3, before: None }
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// `a` turned towards `b` so far that the cosine with `a` is `similarity`.
fn turned(a: &[f32], b: &[f32], similarity: f32) -> Vec<f32> {
    let along = cosine(a, b);
    let mut across: Vec<f32> = a.iter().zip(b).map(|(x, y)| y - along * x).collect();
    assert!(crate::embedder::normalise(&mut across));
    let sine = (1.0 - similarity * similarity).sqrt();
    a.iter().zip(&across).map(|(x, y)| similarity * x + sine * y).collect()
}

fn ids(found: &[Neighbour]) -> Vec<u128> {
    found.iter().map(|neighbour| neighbour.id.as_u128()).collect()
}

#[tokio::test]
async fn quantised_similarities_are_close_enough_for_duplicate_thresholds() {
    let store = store(CONFIG);
    let mut worst = 0.0_f32;
    for n in 0..400_u64 {
        let base = direction(n);
        let exact = 0.90 + 0.10 * (n as f32 / 400.0);
        let near = Entry { vector: turned(&base, &direction(n + 10_000), exact), ..entry(n) };
        store.upsert(std::slice::from_ref(&near)).await.unwrap();
        let found = store.nearest(query(&base)).await.unwrap();
        assert_eq!(found[0].id, near.id);
        worst = worst.max((found[0].similarity - cosine(&base, &near.vector)).abs());
    }
    println!("worst error {worst}");
    assert!(worst < 0.01, "{worst}");
}

#[tokio::test]
async fn equal_vectors_have_similarity_one() {
    let store = store(CONFIG);
    store.upsert(&[entry(1)]).await.unwrap();
    let found = store.nearest(query(&direction(1))).await.unwrap();
    assert!((found[0].similarity - 1.0).abs() < 1e-5, "{found:?}");
    assert_eq!((found[0].run_id, found[0].received_at), (entry(1).run_id, at(-1)));
}

#[tokio::test]
async fn the_nearest_are_those_that_an_exact_search_finds() {
    // Enough to be scanned on another thread.
    let entries: Vec<Entry> = (0..SCAN_IN_PLACE as u64 + 500).map(entry).collect();
    let store = store(CONFIG);
    store.upsert(&entries).await.unwrap();
    for seed in 0..20 {
        let wanted = direction(1_000_000 + seed);
        let found = store.nearest(Query { k: 10, ..query(&wanted) }).await.unwrap();
        let mut exact: Vec<f32> = entries.iter().map(|e| cosine(&wanted, &e.vector)).collect();
        exact.sort_by(|a, b| b.total_cmp(a));
        assert_eq!(found.len(), 10);
        for (neighbour, exact) in found.iter().zip(&exact) {
            assert!((neighbour.similarity - exact).abs() < 0.01);
        }
        assert!(found.is_sorted_by(|a, b| a.similarity >= b.similarity));
    }
}

#[tokio::test]
async fn other_tenants_and_other_models_are_never_found() {
    let store = store(CONFIG);
    let other_tenant = Entry { tenant: "rival".to_owned(), ..entry(1) };
    let other_model = Entry { model: "other".to_owned(), id: Uuid::from_u128(2), ..entry(1) };
    store.upsert(&[other_tenant, other_model]).await.unwrap();
    let vector = direction(1);
    assert_eq!(store.nearest(query(&vector)).await.unwrap(), []);
    let rival = store.nearest(Query { tenant: "rival", ..query(&vector) }).await.unwrap();
    assert_eq!(ids(&rival), [1]);
    let other = store.nearest(Query { model: "other", ..query(&vector) }).await.unwrap();
    assert_eq!(ids(&other), [2]);
}

#[tokio::test]
async fn only_earlier_entries_are_found_by_time_then_run() {
    let store = store(CONFIG);
    let same = |n: u64, second: i64| Entry { received_at: at(second), vector: direction(7), ..entry(n) };
    store.upsert(&[same(1, -30), same(2, -20), same(3, -20), same(4, -10)]).await.unwrap();
    let vector = direction(7);
    let before =
        |second, run| Query { before: Some((at(second), Uuid::from_u128(run))), k: 9, ..query(&vector) };
    assert_eq!(ids(&store.nearest(before(-20, 3)).await.unwrap()), [1, 2]);
    assert_eq!(ids(&store.nearest(before(-20, 2)).await.unwrap()), [1]);
    assert_eq!(ids(&store.nearest(before(-30, 1)).await.unwrap()), []);
    // Equally near: the earliest first, whichever way k cuts.
    assert_eq!(ids(&store.nearest(Query { k: 2, ..query(&vector) }).await.unwrap()), [1, 2]);
    assert_eq!(ids(&store.nearest(Query { k: 0, ..query(&vector) }).await.unwrap()), []);
}

#[tokio::test]
async fn the_same_id_again_replaces() {
    let store = store(CONFIG);
    store.upsert(&[entry(1), entry(2)]).await.unwrap();
    let moved = Entry { vector: direction(50), tenant: "rival".to_owned(), ..entry(1) };
    store.upsert(&[moved.clone(), moved]).await.unwrap();
    assert_eq!(store.len().await.unwrap(), 2);
    assert_eq!(ids(&store.nearest(query(&direction(1))).await.unwrap()), [2]);
    let vector = direction(50);
    let rival = store.nearest(Query { tenant: "rival", ..query(&vector) }).await.unwrap();
    assert!(rival[0].similarity > 0.999);
}

#[tokio::test]
async fn removal_forgets_those_and_keeps_the_rest_findable() {
    let store = store(CONFIG);
    // More than one block, so that the last entry moves between blocks.
    let entries: Vec<Entry> = (0..1_500).map(entry).collect();
    store.upsert(&entries).await.unwrap();
    let gone: Vec<Uuid> = (0..1_500).filter(|n| n % 3 == 0).map(Uuid::from_u128).collect();
    store.remove(&gone).await.unwrap();
    store.remove(&gone).await.unwrap();
    assert_eq!(store.len().await.unwrap(), 1_000);
    for n in 0..1_500_u64 {
        let found = store.nearest(Query { k: 1, ..query(&direction(n)) }).await.unwrap();
        assert_eq!(ids(&found) == [u128::from(n)], n % 3 != 0, "{n}");
    }
    store.remove(&entries.iter().map(|e| e.id).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(store.len().await.unwrap(), 0);
}

#[tokio::test]
async fn the_oldest_leave_when_there_are_too_many() {
    let store = store(WindowConfig { max_count: 100, ..CONFIG });
    let aged = |n: u64| Entry { received_at: at(n as i64 - 1_000), ..entry(n) };
    for n in 0..300 {
        store.upsert(&[aged(n)]).await.unwrap();
        assert!(store.len().await.unwrap() <= 100);
    }
    assert!(store.len().await.unwrap() >= 98);
    let newest = store.nearest(query(&direction(299))).await.unwrap();
    assert_eq!(newest[0].id.as_u128(), 299);
    let oldest = store.nearest(query(&direction(0))).await.unwrap();
    assert!(oldest.iter().all(|found| found.id.as_u128() >= 200), "{oldest:?}");
}

#[tokio::test]
async fn what_is_too_old_is_not_found_and_leaves() {
    let now = Arc::new(Mutex::new(at(0)));
    let clock = Arc::clone(&now);
    let config = WindowConfig { max_age: Duration::from_secs(100), max_count: 640, ..CONFIG };
    let store = Embedded::with_clock(config, Arc::new(move || *clock.lock().unwrap()));
    let entries: Vec<Entry> = (0..50).map(entry).collect();
    store.upsert(&entries).await.unwrap();
    *now.lock().unwrap() = at(99);
    assert_eq!(ids(&store.nearest(query(&direction(1))).await.unwrap())[0], 1);
    *now.lock().unwrap() = at(100);
    assert_eq!(store.nearest(query(&direction(1))).await.unwrap(), []);
    *now.lock().unwrap() = at(102);
    store.upsert(&[Entry { received_at: at(99), ..entry(99) }]).await.unwrap();
    assert_eq!(store.len().await.unwrap(), 1);
    assert_eq!(ids(&store.nearest(query(&direction(99))).await.unwrap()), [99]);
}

#[tokio::test]
async fn a_bad_vector_is_refused_and_its_neighbours_are_taken() {
    let store = store(CONFIG);
    for bad in [vec![1.0; 383], vec![], vec![0.0; 384], vec![f32::NAN; 384]] {
        let entries = [entry(1), Entry { vector: bad.clone(), ..entry(2) }, entry(3)];
        let taken = store.upsert(&entries).await.unwrap();
        assert_eq!((taken.len(), &taken[0], &taken[2]), (3, &Ok(()), &Ok(())));
        assert_eq!(taken[1].as_ref().unwrap_err().class(), crate::Class::Permanent);
        assert!(store.nearest(query(&bad)).await.is_err());
    }
    assert_eq!(store.len().await.unwrap(), 2);
}

#[tokio::test]
async fn memory_stays_within_what_the_documentation_says() {
    let store = store(CONFIG);
    let entries: Vec<Entry> = (0..20_000).map(entry).collect();
    store.upsert(&entries).await.unwrap();
    let each = store.memory_bytes() as f64 / 20_000.0;
    // One block may stand nearly empty: 450 KB over 20,000 entries are 23 bytes.
    assert!((432.0..488.0 + 23.0).contains(&each), "{each} bytes an entry");
    let before = store.memory_bytes();
    store.remove(&entries.iter().map(|e| e.id).collect::<Vec<_>>()).await.unwrap();
    assert!(store.memory_bytes() < before / 10, "memory is given back");
}

#[tokio::test]
async fn readers_and_writers_meet_without_losing_anything() {
    let store = store(CONFIG);
    let writers = (0..4_u64).map(|writer| {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..200 {
                store.upsert(&[entry(writer * 1_000 + n)]).await.unwrap();
                let vector = direction(writer * 1_000 + n);
                let found = store.nearest(query(&vector)).await.unwrap();
                assert_eq!(found[0].id.as_u128(), u128::from(writer * 1_000 + n));
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    assert_eq!(store.len().await.unwrap(), 800);
}
