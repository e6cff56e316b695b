//! `ping`.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;

use crate::node::Node;
use crate::slowness::slowed;

/// What `ping` counted.
#[derive(Debug, Clone, PartialEq)]
pub struct Ping {
    /// Echo requests.
    pub sent: u32,
    /// Echo replies.
    pub received: u32,
    /// The shortest time from a request to its answer.
    pub fastest_ms: Option<f64>,
    /// `ping`'s own words.
    pub summary: String,
}

impl Ping {
    /// Whether every request was answered.
    pub fn complete(&self) -> bool {
        self.sent > 0 && self.sent == self.received
    }
}

/// Sends `count` echo requests, 0.2 s apart, and waits at most a second for each answer.
///
/// # Errors
/// When `ping` cannot be run.
pub fn ping(from: &Node, to: Ipv4Addr, count: u32) -> Result<Ping> {
    let (count, to) = (count.to_string(), to.to_string());
    let patience = slowed(Duration::from_secs(1)).as_secs().to_string();
    let argv = [
        "ping", "-n", "-i", "0.2", "-W", &patience, "-c", &count, &to,
    ];
    let outcome = from.run(&argv, Duration::from_secs(15))?;
    let line = outcome.stdout.lines().find(|l| l.contains("transmitted"));
    let summary = line.map_or_else(|| outcome.complaint(), str::to_owned);
    let times = outcome.stdout.lines().find(|l| l.starts_with("rtt "));
    let fastest = times.and_then(|line| line.split([' ', '/']).find_map(|word| word.parse().ok()));
    let mut numbers = summary.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.find_map(|n| n.parse().ok()).unwrap_or(0);
    Ok(Ping {
        sent: number(),
        received: number(),
        fastest_ms: fastest,
        summary: summary.clone(),
    })
}
