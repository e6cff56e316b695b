//! The side of the control socket that the command line is on: finding labs and asking them.

use std::fs;
use std::io::{self, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use linux::namespace::pass;
use nix::unistd::geteuid;

use super::{Reply, Request};

/// Where the sockets of this user's labs are.
fn directory() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let dir = match base.filter(|base| base.is_dir()) {
        Some(base) => base.join("routerd-lab"),
        None => std::env::temp_dir().join(format!("routerd-lab-{}", geteuid())),
    };
    match fs::DirBuilder::new().mode(0o700).create(&dir) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            return Err(e).with_context(|| format!("create {}", dir.display()));
        }
        _ => {}
    }
    let meta = fs::symlink_metadata(&dir)?;
    if !meta.is_dir() || meta.uid() != geteuid().as_raw() || meta.mode() & 0o077 != 0 {
        bail!("{} is not a private directory of this user", dir.display());
    }
    Ok(dir)
}

fn path_of(lab: &str) -> Result<PathBuf> {
    Ok(directory()?.join(format!("{lab}.sock")))
}

/// Binds the socket of a new lab.
///
/// # Errors
/// When a lab of that name is running.
pub fn bind(lab: &str) -> Result<(UnixListener, PathBuf)> {
    let path = path_of(lab)?;
    if UnixStream::connect(&path).is_ok() {
        bail!("lab {lab} is running\nhint: `routerctl lab down {lab}`");
    }
    // What a lab that was killed has left behind.
    drop(fs::remove_file(&path));
    let listener = UnixListener::bind(&path).with_context(|| format!("bind {}", path.display()))?;
    Ok((listener, path))
}

/// The labs of this user that run.
///
/// # Errors
/// When the directory cannot be read.
pub fn running() -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory()?)? {
        let path = entry?.path();
        if UnixStream::connect(&path).is_ok() {
            names.extend(path.file_stem().map(|n| n.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// The lab that is meant: the one named, or the only one.
///
/// # Errors
/// When none runs, or several do and none is named.
pub fn choose(named: Option<&str>) -> Result<String> {
    if let Some(name) = named {
        return Ok(name.to_owned());
    }
    let mut names = running()?;
    match (names.pop(), names.is_empty()) {
        (Some(only), true) => Ok(only),
        (None, _) => bail!("no lab is running\nhint: `routerctl lab up two-site-azure`"),
        (Some(last), false) => bail!(
            "several labs are running: {}, {last}\nhint: name one with --lab",
            names.join(", ")
        ),
    }
}

/// Asks a lab; for [`Request::Exec`] our standard streams go along.
///
/// # Errors
/// When no such lab runs, or it refuses.
pub fn ask(lab: &str, request: &Request) -> Result<Reply> {
    let path = path_of(lab)?;
    let socket = UnixStream::connect(&path).with_context(|| format!("lab {lab} is not running"))?;
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
    let attached = match request {
        Request::Exec { .. } => &streams[..],
        _ => &[],
    };
    pass::send_line(&socket, &serde_json::to_string(request)?, attached)?;
    let answer = pass::receive_line(&socket)?;
    let ended = matches!(request, Request::Down) && answer.is_none();
    if matches!(request, Request::Down) {
        remove(&path);
    }
    match answer {
        _ if ended => Ok(Reply::Done(format!("lab {lab} is down"))),
        None => bail!("lab {lab} ended"),
        Some((line, _)) => match serde_json::from_str(&line)? {
            Reply::Refused(why) => bail!("{why}"),
            reply => Ok(reply),
        },
    }
}

fn remove(path: &Path) {
    // The lab is gone; a socket that nobody listens on is replaced by the next one.
    drop(fs::remove_file(path));
}

/// The `TERM` that a program in a node should have.
pub fn terminal() -> Option<String> {
    io::stdout()
        .is_terminal()
        .then(|| std::env::var("TERM").ok())
        .flatten()
}
