//! Which build a process runs, so that the daemon can tell a tunnel of another build than its own.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The request on the configuration socket. It is ours alone: other implementations answer an error or close.
pub(crate) const REQUEST: &str = "build=1\n\n";

/// A program file: the version, the file's size and when it was written. The same bytes installed again may count as
/// another build, never the other way round.
pub(crate) fn identity(file: &Path) -> io::Result<String> {
    let metadata = std::fs::metadata(file)?;
    let (seconds, nanos) = (metadata.mtime(), metadata.mtime_nsec());
    let version = env!("CARGO_PKG_VERSION");
    Ok(format!(
        "{version} {:x}-{seconds:x}.{nanos:x}",
        metadata.size()
    ))
}

/// The program of this process, also when its file was replaced or removed since.
pub(crate) fn running() -> io::Result<String> {
    identity(Path::new("/proc/self/exe"))
}

/// The answer to [`REQUEST`] without its closing line.
pub(crate) fn answer(build: &str) -> String {
    format!("build={build}\n")
}

/// Reads the answer; absent if it is that of a foreign program.
pub(crate) fn parse(answer: &str) -> Option<&str> {
    answer.lines().find_map(|line| line.strip_prefix("build="))
}
