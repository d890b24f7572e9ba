//! The async adapter against the real server, which is killed between.

mod terminal;

use std::path::Path;
use std::time::Duration;

use client::tokio::{Command, run};
use client::{ClientEvent, Config, Conv, Device, Kind, SendId};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use terminal::{Server, dir};

const PATIENCE: Duration = Duration::from_secs(30);

fn runtime() -> Runtime {
    Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

/// A device that `run` keeps connected.
struct Phone<'r> {
    runtime: &'r Runtime,
    commands: mpsc::Sender<Command>,
    events: mpsc::Receiver<ClientEvent>,
    task: JoinHandle<std::io::Result<()>>,
}

impl<'r> Phone<'r> {
    fn start(runtime: &'r Runtime, server: &Server, token: &str, journal: &Path) -> Phone<'r> {
        let device = Device::open(journal, Config::new(token.as_bytes().to_vec()));
        let device = device.expect("the journal is free and whole");
        let (commands, receiver) = mpsc::channel(8);
        // With room for all that comes while the test composes: a full one holds the client up.
        let (sender, events) = mpsc::channel(64);
        let address = server.address.clone();
        let task = runtime.spawn(async move { run(device, &address, receiver, sender).await });
        Phone { runtime, commands, events, task }
    }

    fn compose(&self, to: u64, text: &str) -> SendId {
        let (answer, told) = oneshot::channel();
        let (conv, body) = (Conv::Direct(to), text.as_bytes().to_vec());
        let command = Command::Compose { conv, body, answer };
        self.commands.blocking_send(command).expect("it runs");
        told.blocking_recv().expect("it runs").expect("a good message")
    }

    /// The next event that this is about, without those between.
    fn next<T>(&mut self, what: &str, wanted: impl Fn(ClientEvent) -> Option<T>) -> T {
        let mut others = Vec::new();
        loop {
            let next = async { timeout(PATIENCE, self.events.recv()).await };
            let event = self.runtime.block_on(next);
            let event = event.unwrap_or_else(|_| panic!("no event: {what}, but {others:#?}"));
            let event = event.expect("it runs");
            others.push(format!("{event:?}"));
            if let Some(found) = wanted(event) {
                return found;
            }
        }
    }

    /// After its first attach: it is caught up and told of all that was before, so that it has a
    /// number, from which it goes on.
    fn caught_up(&mut self) {
        let mut awaited = [true; 2];
        while awaited.contains(&true) {
            let came = self.next("caught up", |event| match event {
                ClientEvent::CaughtUp => Some(0),
                ClientEvent::Updated { conv: None } => Some(1),
                _ => None,
            });
            awaited[came] = false;
        }
    }

    fn sent(&mut self) -> SendId {
        self.next("sent", |event| match event {
            ClientEvent::Sent { id, .. } => Some(id),
            _ => None,
        })
    }

    fn queued(&mut self) -> SendId {
        self.next("queued", |event| match event {
            ClientEvent::Queued { id } => Some(id),
            _ => None,
        })
    }

    fn message(&mut self) -> String {
        let body = self.next("message", |event| match event {
            ClientEvent::Message { kind: Kind::Peer, body, .. } => body,
            _ => None,
        });
        String::from_utf8(body).expect("text")
    }

    /// Closes the commands; all that it told until the end.
    fn leave(self) -> Vec<ClientEvent> {
        let Phone { runtime, commands, mut events, task } = self;
        drop(commands);
        runtime.block_on(async {
            let mut told = Vec::new();
            while let Some(event) = timeout(PATIENCE, events.recv()).await.expect("it leaves") {
                told.push(event);
            }
            task.await.expect("no panic").expect("the journal was written");
            told
        })
    }
}

#[test]
fn messages_cross_a_killed_server_once_and_in_order() {
    let (dir, runtime) = (dir("tokio"), runtime());
    let mut server = Server::start(&dir);
    let tokens = [server.token(1), server.token(2)];
    let journals = [dir.join("one"), dir.join("two")];
    let mut one = Phone::start(&runtime, &server, &tokens[0], &journals[0]);
    let mut two = Phone::start(&runtime, &server, &tokens[1], &journals[1]);
    // A device that comes after a message is told of it by a snapshot.
    one.caught_up();
    two.caught_up();
    let id = one.compose(2, "hello");
    assert_eq!(one.sent(), id);
    assert_eq!(two.message(), "hello");

    server.kill();
    let ids = ["first", "second", "not this", "third"].map(|text| one.compose(2, text));
    for id in ids {
        assert_eq!(one.queued(), id);
    }
    one.commands.blocking_send(Command::GiveUp(ids[2])).expect("it runs");
    server.restart();
    assert_eq!([one.sent(), one.sent()], [ids[0], ids[1]]);
    let given_up = one.next("given up", |event| match event {
        ClientEvent::GivenUp { id } => Some(id),
        _ => None,
    });
    assert_eq!(given_up, ids[2]);
    assert_eq!(one.sent(), ids[3]);
    let heard: Vec<String> = (0..3).map(|_| two.message()).collect();
    assert_eq!(heard, ["first", "second", "third"]);

    // What is queued when the program leaves goes out with the next start.
    server.kill();
    let last = one.compose(2, "goodbye");
    assert_eq!(one.queued(), last);
    assert!(!one.leave().iter().any(|event| matches!(event, ClientEvent::Sent { .. })));
    server.restart();
    let mut one = Phone::start(&runtime, &server, &tokens[0], &journals[0]);
    assert_eq!(one.sent(), last);
    assert_eq!(two.message(), "goodbye");
    for told in [one.leave(), two.leave()] {
        let more = |event: &ClientEvent| {
            matches!(event, ClientEvent::Message { .. } | ClientEvent::Sent { .. })
        };
        assert!(!told.iter().any(more), "nothing comes twice: {told:?}");
    }
    std::fs::remove_dir_all(dir).expect("own directory");
}

#[test]
fn it_ends_when_nobody_takes_its_events() {
    let (dir, runtime) = (dir("tokio-deaf"), runtime());
    let server = Server::start(&dir);
    let token = server.token(1);
    let Phone { commands, events, task, .. } =
        Phone::start(&runtime, &server, &token, &dir.join("one"));
    drop(events);
    let ended = runtime.block_on(async { timeout(PATIENCE, task).await });
    ended.expect("it ends").expect("no panic").expect("the journal was written");
    assert!(commands.is_closed());
    std::fs::remove_dir_all(dir).expect("own directory");
}
