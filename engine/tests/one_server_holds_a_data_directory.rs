//! A second server, and `ringmail restored`, are refused while a server runs.

mod common;
use common::{Dir, free_port, refused, ringmail, start, succeeds};

#[test]
fn and_a_second_one_names_its_process() {
    let dir = Dir::new();
    let listen = |port| format!("127.0.0.1:{port}");
    let first = start(ringmail(&dir).args(["--listen", &listen(free_port())]));
    let pid = format!("in use by process {}", first.child.id());
    let line = refused(ringmail(&dir).args(["--listen", &listen(free_port())]));
    assert!(line.contains(&pid) && line.contains("data"), "{line}");
    let line = refused(ringmail(&dir).arg("restored"));
    assert!(line.contains(&pid), "{line}");
    first.stop();
    let said = succeeds(ringmail(&dir).arg("restored"));
    assert!(said.contains("restores so far: 1"), "{said}");
    start(ringmail(&dir).args(["--listen", &listen(free_port())])).stop();
}
