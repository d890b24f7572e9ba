//! A result: named numbers, as JSON for programs, as a table for people, as one HTML page.

use crate::ledger::Verdict;
use crate::server::{Running, ServerError};
use crate::{host, html, process};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};
use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

/// Why measuring ended early.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Memory that may be resident beside the server's ledger: code, stacks, the allocator's slack.
const BESIDE_LEDGER_BYTES: u64 = 64 << 20;

/// What a run found.
#[derive(Debug, Default)]
pub struct Report {
    name: &'static str,
    rows: Vec<(String, Value)>,
    invalid: Vec<String>,
    /// Promises that were broken in a run that was valid.
    broken: Vec<String>,
    /// (what, latencies in µs) for the picture.
    latencies: Vec<(String, Histogram<u64>)>,
}

/// Where a report goes besides standard output.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Outputs {
    /// Write the result as JSON, with plain top-level keys
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Write the result as one self-contained HTML page
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

impl Report {
    /// An empty result of this subcommand.
    pub fn new(name: &'static str) -> Report {
        Report { name, ..Report::default() }
    }

    /// Notes a number under its key; the unit ends the key.
    pub fn set(&mut self, key: impl Into<String>, value: impl Into<Value>) {
        self.rows.push((key.into(), value.into()));
    }

    /// Notes what the ledger's check found.
    pub fn set_verdict(&mut self, verdict: &Verdict) {
        self.set("acked", verdict.acked);
        self.set("delivered", verdict.delivered);
        self.set("lost", verdict.lost);
        self.set("duplicated", verdict.duplicated);
        self.set("reordered", verdict.reordered);
        self.set("foreign", verdict.foreign);
    }

    /// Notes the most that was resident at a server, which its ledger must explain.
    pub fn judge_memory(&mut self, server: &Running) -> io::Result<()> {
        let peak = process::rss_peak_bytes(server.pid())?;
        self.set("rss_peak_bytes", peak);
        let ledger = server.ready.as_ref().and_then(|ready| ready["ledger_bytes"].as_u64());
        let Some(ledger) = ledger else {
            self.invalidate("the server does not say its memory ledger");
            return Ok(());
        };
        self.set("ledger_bytes", ledger);
        if peak > ledger + BESIDE_LEDGER_BYTES {
            self.fail(format!("{peak} bytes were resident, above the ledger {ledger} + 64 MiB"));
        }
        Ok(())
    }

    /// As `set`, rounded to three digits behind the point.
    pub fn set_rounded(&mut self, key: impl Into<String>, value: f64) {
        self.set(key, json!((value * 1_000.0).round() / 1_000.0));
    }

    /// Notes p50, p99, p99.9 and the maximum of latencies in nanoseconds, as µs under `{key}_…_us`.
    pub fn set_latency(&mut self, key: &str, latency: &Histogram<u64>) {
        let points = [("p50", 0.5), ("p99", 0.99), ("p999", 0.999), ("max", 1.0)];
        for (name, quantile) in points {
            let us = latency.value_at_quantile(quantile) as f64 / 1_000.0;
            self.set(format!("{key}_{name}_us"), json!(us.round()));
        }
        self.latencies.push((key.replace('_', " "), latency.clone()));
    }

    /// The run measured nothing that may be used: no number is told.
    pub fn invalidate(&mut self, why: impl Into<String>) {
        self.invalid.push(why.into());
    }

    /// The run is valid, and shows that something is wrong.
    pub fn fail(&mut self, what: impl Into<String>) {
        self.broken.push(what.into());
    }

    /// Whether nothing was wrong.
    pub fn is_good(&self) -> bool {
        self.invalid.is_empty() && self.broken.is_empty()
    }

    /// Every key in order. An invalid run keeps its ledger's counts and loses its measurements.
    fn values(&self) -> Vec<(String, Value)> {
        let valid = self.invalid.is_empty();
        let mut all = vec![
            ("benchmark".to_owned(), json!(self.name)),
            ("valid".to_owned(), json!(valid)),
            ("invalid_because".to_owned(), json!(self.invalid.join("; "))),
            ("failed_because".to_owned(), json!(self.broken.join("; "))),
        ];
        let counts = |key: &str| COUNTS.contains(&key);
        all.extend(self.rows.iter().filter(|(key, _)| valid || counts(key)).cloned());
        all.extend(host::facts().into_iter().map(|(key, value)| (key.to_owned(), value)));
        all
    }

    /// Measures and finishes. On a thread of its own, because a load pins its thread. What ends the
    /// measuring early makes the run invalid; a server that does not serve is an error.
    pub fn measure(
        mut self,
        outputs: &Outputs,
        measure: impl FnOnce(&mut Report) -> Result<(), Failure> + Send + 'static,
    ) -> Result<ExitCode, String> {
        let run = thread::spawn(move || match measure(&mut self) {
            Ok(()) => Ok(self),
            Err(error) if error.is::<ServerError>() => Err(error.to_string()),
            Err(error) => {
                self.invalidate(error.to_string());
                Ok(self)
            }
        });
        run.join().expect("the run does not panic")?.finish(outputs)
    }

    /// Prints the table, writes the files, and says how the program ends.
    pub fn finish(self, outputs: &Outputs) -> Result<ExitCode, String> {
        let values = self.values();
        for (key, value) in &values {
            println!("{key:<44} {}", plain(value));
        }
        let written = |path: &PathBuf, text: String| {
            let error = |error| format!("cannot write {}: {error}", path.display());
            std::fs::write(path, text).map_err(error)
        };
        if let Some(path) = &outputs.json {
            let map: Map<String, Value> = values.iter().cloned().collect();
            let text = serde_json::to_string_pretty(&map).expect("plain values");
            written(path, text + "\n")?;
        }
        if let Some(path) = &outputs.html {
            let valid = self.invalid.is_empty();
            let pictured = if valid { self.latencies.as_slice() } else { &[] };
            written(path, html::page(self.name, &values, pictured))?;
        }
        Ok(if self.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// Counts of the ledger: they say what went wrong, so they stand in an invalid result, too.
const COUNTS: [&str; 7] =
    ["kills", "acked", "delivered", "lost", "duplicated", "reordered", "foreign"];

/// A value without JSON's quotes.
pub fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// The middle one, or the mean of the two in the middle; 0 without values.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[half],
        _ => (sorted[half - 1] + sorted[half]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invalid_run_tells_its_counts_and_no_measurement() {
        let mut report = Report::new("test");
        report.set("acked", 7);
        report.set("delivered_per_s", 1_000);
        assert!(report.values().iter().any(|(key, _)| key == "delivered_per_s"));
        report.invalidate("the generator lagged");
        let values = report.values();
        assert!(values.iter().any(|(key, _)| key == "acked"));
        assert!(!values.iter().any(|(key, _)| key == "delivered_per_s"));
        assert!(values.contains(&("valid".to_owned(), json!(false))));
        assert!(!report.is_good());
    }

    #[test]
    fn medians() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
