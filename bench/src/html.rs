//! A result as one HTML page that needs nothing else: a table, and latency by percentile.

use crate::report::plain;
use hdrhistogram::Histogram;
use serde_json::Value;
use std::fmt::Write;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;\
padding:0 1rem;color:#1c2733;background:#fff}h1{font-size:1.5rem}table{border-collapse:collapse;\
width:100%}td{border-bottom:1px solid #dde3ea;padding:.25rem .5rem;overflow-wrap:anywhere}\
td:last-child{text-align:right;font-variant-numeric:tabular-nums}.bad{background:#fde8e8;\
padding:.75rem 1rem;border-left:4px solid #c0392b}svg text{font:12px system-ui,sans-serif;\
fill:#445}";

const COLOURS: [&str; 4] = ["#0b6bcb", "#c0392b", "#5aa0e0", "#e08a7f"];
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 380.0;
const MARGIN: f64 = 60.0;

/// The page. Latencies are in nanoseconds.
pub fn page(
    name: &str,
    values: &[(String, Value)],
    latencies: &[(String, Histogram<u64>)],
) -> String {
    let mut rows = String::new();
    let mut banner = String::new();
    for (key, value) in values {
        let text = escape(&plain(value));
        if key.ends_with("_because") {
            if !text.is_empty() {
                let _ = write!(banner, "<p class=bad><b>{}</b>: {text}</p>", escape(key));
            }
            continue;
        }
        let _ = writeln!(rows, "<tr><td>{}</td><td>{text}</td></tr>", escape(key));
    }
    let picture = if latencies.is_empty() { String::new() } else { svg(latencies) };
    format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport \
         content='width=device-width'><title>ringmail-bench {name}</title><style>{STYLE}</style>\
         <h1>ringmail-bench {name}</h1>{banner}{picture}<table>{rows}</table></html>\n"
    )
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// Both axes are logarithmic: nines of the percentile to the right, time upwards.
fn svg(latencies: &[(String, Histogram<u64>)]) -> String {
    let most = latencies.iter().map(|(_, latency)| latency.max()).max().unwrap_or(1).max(10_000);
    let least = latencies.iter().map(|(_, latency)| latency.min()).min().unwrap_or(1).max(1_000);
    let (low, high) = ((least as f64).log10().floor(), (most as f64).log10().ceil());
    let y = |ns: f64| HEIGHT - MARGIN - (ns.log10() - low) / (high - low) * (HEIGHT - 1.5 * MARGIN);
    let x = |nines: f64| MARGIN + nines / 5.0 * (WIDTH - 1.5 * MARGIN);
    let mut out = format!("<svg viewBox='0 0 {WIDTH} {HEIGHT}' role=img aria-label='latency'>");
    for (nines, label) in ["0", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"].iter().enumerate()
    {
        let at = x(nines as f64);
        let (top, bottom) = (MARGIN / 2.0, HEIGHT - MARGIN);
        let _ = write!(
            out,
            "<line x1={at} y1={top} x2={at} y2={bottom} stroke='#e6ebf0'/>\
             <text x={at} y={} text-anchor=middle>{label}</text>",
            bottom + 18.0
        );
    }
    for decade in low as i32..=high as i32 {
        let at = y(10f64.powi(decade));
        let label = match decade {
            ..=5 => format!("{} µs", 10f64.powi(decade - 3)),
            6..=8 => format!("{} ms", 10f64.powi(decade - 6)),
            _ => format!("{} s", 10f64.powi(decade - 9)),
        };
        let _ = write!(
            out,
            "<line x1={MARGIN} y1={at} x2={} y2={at} stroke='#e6ebf0'/>\
             <text x={} y={} text-anchor=end>{label}</text>",
            WIDTH - MARGIN / 2.0,
            MARGIN - 6.0,
            at + 4.0
        );
    }
    for (index, (name, latency)) in latencies.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let mut points = String::new();
        for step in 0..=100 {
            let nines = f64::from(step) / 20.0;
            let ns = latency.value_at_quantile(1.0 - 10f64.powf(-nines)).max(least);
            let _ = write!(points, "{:.1},{:.1} ", x(nines), y(ns as f64));
        }
        let _ = write!(
            out,
            "<polyline points='{points}' fill=none stroke='{colour}' stroke-width=2 />\
             <text x={} y={} style='fill:{colour}'>{}</text>",
            MARGIN + 12.0,
            MARGIN / 2.0 + 16.0 * (index as f64 + 1.0),
            escape(name)
        );
    }
    out + "</svg>"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_holds_every_value_and_loads_nothing() {
        let mut latency = Histogram::<u64>::new(3).unwrap();
        (1..1_000).for_each(|n| latency.record(n * 1_000).unwrap());
        let values = [
            ("acked".to_owned(), Value::from(12)),
            ("invalid_because".to_owned(), Value::from("a < b & c")),
        ];
        let page = page("steady-chat", &values, &[("send to sent".to_owned(), latency)]);
        assert!(page.contains("<td>acked</td><td>12</td>"));
        assert!(page.contains("a &lt; b &amp; c") && page.contains("polyline"));
        assert!(!page.contains("http") && !page.contains("<script"));
    }
}
