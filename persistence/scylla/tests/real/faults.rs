//! A store that fails: between the driver and a real node stands a proxy that answers some writes
//! with a timeout, half of them done and half not, some with other errors, and that drops
//! connections. Each batch is written until it is acknowledged, as cores do it.

use crate::history::{History, Random, Readable, batches, dump};
use crate::node;
use persistence::{Backend, BackendError, Batch, MemoryStore};
use ringmail_scylla::{Config, Scylla};
use scylla::errors::{DbError, WriteType};
use scylla::statement::Consistency;
use scylla_proxy::{
    Condition, Node, Proxy, Reaction, RequestOpcode, RequestReaction, RequestRule, ResponseFrame,
    ResponseOpcode, ResponseReaction, ResponseRule, ShardAwareness, example_db_errors,
};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const TIMEOUTS_MIN: u64 = 10_000;
/// Enough for so many.
const RECORDS: usize = 3_400;
const PATIENCE: Duration = Duration::from_secs(300);
/// As the cores of a large server: each has one batch under way, and mostly waits.
const WRITERS: usize = 32;
/// Of the writes of one partition.
const TIMEOUT_IN: f64 = 0.3;
const ERROR_IN: f64 = 0.01;
const DROP_IN: f64 = 0.005;
/// Each way. The driver needs seconds for each.
const DROPS: usize = 2;
/// The body of a result without rows, as a write has it.
const VOID: [u8; 4] = [0, 0, 0, 1];

/// What was forged.
#[derive(Default)]
struct Forged {
    before: AtomicU64,
    after: AtomicU64,
    errors: AtomicU64,
}

fn timeout() -> DbError {
    let write_type = WriteType::UnloggedBatch;
    let consistency = Consistency::LocalQuorum;
    DbError::WriteTimeout { consistency, received: 1, required: 2, write_type }
}

fn random(opcode: RequestOpcode, probability: f64) -> Condition {
    Condition::RequestOpcode(opcode).and(Condition::RandomWithProbability(probability))
}

/// Conditions are looked at from the left.
fn some(condition: Condition) -> Condition {
    condition.and(Condition::TrueForLimitedTimes(DROPS))
}

/// Batches that never arrive.
fn requests(forged: &Arc<Forged>) -> Vec<RequestRule> {
    let (timeouts, errors) = (forged.clone(), forged.clone());
    let timed_out = RequestReaction::forge_with_error_lazy(Box::new(move || {
        timeouts.before.fetch_add(1, Relaxed);
        timeout()
    }));
    let failed = RequestReaction::forge_with_error_lazy(Box::new(move || {
        match errors.errors.fetch_add(1, Relaxed) % 4 {
            0 => example_db_errors::overloaded(),
            1 => example_db_errors::unavailable(),
            2 => example_db_errors::write_failure(),
            _ => example_db_errors::server_error(),
        }
    }));
    vec![
        RequestRule(
            some(random(RequestOpcode::Batch, DROP_IN)),
            RequestReaction::drop_connection(),
        ),
        RequestRule(random(RequestOpcode::Batch, TIMEOUT_IN), timed_out),
        RequestRule(random(RequestOpcode::Batch, ERROR_IN), failed.clone()),
        RequestRule(random(RequestOpcode::Execute, ERROR_IN), failed),
    ]
}

/// Batches that were done, and whoever wrote them does not learn it.
fn responses(forged: &Arc<Forged>) -> Vec<ResponseRule> {
    let forged = forged.clone();
    let timed_out = ResponseReaction::transform_frame(Arc::new(move |frame: ResponseFrame| {
        if *frame.body != VOID {
            return frame;
        }
        forged.after.fetch_add(1, Relaxed);
        ResponseFrame::forged_error(frame.params, timeout(), None).expect("a short message")
    }));
    let result = || Condition::ResponseOpcode(ResponseOpcode::Result);
    let random = |probability| result().and(Condition::RandomWithProbability(probability));
    vec![
        ResponseRule(some(random(DROP_IN)), ResponseReaction::drop_connection()),
        ResponseRule(random(TIMEOUT_IN), timed_out),
    ]
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound")
}

/// Writes a share of the batches, each until it is acknowledged, and now and then an older one once
/// more, as after a crash; how often one was not acknowledged.
fn write_all(store: &Scylla, batches: &[Batch], writer: usize) -> u64 {
    let (begun, mut unanswered) = (Instant::now(), 0);
    let random = &mut Random(99 + writer as u64);
    for at in (writer..batches.len()).step_by(WRITERS) {
        let older = at - random.below(at.min(9) as u64 + 1) as usize;
        let again = random.one_in(8).then_some(older);
        for at in std::iter::once(at).chain(again) {
            while let Err(error) = store.write(&batches[at]) {
                assert!(matches!(error, BackendError::Unavailable(_)), "{error}");
                assert!(begun.elapsed() < PATIENCE, "batch {at} of {}: {error}", batches.len());
                unanswered += 1;
            }
        }
    }
    unanswered
}

#[test]
fn forged_timeouts_errors_and_dropped_connections_change_nothing() {
    let (config, direct) = node::shared().store();
    drop(direct);
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
    let (forged, address) = (Arc::new(Forged::default()), free_address());
    let proxied = Node::builder()
        .real_address(config.addresses[0].parse().expect("an address"))
        .proxy_address(address)
        .shard_awareness(ShardAwareness::Unaware)
        .build();
    let mut proxy = runtime.block_on(Proxy::new([proxied]).run()).expect("the proxy runs");
    let behind = Config { addresses: vec![address.to_string()], ..config.clone() };
    let store = Scylla::open(&behind, "test").expect("opens");
    proxy.running_nodes[0].change_request_rules(Some(requests(&forged)));
    proxy.running_nodes[0].change_response_rules(Some(responses(&forged)));

    let begun = Instant::now();
    let history = History::new(0x5eed, RECORDS);
    let written = batches(&history.records, &mut Random(99));
    let mut model = MemoryStore::default();
    written.iter().for_each(|batch| model.write(batch, || true));
    let unanswered: u64 = std::thread::scope(|scope| {
        let write = |writer| write_all(&store, &written, writer);
        let writers: Vec<_> = (0..WRITERS).map(|n| scope.spawn(move || write(n))).collect();
        writers.into_iter().map(|writer| writer.join().expect("in time")).sum()
    });
    let counts = [&forged.before, &forged.after, &forged.errors].map(|count| count.load(Relaxed));
    let length = begun.elapsed();
    println!("{} batches in {length:?}, {unanswered} unanswered, forged {counts:?}", written.len());
    proxy.turn_off_rules();
    drop(store);
    runtime.block_on(proxy.finish()).ok();
    let [before, after, errors] = counts;
    assert!(before + after >= TIMEOUTS_MIN, "{counts:?}");
    assert!(before.min(after) * 3 >= TIMEOUTS_MIN && errors >= 100, "{counts:?}");
    let store = Readable(Scylla::open(&config, "test").expect("opens"));
    for (said, expected) in dump(&store).iter().zip(dump(&model)) {
        assert_eq!(*said, expected);
    }
}
