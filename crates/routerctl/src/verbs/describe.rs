//! `routerctl describe`: everything about one resource.

use api::ResourceId;
use api::control::Resource;
use serde_json::Value;

use super::bgp;
use super::get::{known_kind, short};
use crate::cli::Describe;
use crate::client::Client;
use crate::failure::{FAILED, Failure, OK};
use crate::output::{print, yaml};
use crate::terminal::{Colour, Terminal};

pub(super) fn run(
    options: &Describe,
    client: &Client,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Failure> {
    if let ("bgp", Some(destination)) = (options.resource.as_str(), &options.name) {
        return bgp::explain(destination, options.show, client, terminal);
    }
    let id = identity(options)?;
    let resources: Vec<Resource> = client.get("/v1/resources")?;
    let Some(resource) = resources.into_iter().find(|resource| resource.id == id) else {
        writeln!(terminal.err, "error: there is no {id}")?;
        writeln!(terminal.err, "hint: `routerctl get {}` lists them", id.kind)?;
        return Ok(FAILED);
    };
    print(terminal, options.show.output, &resource, table)?;
    Ok(OK)
}

fn identity(options: &Describe) -> Result<ResourceId, Failure> {
    let (kind, name) = match (&options.name, options.resource.split_once('/')) {
        (Some(name), None) => (options.resource.as_str(), name.as_str()),
        (None, Some(both)) => both,
        _ => {
            return Err(Failure::Argument(
                format!("`{}` names no resource", options.resource),
                "write KIND/NAME, for example RemoteAddressClaim/app",
            ));
        }
    };
    Ok(ResourceId::new(known_kind(kind)?, name))
}

fn table(resource: &Resource, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let status = &resource.status;
    let title = terminal.paint(Colour::Bold, &resource.id.to_string());
    writeln!(terminal.out, "{title}")?;
    writeln!(terminal.out, "api version  {}", resource.api_version)?;
    writeln!(terminal.out, "phase        {:?}", status.phase)?;
    writeln!(terminal.out, "message      {}", status.message)?;
    section("facts", terminal)?;
    let width = status.facts.keys().map(String::len).max().unwrap_or(0);
    for (name, fact) in &status.facts {
        writeln!(terminal.out, "  {name:width$}  {}", short(fact))?;
    }
    section("spec", terminal)?;
    indented(&spec(&resource.spec)?, terminal)?;
    section("made on the host", terminal)?;
    indented(&resource.objects.join("\n"), terminal)
}

fn spec(value: &Value) -> Result<String, Failure> {
    match value {
        Value::Object(fields) if fields.is_empty() => Ok(String::new()),
        value => yaml(value),
    }
}

fn section(name: &str, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    let name = terminal.paint(Colour::Bold, name);
    writeln!(terminal.out, "\n{name}")?;
    Ok(())
}

fn indented(text: &str, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    if text.is_empty() {
        writeln!(terminal.out, "  (none)")?;
    }
    for line in text.lines() {
        writeln!(terminal.out, "  {line}")?;
    }
    Ok(())
}
