//! More users than the server may hold at once write, and read everything: a short run of what
//! `touch` does.

mod support;

const BESIDE_LEDGER_BYTES: u64 = 64 << 20;

#[test]
fn memory_stays_below_the_ledger_and_flat() {
    support::build_server();
    let (result, good) = support::bench(&["touch", "--users", "6000"]);
    assert!(good, "{result:#}");
    let number = |key: &str| result[key].as_u64().unwrap_or_else(|| panic!("{key}: {result:#}"));
    assert_eq!(number("acked"), 2 * number("users"), "each user wrote to two");
    assert!(number("users") >= 6 * number("entities_max"), "{result:#}");
    for key in ["lost", "duplicated", "reordered", "foreign"] {
        assert_eq!(result[key], 0, "{result:#}");
    }
    let (peak, ledger) = (number("rss_peak_bytes"), number("ledger_bytes"));
    assert!(peak <= ledger + BESIDE_LEDGER_BYTES, "{result:#}");
    // A ledger far above what is used would hold for anything.
    assert!(ledger <= 768 << 20, "{result:#}");
}
