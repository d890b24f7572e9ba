//! Records come again after a crash, in batches that are cut elsewhere, and two cores' batches mix:
//! whatever the order, the store ends with the same rows, and says what the contract's model says.

mod history;

use embedded::Embedded;
use history::{History, Random, Readable, batches, dump};
use persistence::{Backend, Batch, MemoryStore};
use proptest::prelude::*;

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
