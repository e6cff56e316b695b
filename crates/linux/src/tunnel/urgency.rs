//! Threads that carry packets go before those that wait for the packets.

use nix::errno::Errno;

/// `nice` of a thread that carries packets: where all cores are busy it gets nine tenths of one. The last tenth keeps
/// the host reachable under any flood, which a real-time priority would not.
const NICE: i32 = -10;

/// How long it may run before another has its turn. The shorter, the sooner it runs after a packet has come: it is a
/// queue of packets that grows in the meantime, so it does not wait for others to use up theirs (Linux 6.12 and later;
/// before that the kernel passes over it).
const SLICE_NS: u64 = 100_000;

/// `struct sched_attr` in its first version (sched_setattr(2)).
#[repr(C)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Puts the calling thread before others. Where that is not allowed it runs like any other.
pub(crate) fn go_first() {
    // A nap of 40 µs is not to become one of 90.
    if let Err(error) = nix::sys::prctl::set_timerslack(1_000) {
        tracing::debug!(%error, "ask for exact timers");
    }
    let attributes = Attributes {
        size: size_of::<Attributes>() as u32,
        policy: libc::SCHED_OTHER as u32,
        flags: 0,
        nice: NICE,
        priority: 0,
        runtime: SLICE_NS,
        deadline: 0,
        period: 0,
    };
    #[expect(unsafe_code, reason = "libc does not wrap sched_setattr")]
    // SAFETY: a pointer to a whole structure that says its own size, which the kernel reads; 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if let Err(error) = Errno::result(result) {
        tracing::debug!(%error, "ask to go first");
    }
}
