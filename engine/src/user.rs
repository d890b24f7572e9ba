//! `ringmail user delete`: offline, on a stopped server's directory.

use crate::{
    config::Config,
    data_dir::{self, DataDir},
    log_dirs, store,
};
use persistence::{
    Backend, BackendError, Batch, ConvKey, Load, Loaded, Log, LogConfig, Record, Recovered,
    Removed, UserId,
};
use std::collections::BTreeMap;

/// Rows that are written at once, in bytes.
const BATCH_BYTES: usize = 1 << 20;

/// Removes a user from the data directory, and says what went. Nothing of the others is lost
/// wherever it ends: then it is called again.
pub fn delete(config: &Config, user: UserId) -> Result<Removed, String> {
    // A directory that is none is not made here.
    data_dir::read_key(&config.data_dir).map_err(|error| error.to_string())?;
    let dir = DataDir::open(&config.data_dir, 0).map_err(|error| error.to_string())?;
    let found = log_dirs::read(&dir.log()).map_err(|error| error.to_string())?;
    let store = store::open(config, &dir).map_err(|error| error.to_string())?;
    let owed = flush(&found.recovered, &*store).map_err(|error| error.to_string())?;
    if owed > 0 {
        return Err(format!(
            "{owed} messages in {} are still on their way to their recipients; start the server \
             on this directory, stop it, and call this again",
            dir.log().display()
        ));
    }
    // The next start would flush the logs' records again. The store has all of them, synced.
    log_dirs::remove(&dir.log(), &found.older)
        .map_err(|error| format!("cannot remove the logs in {}: {error}", dir.log().display()))?;
    dir.forget_windows().map_err(|error| error.to_string())?;
    store.delete_user(user).map_err(|error| error.to_string())
}

/// Writes every record of the logs to the store, and counts the messages that their recipient's
/// home has not taken.
pub(crate) fn flush(recovered: &Recovered, store: &dyn Backend) -> Result<u64, BackendError> {
    // A log that is never written: it holds what was recovered.
    let config = LogConfig { segment_bytes: 1 << 20, group_bytes_max: 1 << 16, writes_max: 1 };
    let log = Log::start(config, recovered.deal(0, 1));
    let (mut from, mut batch) = (log.start_of_tail(), Batch::default());
    let mut newest: BTreeMap<ConvKey, Vec<u64>> = BTreeMap::new();
    while from < log.base() {
        let Some((_, record, end)) = log.next(from) else { break };
        batch.add(&record, |_| true);
        if batch.bytes() >= BATCH_BYTES {
            store.write(&std::mem::take(&mut batch))?;
        }
        if let Record::Message(message) = &record {
            let guest = message.conv.peer_of(message.conv.owner());
            let side = usize::from(message.conv.participants()[1] == guest);
            if !message.marks[side] {
                newest.entry(message.conv).or_default().push(message.conv_seq);
            }
        }
        from = end;
    }
    store.write(&batch)?;
    let mut owed = 0;
    for (conv, places) in newest {
        let guest = conv.peer_of(conv.owner());
        let taken = match store.load(&Load::Member(guest, conv))? {
            Loaded::Member(state) => state.taken,
            other => panic!("asked for a member, got {other:?}"),
        };
        owed += places.iter().filter(|&&place| place > taken).count() as u64;
    }
    Ok(owed)
}
