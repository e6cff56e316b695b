//! The process that is taken over.

use std::io;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use super::super::Shared;
use super::super::device::Device;
use super::super::gate::Shut;
use super::super::uapi;
use super::estate::Estate;
use super::{Answer, Ask, COMMIT_LIMIT, link, say};
use crate::namespace::pass::receive_line;

/// Who may change the configuration: one at a time, and nobody between the switch and its end.
#[derive(Debug, Default)]
pub(in crate::tunnel) struct Office {
    duty: Mutex<Duty>,
    /// Held during a take-over, of which there is one at a time.
    succession: Mutex<()>,
}

#[derive(Debug, Default)]
pub(in crate::tunnel) struct Duty {
    /// Counts what was changed.
    pub(in crate::tunnel) changes: u64,
    /// Whether another process has the device.
    pub(in crate::tunnel) retired: bool,
}

impl Office {
    pub(in crate::tunnel) fn duty(&self) -> MutexGuard<'_, Duty> {
        self.duty.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the device to whoever asked for it on `stream`; returns if that fails and everything is as before.
pub(in crate::tunnel) fn give(stream: &UnixStream, shared: &Shared) -> io::Result<()> {
    let office = &shared.office;
    let _succession = match office.succession.try_lock() {
        Ok(succession) => succession,
        Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
        Err(TryLockError::WouldBlock) => return refuse(stream),
    };
    if office.duty().retired || shared.aftermath.is_going_on() {
        return refuse(stream);
    }
    let device = &shared.device;
    let (ours, theirs) = link::pair()?;
    let ours = Arc::new(ours);
    let changes = {
        let duty = office.duty();
        let sockets = device.udp.sockets();
        let mut fds = Estate::descriptors(device, &sockets);
        fds.push(std::os::fd::AsFd::as_fd(&theirs));
        let estate = Answer::Estate(Estate::of(device, &sockets));
        say(stream, &estate, &fds)?;
        duty.changes
    };
    drop(theirs);
    device.neighbour.meet(Arc::clone(&ours), None);
    let listener = {
        let (device, handshakes) = (Arc::clone(device), shared.handshakes.clone());
        let listen = move || link::receive(&device, &ours, &handshakes);
        std::thread::Builder::new()
            .name("link".to_owned())
            .spawn(listen)?
    };
    let result = hand_over(stream, shared, changes);
    device.neighbour.part();
    // It ends with the successor, who closed the other end.
    drop(listener);
    result
}

fn refuse(mut stream: &UnixStream) -> io::Result<()> {
    io::Write::write_all(&mut stream, uapi::format_errno(libc::EBUSY).as_bytes())
}

/// Answers until the successor has the device, or has gone.
fn hand_over(stream: &UnixStream, shared: &Shared, changes: u64) -> io::Result<()> {
    let device = &shared.device;
    // The successor waits for peers; if it dies, the stream ends.
    stream.set_read_timeout(None)?;
    loop {
        match next(stream)? {
            Ask::Look => say(stream, &Answer::Peers(device.notes()), &[])?,
            Ask::Switch => {
                let mut duty = shared.office.duty();
                if duty.changes != changes {
                    return say(stream, &Answer::Changed, &[]);
                }
                let shut = device.gate.shut();
                say(stream, &Answer::Peers(device.notes()), &[])?;
                stream.set_read_timeout(Some(COMMIT_LIMIT))?;
                let Ask::Commit = next(stream)? else {
                    return Err(io::ErrorKind::InvalidData.into());
                };
                say(stream, &Answer::Retired, &[])?;
                duty.retired = true;
                drop(duty);
                linger(stream, device, &shut);
            }
            Ask::Commit | Ask::End => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

fn next(stream: &UnixStream) -> io::Result<Ask> {
    let (line, _) = receive_line(stream)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    serde_json::from_str(&line).map_err(io::Error::other)
}

/// Deals with what comes late until the successor says that nothing will, and ends the process.
fn linger(stream: &UnixStream, device: &Device, _shut: &Shut<'_>) -> ! {
    let last = stream.set_read_timeout(None).and_then(|()| next(stream));
    if let Ok(Ask::End) = last {
        // Who does not wait for the figures does without.
        let _ = say(stream, &Answer::Farewell(device.notes()), &[]);
    }
    tracing::info!("another process has the device: ending");
    std::process::exit(0)
}
