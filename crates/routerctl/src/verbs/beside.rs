//! Programs of the same installation.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::failure::Failure;

/// A program in this one's own directory, else wherever the system finds it.
pub(super) fn command(name: &str) -> Result<Command, Failure> {
    let program = std::env::current_exe()
        .ok()
        .map(|this| this.with_file_name(name))
        .filter(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from(name));
    Ok(Command::new(program))
}

/// Runs a command that prints JSON, whatever its exit status; what it says on standard error is heard.
pub(super) fn json<T: DeserializeOwned>(command: &mut Command) -> Result<T, Failure> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(failed(command))?;
    let wrong = |reason| Failure::Protocol {
        request: words(command),
        reason,
    };
    if output.stdout.is_empty() {
        return Err(wrong(output.status.to_string()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| wrong(error.to_string()))
}

/// Runs a command that reads one JSON value and prints another.
pub(super) fn exchange<T: DeserializeOwned>(
    command: &mut Command,
    request: &impl Serialize,
) -> Result<T, Failure> {
    let wrong = |command: &Command, reason: String| Failure::Protocol {
        request: words(command),
        reason,
    };
    let request = serde_json::to_vec(request).map_err(|e| wrong(command, e.to_string()))?;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed(command))?;
    if let Some(mut input) = child.stdin.take() {
        // A program that ends without reading says why on its standard error.
        let _ = input.write_all(&request);
    }
    let output = child.wait_with_output().map_err(failed(command))?;
    if output.stdout.is_empty() {
        return Err(wrong(command, output.status.to_string()));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| wrong(command, e.to_string()))
}

/// Why a command could not be started.
pub(super) fn failed(command: &Command) -> impl FnOnce(std::io::Error) -> Failure + use<> {
    let program = PathBuf::from(command.get_program());
    move |source| Failure::Program { program, source }
}

fn words(command: &Command) -> String {
    let arguments = command.get_args().map(OsString::from);
    let words = std::iter::once(command.get_program().to_owned()).chain(arguments);
    let words: Vec<String> = words.map(|w| w.to_string_lossy().into_owned()).collect();
    words.join(" ")
}
