//! `routerctl get`: resources and what became of them.

use api::control::Resource;
use routerd_core::config;
use serde_json::Value;

use super::{bgp, phase_cell};
use crate::cli::Get;
use crate::client::Client;
use crate::failure::{FAILED, Failure, OK};
use crate::kind;
use crate::output::{Cell, Table, print};
use crate::terminal::Terminal;

/// Facts that have a column when one kind is listed: kind, heading, fact.
const COLUMNS: &[(&str, &str, &str)] = &[
    ("WireGuardInterface", "PUBLIC KEY", "publicKey"),
    ("WireGuardInterface", "DRIVER", "driver"),
    ("WireGuardInterface", "MTU", "mtu"),
    ("WireGuardPeer", "HANDSHAKE", "latestHandshake"),
    ("RemoteAddressClaim", "OS REMOVALS", "osAddressRemovals"),
    ("EventGroup", "NODE", "nodeName"),
    ("EventGroup", "PUBLIC KEY", "publicKey"),
    ("EventGroup", "EVENTS", "events"),
    ("EventPeer", "PENDING", "pending"),
    ("EventPeer", "DELIVERED", "delivered"),
    ("EventPeer", "DEAD", "dead"),
    ("EventPeer", "LAST SUCCESS", "lastSuccess"),
    ("EventSubscription", "PENDING", "pending"),
    ("EventSubscription", "FAILED", "failed"),
];

pub(super) fn run(
    options: &Get,
    client: &Client,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Failure> {
    if options.kind.as_deref() == Some("bgp") {
        return bgp::run(options, client, terminal);
    }
    let kind = options.kind.as_deref().map(known_kind).transpose()?;
    let mut resources: Vec<Resource> = client.get("/v1/resources")?;
    if let Some(kind) = kind {
        resources.retain(|resource| resource.id.kind == kind);
    }
    if let (Some(kind), Some(name)) = (kind, &options.name) {
        resources.retain(|resource| resource.id.name == *name);
        if resources.is_empty() {
            writeln!(terminal.err, "error: there is no {kind}/{name}")?;
            return Ok(FAILED);
        }
    }
    print(terminal, options.show.output, &resources, |list, to| {
        table(kind, list, to)
    })?;
    Ok(OK)
}

/// The kind that a word on the command line means.
pub(super) fn known_kind(typed: &str) -> Result<&'static str, Failure> {
    kind::find(typed, &config::kinds())
}

fn table(
    kind: Option<&str>,
    resources: &[Resource],
    terminal: &mut Terminal<'_>,
) -> Result<(), Failure> {
    if resources.is_empty() {
        let what = kind.map_or_else(
            || "resources".to_owned(),
            |kind| format!("{kind} resources"),
        );
        writeln!(terminal.err, "no {what}")?;
        return Ok(());
    }
    let extra: Vec<_> = COLUMNS.iter().filter(|c| Some(c.0) == kind).collect();
    let mut headings = vec!["NAME", "PHASE"];
    if kind.is_none() {
        headings.insert(0, "KIND");
    }
    headings.extend(extra.iter().map(|(_, heading, _)| heading));
    headings.push("MESSAGE");
    let mut table = Table::new(headings);
    for resource in resources {
        let status = &resource.status;
        let mut row: Vec<Cell> = vec![resource.id.name.as_str().into(), phase_cell(status.phase)];
        if kind.is_none() {
            row.insert(0, resource.id.kind.as_str().into());
        }
        let facts = extra.iter().map(|(_, _, fact)| status.facts.get(*fact));
        row.extend(facts.map(|fact| Cell::from(fact.map_or_else(String::new, short))));
        row.push(status.message.as_str().into());
        table.row(row);
    }
    table.print(terminal)
}

/// A fact on one line.
pub(super) fn short(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
