//! `ringmail store copy`: from the data directory into the distributed store, while no server
//! runs. What was copied so far stands in the file `copy`; only once the two stores compare equal
//! does the data directory change over.

use crate::{
    config::Config,
    data_dir::{self, DataDir},
    log_dirs,
    store::distributed::store_config,
    user,
};
use embedded::{Embedded, ExportPlace};
use indicatif::{ProgressBar, ProgressStyle};
use persistence::BackendError;
use ringmail_scylla::{Holder, Scylla, Tally};
use serde::{Deserialize, Serialize};
use shards::AckLevel;
use std::{
    fs, io,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// The embedded store's name once its rows are in the other one.
const KEPT: &str = "store-copied";
/// A store that does not answer for so long ends the copy.
const PATIENCE: Duration = Duration::from_secs(60);
const RETRY: Duration = Duration::from_millis(500);

/// How far a copy is: the content of the file `copy`.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Progress {
    /// The name that the distributed store knows the directory by.
    name: String,
    /// Of the log that the next start would begin: another one means that a server ran since.
    generation: u64,
    /// Somebody opened the embedded store to write since: see `DataDir::spoil_copy`.
    #[serde(skip)]
    stale: bool,
    /// See `ExportPlace`.
    table: u8,
    /// In hexadecimal digits.
    key: String,
    /// Rows up to there.
    rows: u64,
}

