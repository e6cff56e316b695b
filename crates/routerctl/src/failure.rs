//! Why a command did not do what it was asked, and its exit code.

use std::io;
use std::path::PathBuf;

use api::Diagnostic;
use api::control::Failure as Refusal;

use crate::terminal::Terminal;

/// Nothing went wrong.
pub(crate) const OK: u8 = 0;
/// Something failed.
pub(crate) const FAILED: u8 = 1;
/// What was given is not valid.
pub(crate) const INVALID: u8 = 2;
/// `plan`: the host differs.
pub(crate) const PENDING: u8 = 3;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A file cannot be read.
    #[error("read {}: {source}", path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An argument makes no sense; the second text is the hint.
    #[error("{0}")]
    Argument(String, &'static str),
    /// Nobody listens.
    #[error("cannot reach routerd at {}: {source}", socket.display())]
    Unreachable {
        /// Where.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The daemon answered in a way that makes no sense.
    #[error("{request}: {reason}")]
    Protocol {
        /// What was asked.
        request: String,
        /// What is wrong.
        reason: String,
    },
    /// The daemon refused or failed.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// A program beside this one could not be started.
    #[error("run {}: {source}", program.display())]
    Program {
        /// Which.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Output could not be written.
    #[error("write output: {0}")]
    Output(#[from] io::Error),
    /// A value does not print as JSON or YAML.
    #[error("print: {0}")]
    Print(String),
}

impl Failure {
    /// Tells what went wrong, once, and gives the exit code.
    pub(crate) fn report(&self, terminal: &mut Terminal<'_>) -> u8 {
        // `routerctl … | head` closes the pipe on purpose.
        if let Self::Output(error) = self
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            return OK;
        }
        for diagnostic in self.diagnostics() {
            let _ = writeln!(terminal.err, "{diagnostic}\n");
        }
        let _ = writeln!(terminal.err, "error: {self}");
        if let Self::Refused(refusal) = self
            && refusal.reverted
        {
            let _ = writeln!(
                terminal.err,
                "reverted: what was in force before is in force again"
            );
        }
        if let Some(hint) = self.hint() {
            let _ = writeln!(terminal.err, "hint: {hint}");
        }
        self.code()
    }

    fn code(&self) -> u8 {
        match self {
            Self::Read { .. } | Self::Argument(..) => INVALID,
            Self::Refused(refusal) if !refusal.diagnostics.is_empty() => INVALID,
            _ => FAILED,
        }
    }

    fn diagnostics(&self) -> &[Diagnostic] {
        match self {
            Self::Refused(refusal) => &refusal.diagnostics,
            _ => &[],
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Argument(_, hint) => Some(hint),
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("name the configuration with `-f FILE`")
            }
            Self::Unreachable { source, .. } => Some(match source.kind() {
                io::ErrorKind::PermissionDenied => "run as root, or join the group of the socket",
                _ => {
                    "start it with `systemctl start routerd` or `routerd serve`, or name its socket with `--socket`"
                }
            }),
            _ => None,
        }
    }
}
