//! Counters of this process in the Prometheus text format (version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

/// The upper bounds of a histogram of seconds.
const SECONDS: [f64; 10] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 180.0];

/// What a number is and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Metric {
    /// Its name, with the unit.
    pub(crate) name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub(crate) kind: &'static str,
    /// One line for people.
    pub(crate) help: &'static str,
}

/// Labels in the order in which they print.
type Labels = Vec<(&'static str, String)>;

#[derive(Debug, Clone, Default)]
struct Histogram {
    buckets: [u64; SECONDS.len()],
    count: u64,
    sum: f64,
}

#[derive(Debug, Default)]
struct Values {
    numbers: BTreeMap<Metric, BTreeMap<Labels, u64>>,
    histograms: BTreeMap<Metric, BTreeMap<Labels, Histogram>>,
}

/// All metrics of this process.
#[derive(Debug, Default)]
pub(crate) struct Metrics(Mutex<Values>);

impl Metrics {
    /// Adds to a counter.
    pub(crate) fn add(&self, metric: Metric, labels: &[(&'static str, &str)], more: u64) {
        self.change(metric, labels, |value| *value += more);
    }

    /// Sets a gauge.
    pub(crate) fn set(&self, metric: Metric, labels: &[(&'static str, &str)], value: u64) {
        self.change(metric, labels, |slot| *slot = value);
    }

    /// Notes how many seconds something took.
    pub(crate) fn took(&self, metric: Metric, labels: &[(&'static str, &str)], seconds: f64) {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let series = values.histograms.entry(metric).or_default();
        let histogram = series.entry(owned(labels)).or_default();
        histogram.count += 1;
        histogram.sum += seconds;
        let buckets = histogram.buckets.iter_mut().zip(SECONDS);
        buckets
            .filter(|(_, bound)| seconds <= *bound)
            .for_each(|(bucket, _)| *bucket += 1);
    }

    /// The value of a counter or gauge.
    #[cfg(test)]
    pub(crate) fn get(&self, metric: Metric, labels: &[(&'static str, &str)]) -> u64 {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let series = values.numbers.get(&metric);
        let value = series.and_then(|series| series.get(&owned(labels)));
        value.copied().unwrap_or_default()
    }

    /// The text that a scraper reads.
    pub(crate) fn render(&self) -> String {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for (metric, series) in &values.numbers {
            head(&mut text, metric);
            for (labels, value) in series {
                line(&mut text, metric.name, labels, value);
            }
        }
        for (metric, series) in &values.histograms {
            head(&mut text, metric);
            for (labels, histogram) in series {
                histogram.render(&mut text, metric.name, labels);
            }
        }
        text
    }

    fn change(
        &self,
        metric: Metric,
        labels: &[(&'static str, &str)],
        change: impl FnOnce(&mut u64),
    ) {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let series = values.numbers.entry(metric).or_default();
        change(series.entry(owned(labels)).or_default());
    }
}

impl Histogram {
    fn render(&self, text: &mut String, name: &str, labels: &Labels) {
        let bounds = SECONDS.iter().map(f64::to_string);
        let all = self.buckets.iter().copied().zip(bounds);
        let all = all.chain([(self.count, "+Inf".to_owned())]);
        for (count, bound) in all {
            let mut labels = labels.clone();
            labels.push(("le", bound));
            line(text, &format!("{name}_bucket"), &labels, &count);
        }
        line(text, &format!("{name}_sum"), labels, &self.sum);
        line(text, &format!("{name}_count"), labels, &self.count);
    }
}

fn owned(labels: &[(&'static str, &str)]) -> Labels {
    labels.iter().map(|(k, v)| (*k, (*v).to_owned())).collect()
}

// Writing to a string cannot fail.
fn head(text: &mut String, metric: &Metric) {
    let Metric { name, kind, help } = metric;
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn line(text: &mut String, name: &str, labels: &Labels, value: &impl std::fmt::Display) {
    let labels: Vec<String> = labels
        .iter()
        .map(|(k, v)| format!("{k}=\"{}\"", escape(v)))
        .collect();
    let _ = match labels.as_slice() {
        [] => writeln!(text, "{name} {value}"),
        labels => writeln!(text, "{name}{{{}}} {value}", labels.join(",")),
    };
}

fn escape(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    value.replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        const TAKEN: Metric = Metric {
            name: "taken_total",
            kind: "counter",
            help: "Taken.",
        };
        const TIME: Metric = Metric {
            name: "time_seconds",
            kind: "histogram",
            help: "Time.",
        };
        let metrics = Metrics::default();
        metrics.add(TAKEN, &[("peer", "a\"b")], 2);
        metrics.add(TAKEN, &[("peer", "a\"b")], 1);
        metrics.took(TIME, &[], 0.02);
        let text = metrics.render();
        assert!(text.starts_with(
            "# HELP taken_total Taken.\n# TYPE taken_total counter\ntaken_total{peer=\"a\\\"b\"} 3\n"
        ));
        assert!(text.contains("time_seconds_bucket{le=\"0.01\"} 0\n"));
        assert!(text.contains("time_seconds_bucket{le=\"0.025\"} 1\n"));
        assert!(text.ends_with(
            "time_seconds_bucket{le=\"+Inf\"} 1\ntime_seconds_sum 0.02\ntime_seconds_count 1\n"
        ));
    }
}
