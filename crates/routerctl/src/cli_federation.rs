//! `routerctl federation` on the command line.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use crate::cli::Show;

#[derive(Debug, Subcommand)]
pub(crate) enum FederationVerb {
    /// Events: facts that nodes observed
    Event {
        /// What to do.
        #[command(subcommand)]
        verb: EventVerb,
    },
    /// Deliveries to peers
    Deliveries {
        /// What to do.
        #[command(subcommand)]
        verb: DeliveriesVerb,
    },
    /// The key that this node signs events with
    Key {
        /// What to do.
        #[command(subcommand)]
        verb: KeyVerb,
    },
    /// Plugins that run for events
    Subscription {
        /// What to do.
        #[command(subcommand)]
        verb: SubscriptionVerb,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum EventVerb {
    /// Store an event as if it had been observed; on the disk when this returns
    Emit(Emit),
    /// List events, newest first
    List(ListEvents),
    /// List what became of deliveries, newest first
    Deliveries(ListDeliveries),
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeliveriesVerb {
    /// Show each peer's outbox
    Summary(Source),
}

#[derive(Debug, Subcommand)]
pub(crate) enum KeyVerb {
    /// Show the public keys
    Show(Source),
    /// Make the key that this node will have next, and show it
    Prepare(Source),
    /// Sign with the next key from now on; its peers have to know it
    Activate(Source),
}

#[derive(Debug, Subcommand)]
pub(crate) enum SubscriptionVerb {
    /// List runs, newest first
    Runs(ListRuns),
}

/// Whom to ask and how to print.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// Database to use instead of asking the daemon, stopped or running
    #[arg(long, value_name = "FILE")]
    pub(crate) state_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) show: Show,
}

#[derive(Debug, Args)]
pub(crate) struct Emit {
    /// EventGroup
    #[arg(long)]
    pub(crate) group: String,
    /// What happened, as routerd.client.ipv4.observed
    #[arg(long = "type", value_name = "TYPE")]
    pub(crate) kind: String,
    /// To what, as 10.88.60.9/32
    #[arg(long)]
    pub(crate) subject: String,
    /// Who observed it [default: this node]
    #[arg(long, value_name = "NODE")]
    pub(crate) source_node: Option<String>,
    /// Facts with the same key refresh each other
    #[arg(long, value_name = "KEY")]
    pub(crate) dedupe_key: Option<String>,
    /// Detail; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = entry)]
    pub(crate) payload: Vec<(String, String)>,
    /// How long it is true (90s, 30m, 24h)
    #[arg(long, value_name = "DURATION", value_parser = millis, default_value = "30m")]
    pub(crate) ttl: u64,
    #[command(flatten)]
    pub(crate) source: Source,
}

/// Which rows.
#[derive(Debug, Args)]
pub(crate) struct Rows {
    /// Only this EventGroup
    #[arg(long)]
    pub(crate) group: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
    #[command(flatten)]
    pub(crate) source: Source,
}

#[derive(Debug, Args)]
pub(crate) struct ListEvents {
    /// Only events that are still true, or no longer
    #[arg(long, value_parser = PossibleValuesParser::new(["active", "expired"]))]
    pub(crate) state: Option<String>,
    #[command(flatten)]
    pub(crate) rows: Rows,
}

#[derive(Debug, Args)]
pub(crate) struct ListDeliveries {
    /// Only deliveries in this state
    #[arg(long, value_parser = PossibleValuesParser::new(["pending", "delivered", "refused", "dead"]))]
    pub(crate) state: Option<String>,
    #[command(flatten)]
    pub(crate) rows: Rows,
}

#[derive(Debug, Args)]
pub(crate) struct ListRuns {
    /// Only runs in this state
    #[arg(long, value_parser = PossibleValuesParser::new(["running", "succeeded", "failed", "interrupted"]))]
    pub(crate) state: Option<String>,
    #[command(flatten)]
    pub(crate) rows: Rows,
}

fn entry(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("KEY=VALUE".to_owned()),
    }
}

/// A duration in milliseconds.
fn millis(text: &str) -> Result<u64, String> {
    let split = text.find(|c: char| !c.is_ascii_digit());
    let (digits, unit) = text.split_at(split.unwrap_or(text.len()));
    let factor = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err("a number and one of ms, s, m, h".to_owned()),
    };
    let count: u64 = digits
        .parse()
        .map_err(|_| "a number and a unit".to_owned())?;
    count
        .checked_mul(factor)
        .filter(|millis| *millis > 0)
        .ok_or_else(|| "longer than nothing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_payload_are_what_people_type() {
        assert_eq!(millis("30m"), Ok(1_800_000));
        assert_eq!(millis("250ms"), Ok(250));
        for bad in ["", "30", "m", "0s", "-1s", "1d", "99999999999999999999h"] {
            assert!(millis(bad).is_err(), "{bad}");
        }
        assert_eq!(entry("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(entry("=b").is_err() && entry("a").is_err());
    }
}
