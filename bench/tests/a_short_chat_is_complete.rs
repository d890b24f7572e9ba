//! The generator, the ledger and the floor, end to end. Speed is not judged here: whoever runs
//! tests may be busy with other things.

mod support;

fn chat(arguments: &[&str]) {
    let common = "--pairs 3 --depth 4 --seconds 1 --rounds 1";
    let arguments = [arguments, &common.split(' ').collect::<Vec<_>>()].concat();
    let (result, _) = support::bench(&arguments);
    for key in ["lost", "duplicated", "reordered", "foreign"] {
        assert_eq!(result[key], 0, "{result:#}");
    }
    assert!(result["acked"].as_u64().is_some_and(|acked| acked >= 100), "{result:#}");
    assert_eq!(result["acked"], result["delivered"]);
}

#[test]
fn a_short_chat_is_complete() {
    support::build_server();
    chat(&["chat-floor"]);
    chat(&["steady-chat", "--floor", "--tries", "1"]);
}
