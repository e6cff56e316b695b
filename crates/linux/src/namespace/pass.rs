//! Lines of text with file descriptors attached, over a Unix socket (`SCM_RIGHTS`).

use std::io::{self, IoSlice, IoSliceMut, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// The most descriptors that one line carries.
pub const MAX_DESCRIPTORS: usize = 32;

/// Sends a line, which must not contain a line feed, with descriptors.
///
/// # Errors
/// When the other side is gone.
pub fn send_line(socket: &UnixStream, line: &str, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = format!("{line}\n").into_bytes();
    let raw: Vec<_> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let attached = if raw.is_empty() { &[][..] } else { &rights[..] };
    let parts = [IoSlice::new(&bytes)];
    let flags = MsgFlags::MSG_NOSIGNAL;
    let sent = sendmsg::<()>(socket.as_fd().as_raw_fd(), &parts, attached, flags, None)?;
    let mut rest = socket;
    rest.write_all(&bytes[sent..])
}

/// Waits for a line and what is attached to it; `None` at the end of the stream.
///
/// Both sides take turns: what follows the line feed in the same read is dropped.
///
/// # Errors
/// When reading fails.
pub fn receive_line(socket: &UnixStream) -> io::Result<Option<(String, Vec<OwnedFd>)>> {
    let mut line = Vec::new();
    let mut fds = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let count = receive_some(socket, &mut chunk, &mut fds)?;
        if count == 0 {
            return Ok(None);
        }
        line.extend_from_slice(&chunk[..count]);
        if let Some(end) = line.iter().position(|b| *b == b'\n') {
            line.truncate(end);
            let text = String::from_utf8(line)
                .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
            return Ok(Some((text, fds)));
        }
    }
}

fn receive_some(
    socket: &UnixStream,
    chunk: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> io::Result<usize> {
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; MAX_DESCRIPTORS]);
    let mut parts = [IoSliceMut::new(chunk)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = control {
            #[expect(
                unsafe_code,
                reason = "the kernel has just made these descriptors for this process"
            )]
            fds.extend(
                raw.into_iter()
                    .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
            );
        }
    }
    Ok(message.bytes)
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;

    #[test]
    fn a_line_carries_descriptors() {
        let (a, b) = UnixStream::pair().expect("pair");
        let null = File::open("/dev/zero").expect("zero");
        send_line(&a, "hello", &[null.as_fd()]).expect("send");
        drop(a);
        let (line, mut fds) = receive_line(&b).expect("receive").expect("line");
        assert_eq!((line.as_str(), fds.len()), ("hello", 1));
        let mut byte = [1];
        let mut file = File::from(fds.remove(0));
        file.read_exact(&mut byte).expect("read");
        assert_eq!(byte, [0]);
        assert!(receive_line(&b).expect("end").is_none());
    }
}
