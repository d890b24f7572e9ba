//! What a run is made of, drawn from its seed: limits, users, devices, habits.

use crate::seed::Rng;
use shards::Limits;
use wire::UserId;

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Bounds of every core, between `Limits::test_min` and the default.
    pub limits: Limits,
    /// Cores at the first start.
    pub cores: u16,
    /// People with devices.
    pub users: Vec<UserId>,
    /// Devices of each of them at the start.
    pub devices: Vec<u64>,
    /// Numbers that are written to, and nobody is there until the end.
    pub absent: Vec<UserId>,
    /// How often a device's link breaks, per thousand acts of mischief.
    pub resets: u64,
    /// How often a process dies, per thousand acts of mischief.
    pub crashes: u64,
    /// Mean time between two acts of mischief, in microseconds.
    pub mischief_us: u64,
    /// Mean time between two acts of people, in microseconds.
    pub act_us: u64,
    /// Devices are cloned, and restored from backups.
    pub copies: bool,
}

impl Plan {
    /// Inbox entries stay for ever.
    pub fn keeps_inboxes(&self) -> bool {
        self.limits.trim_entries == u32::MAX
    }

    /// Draws a plan.
    pub fn draw(rng: &mut Rng) -> Plan {
        let users = (0..rng.between(2, 6)).map(|_| user(rng)).collect::<Vec<_>>();
        let absent = (0..rng.below(12)).map(|_| user(rng)).collect();
        let mut limits = limits(rng);
        // A user with a session stays in memory; two more can come and go.
        limits.users_max = limits.users_max.max(users.len() as u32 + 2);
        // All devices can watch all users, or nobody could say what each must know.
        limits.watch_max = limits.watch_max.max(20);
        limits.watches_max = limits.watches_max.max(1_000);
        limits.circles_max = limits.circles_max.max(30);
        // A circle must find room beside all that are watched, or its user's commands never do;
        // who is a contact and blocked counts twice.
        let contacts = 2 * limits.contacts_max * limits.circles_max;
        limits.circle_contacts_max = limits.circle_contacts_max.max(contacts);
        limits.presence_window_ms = limits.presence_window_ms.min(200);
        // Where nothing is taken away, the last readers read every inbox from its first entry on.
        limits.trim_entries = if rng.chance(500) { u32::MAX } else { rng.scaled(4, 64) as u32 };
        limits.inbox_age_ms = rng.scaled(limits.inbox_age_ms, 30 * 86_400_000);
        Plan {
            limits,
            cores: rng.between(1, 4) as u16,
            devices: users.iter().map(|_| rng.between(1, 3)).collect(),
            users,
            absent,
            resets: *rng.pick(&[20, 100, 300]),
            crashes: *rng.pick(&[10, 30, 100]),
            mischief_us: rng.scaled(10_000, 200_000),
            act_us: rng.scaled(1_000, 20_000),
            copies: rng.chance(600),
        }
    }
}

fn user(rng: &mut Rng) -> UserId {
    UserId::new(rng.between(1, u32::MAX as u64)).expect("above 0")
}

/// Half of the limits at their smallest, the others anywhere between; what hangs together stays
/// together.
fn limits(rng: &mut Rng) -> Limits {
    let (low, high) = (Limits::test_min(), Limits::default());
    macro_rules! drawn {
        ($($field:ident),+) => {
            Limits {
                $($field: match rng.chance(500) {
                    true => low.$field,
                    false => {
                        let (a, b) = (low.$field as u64, high.$field as u64);
                        rng.scaled(a.min(b), a.max(b)) as _
                    }
                },)+
                ..low.clone()
            }
        };
    }
    let mut limits = drawn!(
        connections_max,
        handshakes_max,
        handshake_ms,
        heartbeat_ms,
        window_frames,
        users_max,
        conversations_max,
        members_max,
        waiting_max,
        lane_credits,
        asks_max,
        scan_entries,
        new_conversations_burst,
        new_conversation_ms,
        owed_max,
        tail_records_max,
        flush_ms,
        cursor_ms,
        receipt_rest_ms,
        log_stall_ms,
        retry_after_ms,
        events_per_turn,
        effects_per_turn,
        batch_bytes,
        circles_max,
        circle_contacts_max,
        watch_max,
        watches_max,
        watch_ms,
        presence_grace_ms,
        presence_window_ms,
        last_seen_ms,
        typing_ms,
        requests_max,
        command_burst,
        command_ms,
        attach_burst,
        attach_ms
    );
    tie_together(rng, &mut limits, &low, &high);
    limits
}

/// What depends on other limits, or must not be at its smallest.
fn tie_together(rng: &mut Rng, limits: &mut Limits, low: &Limits, high: &Limits) {
    // Devices come and go in a run; at the limit they could not come back.
    limits.devices_max = high.devices_max;
    limits.outboxes_max = if rng.chance(300) { low.outboxes_max } else { high.outboxes_max };
    limits.body_bytes_max = rng.scaled(low.body_bytes_max as u64, 2_048) as u32;
    let body = limits.body_bytes_max as u64;
    limits.window_bytes = rng.scaled((2 * body).max(512), high.window_bytes as u64) as u32;
    limits.output_bytes_max = rng.scaled((4 * body).max(1_024), 64 * 1024) as u32;
    limits.scan_bytes = rng.scaled(body.max(256), high.scan_bytes as u64) as u32;
    let blocks = rng.scaled((2 * body + 512).div_ceil(4_096), 16) as u32;
    limits.group_bytes_max = blocks * 4_096;
    limits.segment_bytes = limits.group_bytes_max * rng.scaled(4, 16) as u32;
    let segment = limits.segment_bytes as u64;
    limits.reserve_bytes = 2 * segment;
    limits.tail_bytes_max = segment * rng.scaled(6, 24);
    limits.log_writes_max = if rng.chance(700) { 1 } else { rng.between(2, 4) as u32 };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drawn_limits_fit_together() {
        for seed in 0..1_000 {
            let limits = limits(&mut Rng::new(seed));
            assert!(limits.group_bytes_max as u64 > 2 * limits.body_bytes_max as u64);
            assert!(limits.segment_bytes >= 4 * limits.group_bytes_max);
            assert!(
                limits.tail_bytes_max >= limits.reserve_bytes + 4 * limits.segment_bytes as u64
            );
        }
    }
}
