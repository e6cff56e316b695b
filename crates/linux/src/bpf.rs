//! Classic BPF programs on sockets: what nobody wants to know the kernel need not hand over.

use std::io;
use std::os::fd::AsRawFd;

use libc::sock_filter;
use nix::errno::Errno;

/// What a program returns to have a packet whole.
pub const ACCEPT: u32 = u32::MAX;
/// What a program returns to have nothing of a packet.
pub const DROP: u32 = 0;

/// An instruction without jumps.
pub fn statement(code: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt: 0,
        jf: 0,
        k,
    }
}

/// Goes `jt` instructions further if what was loaded equals `k`, else `jf`.
pub fn jump_equal(k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        jt,
        jf,
        ..statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, k)
    }
}

/// Has the kernel run a program on all that the socket receives from now on.
///
/// # Errors
/// When the kernel does not take the program.
pub fn attach(socket: &impl AsRawFd, program: &[sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: program.len() as u16,
        // The kernel copies the program and does not write to it.
        filter: program.as_ptr().cast_mut(),
    };
    #[expect(unsafe_code, reason = "nix does not wrap SO_ATTACH_FILTER")]
    // SAFETY: the option takes one sock_fprog, which points to `len` instructions that outlive the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of_val(&program) as libc::socklen_t,
        )
    };
    Errno::result(result)?;
    Ok(())
}
