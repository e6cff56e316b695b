//! One file a verb.

mod action;
mod apply;
mod beside;
mod bgp;
mod bgp_dump;
mod completions;
mod describe;
mod doctor;
mod dynamic;
mod events;
mod federation;
mod get;
mod lab;
mod plan;
mod plugin;
mod schema;
mod status;
mod teardown;
mod validate;
mod version;

use api::status::Phase;

use crate::cli::{Cli, Verb};
use crate::client::Client;
use crate::failure::Failure;
use crate::output::Cell;
use crate::terminal::{Colour, Terminal};

/// Runs a verb and gives its exit code.
pub(crate) fn run(cli: &Cli, terminal: &mut Terminal<'_>) -> Result<u8, Failure> {
    let client = Client::new(cli.socket.clone());
    match &cli.verb {
        Verb::Validate(options) => validate::run(options, terminal),
        Verb::Plan(options) => plan::run(options, &client, terminal),
        Verb::Apply(options) => apply::run(options, &client, terminal),
        Verb::Get(options) => get::run(options, &client, terminal),
        Verb::Describe(options) => describe::run(options, &client, terminal),
        Verb::Status(show) => status::run(*show, &client, terminal),
        Verb::Federation { verb } => federation::run(verb, &client, terminal),
        Verb::Bgp { verb } => bgp_dump::run(verb, &client, terminal),
        Verb::Events(show) => events::run(*show, &client, terminal),
        Verb::Dynamic(what) => dynamic::run(what, &client, terminal),
        Verb::Doctor(options) => doctor::run(options, &client, terminal),
        Verb::Action { verb } => action::run(verb, &client, terminal),
        Verb::Plugin { verb } => plugin::run(verb, &client, terminal),
        Verb::Teardown(show) => teardown::run(*show, &client, terminal),
        Verb::Schema => schema::run(terminal),
        Verb::Completions { shell } => completions::run(*shell, terminal),
        Verb::Version(show) => version::run(*show, &client, terminal),
        Verb::Lab { arguments } => lab::run(arguments),
    }
}

fn phase_cell(phase: Phase) -> Cell {
    let colour = match phase {
        Phase::Ready => Colour::Green,
        Phase::Pending => Colour::Yellow,
        Phase::Degraded => Colour::Red,
    };
    Cell::painted(colour, format!("{phase:?}"))
}