impl Progress {
    fn read(dir: &DataDir) -> Result<Option<Progress>, String> {
        for (path, stale) in [(dir.copy(), false), (dir.stale_copy(), true)] {
            match fs::read(&path) {
                Ok(text) => {
                    let progress = serde_json::from_slice::<Progress>(&text).map_err(|error| {
                        format!("{} cannot be read ({error}); remove it", path.display())
                    })?;
                    return Ok(Some(Progress { stale, ..progress }));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
            }
        }
        Ok(None)
    }

    fn write(&self, dir: &DataDir) -> Result<(), String> {
        let text = serde_json::to_vec(self).expect("plain values");
        data_dir::write_durably(&dir.copy(), &text, 0o644).map_err(|error| error.to_string())
    }

    fn place(&self) -> Option<ExportPlace> {
        let digits = (0..self.key.len()).step_by(2);
        let key = digits.map(|at| u8::from_str_radix(self.key.get(at..at + 2)?, 16).ok());
        Some(ExportPlace { table: self.table, key: key.collect::<Option<_>>()? })
    }

    fn set_place(&mut self, place: &ExportPlace, rows: u64) {
        (self.table, self.rows) = (place.table, rows);
        self.key = place.key.iter().map(|byte| format!("{byte:02x}")).collect();
    }
}

/// Copies, compares and changes over; says what was done.
pub fn copy(config: &Config) -> Result<String, String> {
    if config.ack != AckLevel::Local {
        return Err("a data directory acks from its own log: set ack = \"local\"".to_owned());
    }
    let target = store_config(config).map_err(|error| error.to_string())?;
    // A directory that is none is not made here.
    data_dir::read_key(&config.data_dir).map_err(|error| error.to_string())?;
    let dir = DataDir::open(&config.data_dir, 0).map_err(|error| error.to_string())?;
    let path = dir.path().display();
    match (dir.has_embedded_rows(), dir.has_store_name()) {
        (true, false) => {}
        // Cut between the two steps of the change.
        (true, true) => return change_over(&dir, None),
        (false, true) => return Err(format!("the messages of {path} are in the store already")),
        (false, false) => {
            return Err(format!("{path} has no messages to copy; start the server, it makes them"));
        }
    }
    if dir.path().join(KEPT).exists() {
        return Err(format!("{path}/{KEPT} is there from an earlier copy; move it away first"));
    }
    let found = log_dirs::read(&dir.log()).map_err(|error| error.to_string())?;
    let store = Embedded::open(&dir.store(), config.store_cache_bytes);
    let store = store.map_err(|error| error.to_string())?;
    // What the log holds and the store does not have yet; the log itself stays.
    user::flush(&found.recovered, &store).map_err(|error| error.to_string())?;

    let holder = Scylla::holder(&target).map_err(|error| error.to_string())?;
    let mut progress = begin(&dir, &target.keyspace, holder, found.recovered.generation())?;
    let scylla = Scylla::open(&target, &progress.name).map_err(|error| error.to_string())?;
    copy_rows(&dir, &store, &scylla, &mut progress)?;
    let tally = compare(&store, &scylla, &target.keyspace)?;
    drop(store);
    data_dir::write_durably(&dir.path().join("name"), progress.name.as_bytes(), 0o644)
        .map_err(|error| error.to_string())?;
    change_over(&dir, Some(&tally))
}

/// Where to go on, or why not.
fn begin(
    dir: &DataDir,
    keyspace: &str,
    holder: Holder,
    generation: u64,
) -> Result<Progress, String> {
    let anew = format!("DROP KEYSPACE {keyspace}, then `ringmail store migrate` and copy again");
    let before = Progress::read(dir)?;
    match (&holder.owner, before) {
        (Some(owner), Some(progress)) if *owner == progress.name => {
            if progress.stale || progress.generation != generation {
                return Err(format!(
                    "a server ran on {} since the copy began, so it cannot go on; {anew}",
                    dir.path().display()
                ));
            }
            Ok(progress)
        }
        (Some(owner), _) => Err(format!(
            "keyspace {keyspace} belongs to the data directory named {owner}; set store.keyspace \
             to another one and run `ringmail store migrate`"
        )),
        (None, _) if !holder.empty => Err(format!(
            "keyspace {keyspace} has rows that nobody owns; set store.keyspace to another one, or \
             {anew}"
        )),
        (None, before) => {
            let name = format!("{:016x}", data_dir::random_seed());
            let name = before.map_or(name, |progress| progress.name);
            let (table, key, rows) = (0, String::new(), 0);
            let progress = Progress { name, generation, stale: false, table, key, rows };
            // Before the keyspace is taken: its owner is known after any crash.
            progress.write(dir)?;
            Ok(progress)
        }
    }
}

fn bar(length: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {bar:40} {percent} %, {eta} left");
    let style = style.expect("a template without mistakes");
    ProgressBar::new(length).with_style(style).with_message(what)
}

fn copy_rows(
    dir: &DataDir,
    store: &Embedded,
    scylla: &Scylla,
    progress: &mut Progress,
) -> Result<(), String> {
    let damaged = || format!("{} has no place; remove it and copy anew", dir.path().display());
    let mut export = store.export(progress.place().ok_or_else(damaged)?);
    let before = progress.rows;
    let bar = bar(store.rows_about().map_err(|error| error.to_string())?, "copying");
    while let Some(batch) = export.next_batch().map_err(|error| error.to_string())? {
        patiently(|| scylla.put(&batch))?;
        progress.set_place(export.place(), before + export.rows());
        progress.write(dir)?;
        bar.set_position(progress.rows);
    }
    progress.set_place(export.place(), before + export.rows());
    progress.write(dir)?;
    bar.finish();
    Ok(())
}

/// Counts and checksums of both stores; an error if they differ.
fn compare(store: &Embedded, scylla: &Scylla, keyspace: &str) -> Result<Tally, String> {
    let (mut own, mut export) = (Tally::default(), store.export(ExportPlace::default()));
    while let Some(batch) = export.next_batch().map_err(|error| error.to_string())? {
        own.add_batch(&batch);
    }
    let bar = bar(0, "comparing");
    let copied = patiently(|| {
        scylla.tally(|done, all| {
            bar.set_length(all);
            bar.set_position(done);
        })
    })?;
    bar.finish();
    let differences: Vec<String> = own
        .differences(&copied)
        .into_iter()
        .map(|(kind, own, copied)| format!("{kind} ({own} here, {copied} there)"))
        .collect();
    if !differences.is_empty() {
        return Err(format!(
            "the copy differs in {}; nothing was changed here; DROP KEYSPACE {keyspace}, then \
             `ringmail store migrate` and copy again",
            differences.join(", ")
        ));
    }
    Ok(own)
}

fn patiently<T>(mut work: impl FnMut() -> Result<T, BackendError>) -> Result<T, String> {
    let begun = Instant::now();
    loop {
        match work() {
            Ok(done) => return Ok(done),
            Err(BackendError::Unavailable(_)) if begun.elapsed() < PATIENCE => thread::sleep(RETRY),
            Err(error) => {
                return Err(format!("{error}; copy again: it goes on where it stopped"));
            }
        }
    }
}

/// The last step, once `name` is written: from there on only the distributed store is opened.
fn change_over(dir: &DataDir, tally: Option<&Tally>) -> Result<String, String> {
    let kept = dir.path().join(KEPT);
    let moved = fs::rename(dir.store(), &kept)
        .and_then(|()| remove(&dir.copy()))
        .and_then(|()| remove(&dir.stale_copy()))
        .and_then(|()| fs::File::open(dir.path())?.sync_all());
    moved.map_err(|error| format!("cannot move {}: {error}", dir.store().display()))?;
    let counts = tally.map_or(String::new(), |tally| {
        let (rows, messages) = (tally.rows(), tally.count("messages"));
        format!("{rows} rows, {messages} messages among them, are equal in both stores; ")
    });
    Ok(format!(
        "{counts}{} is in the store now: keep store.kind = \"scylla\". The rows before stand in \
         {}: remove them once all is well",
        dir.path().display(),
        kept.display()
    ))
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
