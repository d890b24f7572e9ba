//! Devices: the list, revoking, and how often they may come.

use crate::commands::give;
use crate::world::{Client, World, limits};
use shards::Limits;
use wire::{ClientFrame, CloseCode, Command, DeviceId, Devices, ServerFrame};

fn close_code(world: &mut World, client: Client) -> Option<CloseCode> {
    let closes = world.take(client, |frame| match frame {
        ServerFrame::Close(close) => Some(close.code),
        _ => None,
    });
    closes.last().copied()
}

/// Device, attached, this, revoked, name and platform.
fn list(world: &mut World, client: Client) -> Vec<(u32, bool, bool, bool, String)> {
    world.send(client, ClientFrame::Devices(Devices { request: 3 }));
    world.run_ms(10);
    world.take(client, |frame| match frame {
        ServerFrame::Device(d) => {
            assert!(d.attached_ms >= 1_700_000_000_000 && d.request == 3);
            let about = format!("{} {}", d.name, d.platform);
            Some((d.device.0, d.attached, d.this, d.revoked, about))
        }
        _ => None,
    })
}

#[test]
fn the_list_says_who_attached_and_outlives_a_crash() {
    let mut world = World::new(2, limits());
    let phone = world.attach_as(1, 1, true, "old phone", "android");
    let laptop = world.attach_as(1, 2, true, "laptop", "linux");
    world.cut(phone);
    let first = |attached| (1, attached, false, false, "old phone android".to_owned());
    let second = (2, true, true, false, "laptop linux".to_owned());
    assert_eq!(list(&mut world, laptop), [first(false), second.clone()]);
    world.restart();
    let phone = world.attach_as(1, 1, true, "new phone", "ios");
    let listed = list(&mut world, phone);
    assert_eq!(listed[0], (1, true, true, false, "new phone ios".to_owned()));
    assert_eq!(listed[1], (2, false, false, false, second.4));
}

#[test]
fn a_revoked_device_is_closed_and_never_attaches_again() {
    let mut world = World::new(2, limits());
    let (phone, laptop) = (world.attach(1, 1, true), world.attach(1, 2, true));
    give(&mut world, laptop, 1, Command::Revoke { device: DeviceId(1) });
    world.run_ms(20);
    assert_eq!(close_code(&mut world, phone), Some(CloseCode::Revoked));
    assert_eq!(close_code(&mut world, laptop), None);
    let again = world.attach(1, 1, true);
    assert_eq!(close_code(&mut world, again), Some(CloseCode::Revoked));
    let listed = list(&mut world, laptop);
    assert!(listed[0].3 && !listed[0].1 && !listed[1].3, "{listed:?}");
    world.restart();
    let again = world.attach(1, 1, true);
    assert_eq!(close_code(&mut world, again), Some(CloseCode::Revoked));
}

#[test]
fn a_revoked_device_leaves_room_for_another() {
    let small = Limits { devices_max: 2, ..limits() };
    let mut world = World::new(1, small);
    let laptop = world.attach(1, 2, true);
    world.attach(1, 1, true);
    let third = world.attach(1, 3, true);
    assert_eq!(close_code(&mut world, third), Some(CloseCode::DeviceLimit));
    give(&mut world, laptop, 1, Command::Revoke { device: DeviceId(1) });
    world.run_ms(20);
    let third = world.attach(1, 3, true);
    assert_eq!(close_code(&mut world, third), None);
    assert_eq!(list(&mut world, third).len(), 3);
}

#[test]
fn a_newer_attach_displaces_and_too_many_must_wait() {
    let small = Limits { attach_burst: 2, attach_ms: 1_000, ..limits() };
    let mut world = World::new(1, small);
    let first = world.attach(1, 1, true);
    let second = world.attach(1, 1, true);
    assert_eq!(close_code(&mut world, first), Some(CloseCode::Displaced));
    let third = world.attach(1, 1, true);
    assert_eq!(close_code(&mut world, third), Some(CloseCode::Overloaded));
    assert_eq!(close_code(&mut world, second), None);
    world.run_ms(1_000);
    let fourth = world.attach(1, 1, true);
    assert_eq!(close_code(&mut world, fourth), None);
}
