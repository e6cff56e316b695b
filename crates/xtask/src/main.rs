//! `cargo run -p xtask -- layers|licences`: checks of the source tree that cargo itself does not make.

mod layers;
mod licences;

use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use serde_json::Value;

fn main() -> ExitCode {
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(findings) => {
            eprintln!("{findings} findings");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Prints what was found and says how much.
fn run() -> Result<usize> {
    let findings = match std::env::args().nth(1).as_deref() {
        Some("layers") => layers::check(&metadata()?)?,
        Some("licences") => licences::check(&metadata()?)?,
        other => bail!(
            "unknown check {}\nhint: layers or licences",
            other.unwrap_or("(none)")
        ),
    };
    for finding in &findings {
        eprintln!("error: {finding}");
    }
    Ok(findings.len())
}

fn metadata() -> Result<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--locked"])
        .output()?;
    if !output.status.success() {
        bail!(
            "cargo metadata: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    serde_json::from_slice(&output.stdout).context("read cargo metadata")
}
