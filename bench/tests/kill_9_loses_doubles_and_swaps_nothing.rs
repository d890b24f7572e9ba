//! The real server, killed at random moments under load: a short run of what `kill9` does.

mod support;

fn kill(arguments: &[&str]) {
    let common = ["kill9", "--kills", "12", "--run-ms-min", "20", "--run-ms-max", "250"];
    let arguments = [&common[..], arguments].concat();
    let (result, good) = support::bench(&arguments);
    assert!(good, "{result:#}");
    for key in ["lost", "duplicated", "reordered", "foreign"] {
        assert_eq!(result[key], 0, "{result:#}");
    }
    assert_eq!(result["kills"], 12);
    assert!(result["acked"].as_u64().is_some_and(|acked| acked >= 100), "{result:#}");
}

#[test]
fn kill_9_loses_doubles_and_swaps_nothing() {
    support::build_server();
    kill(&["--shards", "1"]);
    kill(&["--shards", "2"]);
    kill(&["--shards", "2", "--vary-shards"]);
}
