//! Who is told what peers say: BMP stations and MRT files.

use std::net::SocketAddr;
use std::time::Duration;

use api::Diagnostic;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::config::draft::Resource;
use crate::config::sink::Sink;
use crate::effective::{Monitoring, MrtArchive};
use crate::kinds::field::{AbsolutePath, Span, Text};

/// Who is told what peers say, before any policy.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct MonitoringSpec {
    /// Monitoring stations (BMP, RFC 7854). This node connects to them, again and again if need be; one that is slow or
    /// away holds nothing up and is told everything anew.
    #[serde(default)]
    bmp: Vec<Station>,
    /// Files for the tools that read MRT (RFC 6396).
    mrt: Option<Archive>,
}

/// A monitoring station.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Station {
    /// Where it listens.
    address: Text<SocketAddr>,
    /// The time between two statistics, at least 1s. Default: 60s.
    statistics_interval: Option<Text<Span>>,
}

/// MRT files.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Archive {
    /// Where: `updates.DATE.TIME.mrt` and `rib.DATE.TIME.mrt`, in UTC.
    directory: Text<AbsolutePath>,
    /// How long one file of updates is written, in whole seconds. Default: 15m.
    rotate_interval: Option<Text<Span>>,
    /// The time between two tables, in whole seconds. Absent: none are written; `routerctl bgp dump` writes one at any time.
    table_interval: Option<Text<Span>>,
    /// How many files of each sort are kept. Default: 700.
    #[schemars(range(min = 1, max = 1_000_000))]
    keep_files: Option<u32>,
}

impl MonitoringSpec {
    pub(super) fn compile(&self, resource: &Resource<'_>, sink: &mut Sink<'_>) -> Monitoring {
        let mut monitoring = Monitoring::default();
        for (index, station) in self.bmp.iter().enumerate() {
            let address = station.address.0;
            let field = format!("monitoring.bmp.{index}");
            let interval = station.statistics_interval.as_ref();
            let interval = interval.map_or(Duration::from_secs(60), |span| span.0.0);
            if interval < Duration::from_secs(1) {
                let found = Diagnostic::error("bad-timer", "statistics come once a second at most")
                    .hint("leave it out: `60s` is the default");
                resource.report(sink, &format!("{field}.statisticsInterval"), found);
            }
            if monitoring.stations.insert(address, interval).is_some() {
                let message = format!("{address} is a station already");
                let found = Diagnostic::error("duplicate-item", message).hint("keep one");
                resource.report(sink, &format!("{field}.address"), found);
            }
        }
        monitoring.archive = self.mrt.as_ref().map(|mrt| mrt.compile(resource, sink));
        monitoring
    }
}

impl Archive {
    fn compile(&self, resource: &Resource<'_>, sink: &mut Sink<'_>) -> MrtArchive {
        let mut whole = |name: &str, written: &Option<Text<Span>>| {
            let span = written.as_ref()?.0.0;
            if span.subsec_nanos() > 0 {
                let message = "the times of files are whole seconds";
                let found = Diagnostic::error("bad-timer", message).hint("write `15m`");
                resource.report(sink, &format!("monitoring.mrt.{name}"), found);
            }
            Some(span)
        };
        let rotate = whole("rotateInterval", &self.rotate_interval);
        let tables = whole("tableInterval", &self.table_interval);
        MrtArchive {
            directory: (&self.directory.0.0).into(),
            rotate: rotate.unwrap_or(Duration::from_secs(15 * 60)),
            tables,
            keep_files: self.keep_files.unwrap_or(700) as usize,
        }
    }
}
