//! Records come again after a crash, in batches that are cut elsewhere, and two cores' batches mix:
//! whatever the order, the store ends with the same rows, and says what the contract's model says.

mod history;

use embedded::Embedded;
use history::{History, Random, Readable, conv, dump};
use persistence::{Backend, Batch, MemoryStore, Record};
use proptest::prelude::*;
use wire::UserId;

/// The records in batches of 1 to 12; a record may be split between the two homes' batches.
fn batches(records: &[Record<'static>], random: &mut Random) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut left = records;
    while !left.is_empty() {
        let (some, others) = left.split_at(left.len().min(1 + random.below(12) as usize));
        left = others;
        let [low, _] = conv().participants();
        let homes: [&dyn Fn(UserId) -> bool; 2] = [&|user| user == low, &|user| user != low];
        let split = random.one_in(2);
        let parts = if split { &homes[..] } else { &[&(|_| true) as &dyn Fn(UserId) -> bool] };
        for mine in parts {
            let mut batch = Batch::default();
            some.iter().for_each(|record| batch.add(record, mine));
            batches.push(batch);
        }
    }
    batches
}

fn shuffled<T>(mut things: Vec<T>, random: &mut Random) -> Vec<T> {
    for index in (1..things.len()).rev() {
        things.swap(index, random.below(index as u64 + 1) as usize);
    }
    things
}

fn memory(batches: &[Batch]) -> Vec<String> {
    let mut store = MemoryStore::default();
    batches.iter().for_each(|batch| store.write(batch, || true));
    dump(&store)
}

fn embedded(batches: &[Batch], random: &mut Random) -> Vec<String> {
    let directory = tempfile::tempdir().expect("a directory");
    let open = || Embedded::open(directory.path(), 1 << 20).expect("opens");
    let mut store = open();
    for batch in batches {
        for _ in 0..1 + random.below(2) {
            store.write(batch).expect("written");
        }
        if random.one_in(20) {
            drop(store);
            store = open();
        }
    }
    dump(&Readable(store))
}

fn assert_same(said: &[String], expected: &[String], what: &str) {
    for (said, expected) in said.iter().zip(expected) {
        assert_eq!(said, expected, "{what}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn records_in_any_order_give_the_same_rows(seed in any::<u64>(), count in 1usize..160) {
        let records = History::new(seed, count).records;
        let random = &mut Random(seed | 1);
        let in_order = batches(&records, random);
        let expected = memory(&in_order);
        assert_same(&embedded(&in_order, random), &expected, "embedded, in order");
        let mixed = shuffled(batches(&shuffled(records, random), random), random);
        assert_same(&memory(&mixed), &expected, "in memory, mixed");
        assert_same(&embedded(&mixed, random), &expected, "embedded, mixed");
    }

    #[test]
    fn the_model_gives_the_same_rows_in_any_order(seed in any::<u64>(), count in 1usize..400) {
        let records = History::new(seed, count).records;
        let random = &mut Random(seed | 1);
        let expected = memory(&batches(&records, random));
        for _ in 0..8 {
            let mixed = batches(&shuffled(records.clone(), random), random);
            assert_same(&memory(&mixed), &expected, "mixed");
            let again = shuffled([mixed.clone(), mixed].concat(), random);
            assert_same(&memory(&again), &expected, "mixed, twice");
        }
    }
}
