//! What can be wrong with a store, and what is said then.

use crate::node::{self, Node};
use crate::rows::{assert_holds, batch};
use persistence::{Backend, BackendError};
use ringmail_scylla::{Config, Migrated, OpenError, Replication, Scylla};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn refused(config: &Config) -> OpenError {
    let error = Scylla::open(config, "test").map(|_| ()).expect_err("refused");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    error
}

#[test]
fn a_keyspace_is_made_once_and_its_schema_is_checked() {
    let config = node::shared().config();
    let error = refused(&config);
    assert!(matches!(error, OpenError::NoKeyspace(_)), "{error}");
    assert!(error.to_string().contains("ringmail store migrate"), "{error}");
    // Several at once: one works, the others see that it is done.
    let threads: Vec<_> = (0..3)
        .map(|_| {
            let config = config.clone();
            std::thread::spawn(move || Scylla::migrate(&config).expect("migrated"))
        })
        .collect();
    let done: Vec<Migrated> = threads.into_iter().map(|t| t.join().expect("ends")).collect();
    assert_eq!(done.iter().filter(|done| done.from == 0).count(), 1, "{done:?}");
    assert_eq!(Scylla::migrate(&config).expect("again"), Migrated { from: 3, to: 3 });
    let store = Scylla::open(&config, "test").expect("opens");
    store.write(&batch(1, 5)).expect("written");
    let status = Scylla::status(&config).expect("answers");
    assert_eq!((status.version, status.wanted, status.checkpoints.len()), (3, 3, 1));
    assert_eq!(status.checkpoints[0].log, "test");
    assert!(status.replication.values().any(|copies| copies == "1"), "{status:?}");
    assert!(status.nodes.values().all(|nodes| *nodes == (1, 1)), "{status:?}");
}

#[test]
fn a_keyspace_belongs_to_one_data_directory() {
    let (config, store) = node::shared().store();
    let error = Scylla::open(&config, "another").map(|_| ()).expect_err("refused");
    assert!(matches!(error, OpenError::Owned { .. }), "{error}");
    drop(store);
    Scylla::open(&config, "test").expect("opens again");
}

#[test]
fn a_schema_from_the_future_is_left_alone() {
    let (config, _) = node::shared().store();
    Scylla::claim_version(&config, 4).expect("claimed");
    let error = refused(&config);
    assert!(matches!(error, OpenError::New { found: 4, wanted: 3, .. }), "{error}");
    let error = Scylla::migrate(&config).expect_err("refused");
    assert!(matches!(error, OpenError::New { .. }), "{error}");
}

#[test]
fn too_few_nodes_and_a_wrong_address_are_named() {
    let config = Config { replication: Replication::Everywhere(3), ..node::shared().config() };
    let error = Scylla::migrate(&config).expect_err("one node only");
    assert!(matches!(error, OpenError::TooFewNodes { nodes: 1, copies: 3, .. }), "{error}");
    assert!(error.to_string().contains("store.replication"), "{error}");
    let error = refused(&Config { addresses: vec!["127.0.0.1:1".to_owned()], ..config });
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("127.0.0.1:1"), "{error}");
}

fn openssl(arguments: &str, dir: &Path) {
    let mut command = Command::new("openssl");
    command.args(arguments.split(' ')).current_dir(dir).stderr(Stdio::null());
    assert!(command.status().expect("openssl runs (Debian: openssl)").success(), "{arguments}");
}

/// A certificate for 127.0.0.1, which signs itself: with its key for a node, and alone.
fn certificate(dir: &Path, name: &str) -> (PathBuf, PathBuf) {
    let make = format!(
        "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -keyout {name}.key -out \
         {name}.pem -addext subjectAltName=IP:127.0.0.1 -addext \
         basicConstraints=critical,CA:FALSE"
    );
    openssl(&make, dir);
    let passwords = "-passout pass:cassandra";
    openssl(
        &format!("pkcs12 -export -inkey {name}.key -in {name}.pem -out {name}.p12 {passwords}"),
        dir,
    );
    (dir.join(format!("{name}.p12")), dir.join(format!("{name}.pem")))
}

#[test]
fn a_password_and_a_certificate_are_asked_for_and_checked() {
    let dir = tempfile::tempdir().expect("a directory");
    let (key, ca) = certificate(dir.path(), "store");
    let (_, other_ca) = certificate(dir.path(), "other");
    let file = |path: &Path| path.to_str().expect("plain").to_owned();
    let mut settings = vec![("CASSANDRA_PASSWORDS", "1".to_owned())];
    settings.push(("CASSANDRA_TLS", file(&key)));
    let node = Node::start(settings);
    let nobody = Config { tls_ca: file(&ca), ..node.config() };
    let wrong = Config { user: "cassandra".into(), password: "guess".into(), ..nobody.clone() };
    for config in [&nobody, &wrong] {
        let error = refused(config);
        assert!(matches!(error, OpenError::Refused { .. }), "{error}");
        assert!(error.to_string().contains("store.password"), "{error}");
        assert!(!error.to_string().contains("guess"), "{error}");
    }
    let right = Config { password: "cassandra".into(), ..wrong };
    let error = refused(&Config { tls_ca: file(&other_ca), ..right.clone() });
    assert!(matches!(error, OpenError::Untrusted { .. }), "{error}");
    assert!(error.to_string().contains("store.tls_ca"), "{error}");
    assert!(error.to_string().contains("other.pem"), "{error}");
    let error = refused(&Config { tls_ca: String::new(), ..right.clone() });
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("store.tls_ca"), "{error}");
    let error = refused(&Config { tls_ca: file(&dir.path().join("none")), ..right.clone() });
    assert!(matches!(error, OpenError::Certificates { .. }), "{error}");
    Scylla::migrate(&right).expect("migrated");
    let store = Scylla::open(&right, "test").expect("opens");
    store.write(&batch(1, 20)).expect("written");
    assert_holds(&store, 19);
}

#[test]
fn a_killed_node_is_unavailable_and_keeps_what_it_acked() {
    let mut node = Node::start(Vec::new());
    let (_, store) = node.store();
    store.write(&batch(1, 20)).expect("written");
    node.kill();
    let error = store.write(&batch(20, 30)).expect_err("nobody there");
    assert!(matches!(error, BackendError::Unavailable(_)), "{error}");
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    node.start_again();
    let begun = std::time::Instant::now();
    while let Err(error) = store.write(&batch(20, 30)) {
        assert!(begun.elapsed().as_secs() < 60, "{error}");
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    assert_holds(&store, 29);
}
