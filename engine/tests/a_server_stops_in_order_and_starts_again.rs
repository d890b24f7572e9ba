//! SIGTERM and SIGINT end with code 0; whatever ended the last server, the next one starts.

mod common;
use common::{Dir, Running, eventually, free_port, ringmail, start};
use std::{fs, net::TcpStream};

struct Place {
    dir: Dir,
    listen: String,
}

impl Place {
    fn new() -> Place {
        Place { dir: Dir::new(), listen: format!("127.0.0.1:{}", free_port()) }
    }

    fn start(&self) -> Running {
        start(ringmail(&self.dir).args(["--listen", &self.listen]))
    }
}

#[test]
fn after_sigterm_twenty_times() {
    let place = Place::new();
    for generation in 1..=20 {
        let server = place.start();
        assert_eq!(server.ready["recovery"]["generation"], generation);
        assert_eq!(server.ready["listen"], place.listen.as_str());
        server.stop();
    }
}

#[test]
fn after_sigint_with_a_client_connected() {
    let place = Place::new();
    let mut server = place.start();
    let _client = TcpStream::connect(&place.listen).unwrap();
    server.signal("INT");
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
    place.start().stop();
}

#[test]
fn after_kill_on_the_same_port_at_once() {
    let place = Place::new();
    for _ in 0..5 {
        let server = place.start();
        let _client = TcpStream::connect(&place.listen).unwrap();
        server.kill();
    }
    place.start().stop();
}

#[test]
fn with_another_number_of_shards() {
    let place = Place::new();
    for shards in ["1", "3", "2"] {
        let mut command = ringmail(&place.dir);
        start(command.args(["--listen", &place.listen, "--shards", shards])).kill();
    }
}

#[test]
fn and_older_generations_go_once_they_are_flushed() {
    let place = Place::new();
    place.start().stop();
    let server = place.start();
    let generations = || {
        let names = fs::read_dir(place.dir.data().join("log")).unwrap();
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect::<Vec<_>>()
    };
    eventually("only the newest generation is left", || generations() == ["2"]);
    server.stop();
}
