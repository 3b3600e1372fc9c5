//! The text formats: Prometheus 0.0.4 and OpenMetrics 1.0.

use std::fmt::{Display, Write as _};

use super::family::{Family, Kind};
use super::values::{BOUNDS, Histogram};
use crate::accept::parse_range;

const OPEN_METRICS: &str = "application/openmetrics-text";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposition {
    Prometheus,
    OpenMetrics,
}

impl Exposition {
    /// OpenMetrics if `Accept` names it and prefers no other format (RFC 9110 §12.5.1).
    pub fn negotiate(accept: &str) -> Exposition {
        let weight = |names: &[&str]| {
            let ranges = accept.split(',').filter_map(parse_range);
            let named = ranges
                .filter(|(name, _)| names.iter().any(|known| known.eq_ignore_ascii_case(name)));
            named.map(|(_, weight)| weight).max().unwrap_or(0)
        };
        let open_metrics = weight(&[OPEN_METRICS]);
        if open_metrics > 0 && open_metrics >= weight(&["text/plain", "text/*"]) {
            Exposition::OpenMetrics
        } else {
            Exposition::Prometheus
        }
    }

    pub const fn content_type(self) -> &'static str {
        match self {
            Exposition::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Exposition::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Writes families with their samples.
#[derive(Debug)]
pub struct Writer {
    exposition: Exposition,
    text: String,
}

/// The samples of one family.
#[derive(Debug)]
pub struct Samples<'w> {
    family: &'static Family,
    text: &'w mut String,
}

impl Writer {
    pub fn new(exposition: Exposition) -> Writer {
        Writer { exposition, text: String::new() }
    }

