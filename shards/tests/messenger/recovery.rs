//! What older logs left, and when it becomes rows.

use crate::world::{World, limits};
use shards::Limits;

#[test]
fn what_is_recovered_becomes_rows_once_the_new_log_says_how_far_it_counts() {
    let mut world = World::new(1, Limits { flush_ms: 10, ..limits() });
    world.attach(1, 1, false);
    world.restart_with_held_disks();
    world.run_ms(500);
    assert_eq!(world.stat(|stats| stats.batches), 0, "another start may read less of the old log");
    world.hold_disks(false);
    world.run_ms(500);
    assert!(world.stat(|stats| stats.batches) > 0);
}
