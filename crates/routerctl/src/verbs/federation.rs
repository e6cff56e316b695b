//! `routerctl federation`: events, where they go, and what runs for them.
//!
//! Asks the daemon, or, given a state file, the daemon's program: the same answers either way.

use api::federation::{Answer, Delivery, NewEvent, Outbox, Request, Run, Selection, StoredEvent};
use api::time::Timestamp;

use super::beside;
use crate::cli_federation::{
    DeliveriesVerb, Emit, EventVerb, FederationVerb, KeyVerb, Rows, Source, SubscriptionVerb,
};
use crate::client::Client;
use crate::failure::{FAILED, Failure, OK};
use crate::output::{Cell, Table, print};
use crate::terminal::{Colour, Terminal};

pub(super) fn run(
    verb: &FederationVerb,
    client: &Client,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Failure> {
    let (request, source) = request(verb);
    let answer = match &source.state_file {
        None => client.post("/v1/federation", &request)?,
        Some(path) => {
            let mut command = beside::command("routerd")?;
            command.args(["federation", "--state-file"]).arg(path);
            beside::exchange(&mut command, &request)?
        }
    };
    show(&answer, source, terminal)
}

fn request(verb: &FederationVerb) -> (Request, &Source) {
    match verb {
        FederationVerb::Event { verb } => match verb {
            EventVerb::Emit(emit) => (Request::Emit(event(emit)), &emit.source),
            EventVerb::List(list) => {
                let selection = selection(&list.rows, list.state.as_ref());
                (Request::Events(selection), &list.rows.source)
            }
            EventVerb::Deliveries(list) => {
                let selection = selection(&list.rows, list.state.as_ref());
                (Request::Deliveries(selection), &list.rows.source)
            }
        },
        FederationVerb::Deliveries { verb } => {
            let DeliveriesVerb::Summary(source) = verb;
            (Request::Summary, source)
        }
        FederationVerb::Key { verb } => match verb {
            KeyVerb::Show(source) => (Request::Key, source),
            KeyVerb::Prepare(source) => (Request::PrepareKey, source),
            KeyVerb::Activate(source) => (Request::ActivateKey, source),
        },
        FederationVerb::Subscription { verb } => {
            let SubscriptionVerb::Runs(list) = verb;
            let selection = selection(&list.rows, list.state.as_ref());
            (Request::Runs(selection), &list.rows.source)
        }
    }
}

fn event(emit: &Emit) -> NewEvent {
    NewEvent {
        group: emit.group.clone(),
        kind: emit.kind.clone(),
        subject: emit.subject.clone(),
        source_node: emit.source_node.clone(),
        dedupe_key: emit.dedupe_key.clone(),
        payload: emit.payload.iter().cloned().collect(),
        ttl: emit.ttl,
    }
}

fn selection(rows: &Rows, state: Option<&String>) -> Selection {
    Selection {
        group: rows.group.clone(),
        state: state.cloned(),
        limit: rows.limit,
    }
}

fn show(answer: &Answer, source: &Source, terminal: &mut Terminal<'_>) -> Result<u8, Failure> {
    let output = source.show.output;
    match answer {
        Answer::Failed(why) => {
            writeln!(terminal.err, "error: {why}")?;
            return Ok(FAILED);
        }
        Answer::Emitted(event) => print(terminal, output, event, |event, to| {
            writeln!(
                to.out,
                "event {} stored, true until {}",
                event.id, event.expires_at
            )?;
            Ok(())
        })?,
        Answer::Events(list) => print(terminal, output, list, |list, to| events(list, to))?,
        Answer::Deliveries(list) => print(terminal, output, list, |list, to| deliveries(list, to))?,
        Answer::Summary(list) => print(terminal, output, list, |list, to| summary(list, to))?,
        Answer::Keys(keys) => print(terminal, output, keys, |keys, to| {
            for (name, key) in [("current", &keys.current), ("next", &keys.next)] {
                let key = key.as_deref().unwrap_or("none");
                writeln!(to.out, "{name:<8} {key}")?;
            }
            Ok(())
        })?,
        Answer::Runs(list) => print(terminal, output, list, |list, to| runs(list, to))?,
    }
    Ok(OK)
}

fn events(list: &[StoredEvent], terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    if list.is_empty() {
        writeln!(terminal.out, "no events")?;
        return Ok(());
    }
    let headings = [
        "OBSERVED", "STATE", "GROUP", "SOURCE", "TYPE", "SUBJECT", "EXPIRES", "ID",
    ];
    let mut table = Table::new(headings);
    for stored in list {
        let event = &stored.event;
        let state = match stored.active {
            true => Cell::painted(Colour::Green, "active"),
            false => "expired".into(),
        };
        table.row([
            event.observed_at.to_string().into(),
            state,
            event.group.as_str().into(),
            event.source_node.as_str().into(),
            event.kind.as_str().into(),
            event.subject.as_str().into(),
            event.expires_at.to_string().into(),
            event.id.as_str().into(),
        ]);
    }
    table.print(terminal)
}

fn deliveries(list: &[Delivery], terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    if list.is_empty() {
        writeln!(terminal.out, "no deliveries")?;
        return Ok(());
    }
    let headings = [
        "STORED", "PEER", "STATE", "TYPE", "SUBJECT", "SETTLED", "ID", "WHY",
    ];
    let mut table = Table::new(headings);
    for delivery in list {
        table.row([
            delivery.stored_at.to_string().into(),
            delivery.peer.as_str().into(),
            state(&delivery.state),
            delivery.kind.as_str().into(),
            delivery.subject.as_str().into(),
            time(delivery.settled_at),
            delivery.id.as_str().into(),
            delivery.detail.as_deref().unwrap_or_default().into(),
        ]);
    }
    table.print(terminal)
}

fn summary(list: &[Outbox], terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    if list.is_empty() {
        writeln!(terminal.out, "no peer is sent events")?;
        return Ok(());
    }
    let headings = [
        "PEER",
        "PENDING",
        "DELIVERED",
        "REFUSED",
        "DEAD",
        "OLDEST",
        "LAST SUCCESS",
        "FAILURES",
        "NEXT ATTEMPT",
        "ERROR",
    ];
    let mut table = Table::new(headings);
    for outbox in list {
        table.row([
            outbox.peer.as_str().into(),
            outbox.pending.to_string().into(),
            outbox.delivered.to_string().into(),
            outbox.refused.to_string().into(),
            outbox.dead.to_string().into(),
            time(outbox.oldest),
            time(outbox.succeeded_at),
            outbox.failures.to_string().into(),
            time(outbox.next_attempt),
            outbox.error.as_deref().unwrap_or_default().into(),
        ]);
    }
    table.print(terminal)
}

fn runs(list: &[Run], terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    if list.is_empty() {
        writeln!(terminal.out, "no runs")?;
        return Ok(());
    }
    let mut table = Table::new([
        "RUN",
        "SUBSCRIPTION",
        "PLUGIN",
        "STATE",
        "EVENTS",
        "BEGAN",
        "ENDED",
        "ERROR",
    ]);
    for run in list {
        table.row([
            run.id.to_string().into(),
            run.subscription.as_str().into(),
            run.plugin.as_str().into(),
            state(&run.state),
            run.events.to_string().into(),
            run.began_at.to_string().into(),
            time(run.ended_at),
            run.error.as_deref().unwrap_or_default().into(),
        ]);
    }
    table.print(terminal)
}

fn state(state: &str) -> Cell {
    let colour = match state {
        "delivered" | "succeeded" => Colour::Green,
        "pending" | "running" | "interrupted" => Colour::Yellow,
        _ => Colour::Red,
    };
    Cell::painted(colour, state)
}

fn time(time: Option<Timestamp>) -> Cell {
    time.map_or_else(String::new, |time| time.to_string())
        .into()
}
