//! Running programs with a deadline.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::slowness::slowed;

/// What a program said and how it ended.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Exit status; absent when it was ended at its deadline.
    pub status: Option<ExitStatus>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Whether it ended by itself with status 0.
    pub fn success(&self) -> bool {
        self.status.is_some_and(|s| s.success())
    }

    /// The last words of a program that failed, in one line.
    pub fn complaint(&self) -> String {
        let status = match self.status {
            Some(status) => status.to_string(),
            None => "ended at its deadline".to_owned(),
        };
        let text = if self.stderr.trim().is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        let lines: Vec<&str> = text.trim().lines().rev().take(3).collect();
        let last: Vec<&str> = lines.into_iter().rev().collect();
        format!("{status}: {}", last.join(" | "))
    }
}

/// Runs a program to its end, or ends it at the deadline, which is that of a machine at full speed.
///
/// # Errors
/// When it cannot be started.
pub fn run(command: &mut Command, limit: Duration) -> io::Result<Outcome> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    let status = wait(&mut child, slowed(limit))?;
    if status.is_none() {
        child.kill()?;
        child.wait()?;
    }
    Ok(Outcome {
        status,
        stdout: text(stdout),
        stderr: text(stderr),
    })
}

/// Waits for the end of a program at most this long.
///
/// # Errors
/// When it cannot be waited for.
pub fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(1);
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn collect(from: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            // What was read before an error is all there is to show.
            drop(from.read_to_end(&mut bytes));
        }
        bytes
    })
}

fn text(bytes: JoinHandle<Vec<u8>>) -> String {
    let bytes = bytes.join().unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}
