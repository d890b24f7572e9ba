//! The real server over a real Cassandra; both are killed under load: a short run of what
//! `kill9 --store scylla` does.

mod support;

#[test]
#[ignore = "needs Java and Maven: bench/test-store runs it"]
fn kill_9_of_server_and_store_loses_doubles_and_swaps_nothing() {
    support::build_server_with_stores();
    let arguments = ["kill9", "--store", "scylla", "--kills", "6", "--store-kill-every", "4"];
    let (result, good) = support::bench(&[&arguments[..], &["--shards", "2"]].concat());
    assert!(good, "{result:#}");
    for key in ["lost", "duplicated", "reordered", "foreign"] {
        assert_eq!(result[key], 0, "{result:#}");
    }
    assert!(result["kills"] == 6 && result["store_kills"].as_u64() >= Some(1), "{result:#}");
    assert!(result["acked"].as_u64().is_some_and(|acked| acked >= 100), "{result:#}");
}

#[test]
#[ignore = "needs Java and Maven: bench/test-store runs it"]
fn a_node_taken_from_a_killed_or_stopped_server_loses_doubles_and_swaps_nothing() {
    support::build_server_with_stores();
    let arguments = ["kill9", "--store", "scylla", "--ack", "replicated", "--kills", "6"];
    let more = ["--take-over-every", "2", "--store-kill-every", "5", "--shards", "2"];
    let (result, good) = support::bench(&[&arguments[..], &more].concat());
    assert!(good, "{result:#}");
    for key in ["lost", "duplicated", "reordered", "foreign"] {
        assert_eq!(result[key], 0, "{result:#}");
    }
    for key in ["taken_over_killed", "taken_over_stopped", "store_kills"] {
        assert!(result[key].as_u64() >= Some(1), "{result:#}");
    }
    assert!(result["acked"].as_u64().is_some_and(|acked| acked >= 30), "{result:#}");
}
