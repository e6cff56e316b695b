//! The daemon of routerd: one reconcile loop, the store, the control socket.
//!
//! It connects what `routerd_core` decides with what `linux` does and decides nothing that `routerd_core`
//! could. It may die at any moment: the kernel forwards on, tunnels run in processes of their own, and what
//! was changed is in the store before the change.

mod actions;
mod bgp;
pub mod cli;
mod control;
mod doctor;
mod dynamic;
mod engine;
mod federation;
mod instance;
mod metrics;
mod observer;
mod plugins;
mod serve;
mod store;
mod systemd;
#[cfg(test)]
mod testing;
mod view;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use routerd_core::encapsulation::Encapsulation;

use crate::cli::{Cli, Command, TunnelKind};
#[cfg(feature = "measure")]
pub use crate::federation::measure;

/// Runs the program that the command line asks for.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(options) => serve::serve(&options).map(|()| ExitCode::SUCCESS),
        Command::Doctor(options) => doctor::doctor(&options),
        Command::Dynamic(options) => dynamic::show(&options).map(|()| ExitCode::SUCCESS),
        Command::Federation(options) => federation_once(&options),
        Command::Plugin(stage) => Ok(linux::plugin::main(&stage.stage, &stage.cell, stage.parent)),
        Command::Bfd { socket, foreground } => {
            serve::log_to_stderr();
            linux::bfd::process::run(&linux::bfd::process::Options { socket, foreground })?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Tunnel { kind } => {
            serve::log_to_stderr();
            tunnel(kind)?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// One request on standard input, one answer on standard output.
fn federation_once(options: &cli::StateFile) -> anyhow::Result<ExitCode> {
    let request = serde_json::from_reader(std::io::stdin().lock()).context("read request")?;
    let answer = federation::answer_offline(&options.state_file, federation::now(), request)?;
    serde_json::to_writer(std::io::stdout().lock(), &answer).context("write answer")?;
    Ok(ExitCode::SUCCESS)
}

fn tunnel(kind: TunnelKind) -> std::io::Result<()> {
    let plain = match kind {
        TunnelKind::Wireguard {
            interface,
            uapi_dir,
            foreground,
            take_over,
        } => {
            return linux::tunnel::run(&linux::tunnel::Options {
                interface,
                uapi_dir,
                foreground,
                take_over,
            });
        }
        TunnelKind::Ipip(plain) => plain.options(|_, _| Encapsulation::Ipip),
        TunnelKind::Gre(plain) => plain.options(|key, _| Encapsulation::Gre { key }),
        TunnelKind::Fou(plain) => plain.options(|_, ports| Encapsulation::Fou(ports)),
        TunnelKind::Gue(plain) => plain.options(|_, ports| Encapsulation::Gue(ports)),
    };
    linux::plain::run(&plain)
}
