//! `routerctl lab`: becomes the lab's program.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;

use super::beside;
use crate::failure::Failure;

pub(super) fn run(arguments: &[OsString]) -> Result<u8, Failure> {
    let mut command = beside::command("routerd-lab")?;
    command.args(arguments);
    // Only returns if it fails.
    let error = command.exec();
    Err(beside::failed(&command)(error))
}
