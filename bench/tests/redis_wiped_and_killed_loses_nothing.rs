//! The real server beside a real Redis, which is wiped and killed under load: a short run of what
//! `redis-wipes` does.

mod support;

#[test]
#[ignore = "needs redis-server: bench/test-store runs it"]
fn redis_wiped_and_killed_loses_nothing_and_routes_are_back_in_five_seconds() {
    support::build_server_with_stores();
    let (result, good) = support::bench(&["redis-wipes", "--wipes", "12", "--shards", "2"]);
    assert!(good, "{result:#}");
    for key in ["lost", "duplicated", "reordered", "foreign", "page_places_wrong"] {
        assert_eq!(result[key], 0, "{result:#}");
    }
    assert!(result["wipes"] == 6 && result["redis_kills"] == 6, "{result:#}");
    assert!(result["server_kills"].as_u64() >= Some(1), "{result:#}");
    assert!(result["routes_back_ms_max"].as_u64().is_some_and(|ms| ms <= 5_000), "{result:#}");
    assert!(result["acked"].as_u64().is_some_and(|acked| acked >= 100), "{result:#}");
}
