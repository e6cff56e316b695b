//! The side of the control socket that the lab is on.

use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::sync::Arc;
use std::thread::Builder;

use anyhow::{Context, Result, bail};
use linux::namespace::pass;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::{Reply, Request};
use crate::faults;
use crate::lab::Lab;

/// Serves until the lab ends.
///
/// # Errors
/// When the thread cannot be started.
pub fn serve(listener: UnixListener, lab: Arc<Lab>) -> Result<()> {
    Builder::new().name("control".to_owned()).spawn(move || {
        for socket in listener.incoming().flatten() {
            let lab = Arc::clone(&lab);
            std::thread::spawn(move || {
                // A caller that is gone has no use for an answer.
                drop(answer(&socket, &lab));
            });
        }
    })?;
    Ok(())
}

fn answer(socket: &UnixStream, lab: &Lab) -> Result<()> {
    let Some((line, fds)) = pass::receive_line(socket)? else {
        return Ok(());
    };
    let reply = serde_json::from_str(&line)
        .context("read the request")
        .and_then(|request| carry_out(&request, fds, socket, lab))
        .unwrap_or_else(|error| Reply::Refused(format!("{error:#}")));
    pass::send_line(socket, &serde_json::to_string(&reply)?, &[])?;
    Ok(())
}

fn carry_out(
    request: &Request,
    fds: Vec<OwnedFd>,
    socket: &UnixStream,
    lab: &Lab,
) -> Result<Reply> {
    match request {
        Request::Status => Ok(Reply::Status(serde_json::to_value(lab.status())?)),
        Request::Exec { node, argv, term } => {
            execute(lab, node, argv, term.as_deref(), fds, socket)
        }
        Request::Break { target, fault } => faults::inject(lab, target, *fault).map(Reply::Done),
        // The kernel takes everything else down with this process; the caller sees the line close.
        Request::Down => std::process::exit(0),
    }
}

fn execute(
    lab: &Lab,
    node: &str,
    argv: &[String],
    term: Option<&str>,
    fds: Vec<OwnedFd>,
    socket: &UnixStream,
) -> Result<Reply> {
    let (program, arguments) = argv.split_first().context("no program")?;
    let Ok([stdin, stdout, stderr]) = <[OwnedFd; 3]>::try_from(fds) else {
        bail!("three descriptors are needed");
    };
    let mut command = lab.node(node)?.command(program);
    command.args(arguments).process_group(0);
    if let Some(term) = term {
        command.env("TERM", term);
    }
    let mut child = command
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr))
        .spawn()
        .with_context(|| format!("run {program} in {node}"))?;
    drop(command);
    let group = Pid::from_raw(child.id() as i32);
    let mut line = socket.try_clone()?;
    std::thread::spawn(move || {
        // The caller says nothing more; an end of the stream means that it is gone.
        if matches!(line.read(&mut [0]), Ok(0) | Err(_)) {
            let _ = killpg(group, Signal::SIGTERM);
        }
    });
    let status = child.wait()?;
    let code = status.code().and_then(|c| u8::try_from(c).ok());
    Ok(Reply::Exited(code.unwrap_or(1)))
}
