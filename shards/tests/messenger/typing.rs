//! TYPING: to sessions in the foreground, seldom, and to nobody else.

use crate::world::{Client, World, limits};
use wire::{ClientFrame, Conv, ServerFrame, Typing};

fn typing(world: &mut World, client: Client, to: u64) {
    world.send(client, ClientFrame::Typing(Typing { conv: Conv::Direct(to) }));
    world.run_ms(10);
}

fn told(world: &mut World, client: Client) -> Vec<Conv> {
    world.take(client, |frame| match frame {
        ServerFrame::Typing(typing) => Some(typing.conv),
        _ => None,
    })
}

#[test]
fn reaches_the_foreground_once_in_a_while() {
    let mut world = World::new(2, limits());
    for (writer, reader) in [(1, 2), (3, 4), (5, 6)] {
        let from = world.attach(writer, 1, true);
        let (seen, dark) = (world.attach(reader, 1, true), world.attach(reader, 2, false));
        (0..5).for_each(|_| typing(&mut world, from, reader));
        assert_eq!(told(&mut world, seen), [Conv::Direct(writer)]);
        world.run_ms(3_000);
        typing(&mut world, from, reader);
        assert_eq!(told(&mut world, seen), [Conv::Direct(writer)]);
        assert_eq!(told(&mut world, dark), []);
        assert_eq!(told(&mut world, from), []);
    }
}

#[test]
fn nonsense_and_absent_readers_are_ignored() {
    let mut world = World::new(2, limits());
    let from = world.attach(1, 1, true);
    [0, 1, 77].into_iter().for_each(|to| typing(&mut world, from, to));
    assert_eq!(world.take(from, |frame| matches!(frame, ServerFrame::Close(_)).then_some(())), []);
}
