//! Devices: what is known of each, the list of them, and what ends one.

use crate::ConnId;
use crate::session::Session;
use crate::shard::Shard;
use persistence::{Position, Record};
use wire::{CloseCode, DeviceId, DeviceItem, Devices, End, Seq, ServerFrame, UserId, Verdict};

/// What a device says of itself in HELLO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct About {
    pub name: Box<str>,
    pub platform: Box<str>,
}

impl Shard {
    /// Whether this device may attach; otherwise why the connection closes, and in how many ms to
    /// come back.
    pub(crate) fn may_attach(
        &mut self,
        id: UserId,
        device: DeviceId,
    ) -> Result<(), (CloseCode, u64)> {
        let limits = &self.config.limits;
        let (burst, every_ms, now_us) = (limits.attach_burst, limits.attach_ms, self.now.mono_us);
        let devices_max = limits.devices_max as usize;
        let user = self.users.ready(id);
        let revoked = user.devices.iter().filter(|device| device.revoked).count();
        match user.devices.iter().find(|known| known.id == device) {
            Some(device) if device.revoked => return Err((CloseCode::Revoked, 0)),
            Some(_) => {}
            // Revoked ones are kept, since their tokens may come again.
            None if user.devices.len() - revoked >= devices_max
                || user.devices.len() >= wire::DEVICES_MAX =>
            {
                return Err((CloseCode::DeviceLimit, 0));
            }
            None => {}
        }
        let taken = user.attaches.take(now_us, burst, every_ms);
        taken.map_err(|after_ms| (CloseCode::Overloaded, after_ms))
    }

    /// Notes that a device attaches, what it says of itself, and where it starts. Returns what
    /// WELCOME rests on: a new device counts from its record on for what is kept, with its cursor
    /// at that place, and so does one that starts from a snapshot; otherwise only the time changes.
    pub(crate) fn log_device(
        &mut self,
        id: UserId,
        device: DeviceId,
        about: About,
        (from, verdict): (Seq, Verdict),
    ) -> Position {
        let (before, attached_us) = (self.log.end(), self.now.unix_us);
        let room = self.log.room_bytes() >= self.reserve(8);
        let user = self.users.ready(id);
        let known = user.device_mut(device).is_some() && verdict == Verdict::Resume;
        let of_user = user.device_or_new(device);
        (of_user.attached_us, of_user.name, of_user.platform) =
            (attached_us, about.name, about.platform);
        if known && !room {
            return before;
        }
        if !known {
            of_user.acked = of_user.acked.max(from);
            of_user.logged = of_user.acked;
        }
        let (name, platform) = (of_user.name.clone(), of_user.platform.clone());
        let record = Record::Device {
            user: id,
            device,
            revoked: false,
            attached_us,
            name: &name,
            platform: &platform,
            // Not `acked`: the marks that its last ACKs moved may not be in the log (R13).
            acked: of_user.logged,
        };
        self.append_record(&record);
        let end = self.log.end();
        self.users.ready(id).dirty_until = end;
        if known { before } else { end }
    }

    /// DEVICES.
    pub(crate) fn devices(&mut self, conn: ConnId, ask: Devices) {
        let session = self.sessions.get(conn).and_then(Session::attached).expect("attached");
        let (request, this) = (ask.request, session.device);
        let user = self.users.ready(session.user);
        let mut frames = Vec::with_capacity(user.devices.len() + 1);
        let devices = std::mem::take(&mut user.devices);
        let user = session.user;
        for device in &devices {
            frames.push(ServerFrame::Device(DeviceItem {
                request,
                device: device.id,
                attached: device.session.is_some(),
                this: device.id == this,
                revoked: device.revoked,
                attached_ms: device.attached_us / 1_000,
                name: &device.name,
                platform: &device.platform,
            }));
        }
        frames.push(ServerFrame::End(End { request, next: 0, head: 0 }));
        self.send_gated(conn, &frames);
        drop(frames);
        self.users.ready(user).devices = devices;
    }
}