    /// Starts a family. Each must be started once.
    pub fn family(&mut self, family: &'static Family) -> Samples<'_> {
        let Family { name, kind, help, .. } = family;
        // A counter's suffix belongs to the name of the family only in the older format.
        let suffix = match (self.exposition, kind) {
            (Exposition::Prometheus, Kind::Counter) => "_total",
            _ => "",
        };
        let text = &mut self.text;
        // Writing to a String can't fail.
        let _ = writeln!(text, "# HELP {name}{suffix} {help}");
        let _ = writeln!(text, "# TYPE {name}{suffix} {kind}");
        if self.exposition == Exposition::OpenMetrics
            && let Some(unit) = family.unit()
        {
            let _ = writeln!(text, "# UNIT {name} {unit}");
        }
        Samples { family, text }
    }

    pub fn finish(mut self) -> String {
        if self.exposition == Exposition::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl Samples<'_> {
    /// Adds a sample with the values of the family's labels.
    pub fn add(&mut self, labels: &[&str], value: impl Display) {
        let suffix = if self.family.kind == Kind::Counter { "_total" } else { "" };
        self.sample(suffix, labels, None, value);
    }

    /// Adds the samples of a histogram.
    pub fn histogram(&mut self, labels: &[&str], histogram: &Histogram) {
        let counts = histogram.cumulative();
        let bounds = BOUNDS.iter().map(|bound| *bound as f64 / 1e6);
        for (bound, count) in bounds.zip(counts) {
            // OpenMetrics requires a point.
            let point = if bound.fract() == 0.0 { ".0" } else { "" };
            self.sample("_bucket", labels, Some(&format!("{bound}{point}")), count);
        }
        let all = counts.last().copied().unwrap_or_default();
        self.sample("_bucket", labels, Some("+Inf"), all);
        self.sample("_sum", labels, None, histogram.sum());
        self.sample("_count", labels, None, all);
    }

    fn sample(&mut self, suffix: &str, labels: &[&str], bound: Option<&str>, value: impl Display) {
        let Samples { family, text } = self;
        debug_assert_eq!(labels.len(), family.labels.len(), "{}", family.name);
        text.push_str(family.name);
        text.push_str(suffix);
        let labels = family.labels.iter().zip(labels);
        let mut separator = '{';
        for (name, value) in labels.chain(bound.as_ref().map(|bound| (&"le", bound))) {
            text.push(separator);
            text.push_str(name);
            text.push_str("=\"");
            push_escaped(text, value);
            text.push('"');
            separator = ',';
        }
        if separator == ',' {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }
}

/// The value of a label: a backslash, a quote and a line feed are escaped in both formats.
fn push_escaped(text: &mut String, value: &str) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::family::{BUILD_INFO, FETCHED_BYTES, QUEUE_WAIT};
    use super::*;

    fn written(exposition: Exposition) -> String {
        let mut writer = Writer::new(exposition);
        let mut samples = writer.family(FETCHED_BYTES);
        samples.add(&["h"], 7_u64);
        samples.add(&["a \"b\"\\\n\u{fc}{,}"], 0_u64);
        let histogram = Histogram::default();
        histogram.observe(Duration::from_millis(2));
        histogram.observe(Duration::from_secs(100));
        writer.family(QUEUE_WAIT).histogram(&[], &histogram);
        writer.family(BUILD_INFO).add(&["1"], 1);
        writer.finish()
    }

    #[test]
    fn the_formats_differ_in_counters_units_and_the_end() {
        let prometheus = written(Exposition::Prometheus);
        assert!(prometheus.starts_with(
            "# HELP s3imageserver_origin_fetched_bytes_total Bytes of fetched originals, without their Content-Encoding.\n\
             # TYPE s3imageserver_origin_fetched_bytes_total counter\n\
             s3imageserver_origin_fetched_bytes_total{handler=\"h\"} 7\n"
        ));
        assert!(prometheus.ends_with(
            "# TYPE s3imageserver_build_info gauge\ns3imageserver_build_info{version=\"1\"} 1\n"
        ));
        let open_metrics = written(Exposition::OpenMetrics);
        assert!(open_metrics.contains(
            "\n# TYPE s3imageserver_origin_fetched_bytes counter\n\
             # UNIT s3imageserver_origin_fetched_bytes bytes\n\
             s3imageserver_origin_fetched_bytes_total{handler=\"h\"} 7\n"
        ));
        assert!(open_metrics.ends_with("s3imageserver_build_info{version=\"1\"} 1\n# EOF\n"));
    }

    #[test]
    fn label_values_are_escaped() {
        let line =
            "s3imageserver_origin_fetched_bytes_total{handler=\"a \\\"b\\\"\\\\\\n\u{fc}{,}\"} 0\n";
        for exposition in [Exposition::Prometheus, Exposition::OpenMetrics] {
            assert!(written(exposition).contains(line), "{}", written(exposition));
        }
    }

    #[test]
    fn histogram_buckets_are_cumulative() {
        let text = written(Exposition::OpenMetrics);
        let lines: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix(QUEUE_WAIT.name)).collect();
        assert_eq!(lines.len(), BOUNDS.len() + 3);
        for line in [
            "_bucket{le=\"0.00005\"} 0",
            "_bucket{le=\"0.001\"} 0",
            "_bucket{le=\"0.0025\"} 1",
            "_bucket{le=\"1.0\"} 1",
            "_bucket{le=\"80.0\"} 1",
            "_bucket{le=\"+Inf\"} 2",
            "_sum 100.002",
            "_count 2",
        ] {
            assert!(lines.contains(&line), "{line}: {lines:?}");
        }
    }

    #[test]
    fn open_metrics_is_chosen_if_it_is_named_and_no_other_is_preferred() {
        for accept in [
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; version=1.0.0; charset=utf-8",
            // Prometheus 2.42 and 3.0.
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
        ] {
            assert_eq!(Exposition::negotiate(accept), Exposition::OpenMetrics, "{accept}");
        }
        for accept in [
            "",
            "*/*",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "application/*",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=0.5,text/plain",
            "application/openmetrics-text;q=x",
        ] {
            assert_eq!(Exposition::negotiate(accept), Exposition::Prometheus, "{accept}");
        }
    }
}
