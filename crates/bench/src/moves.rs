//! Allowed IPs that move between two peers of a user-space device, through its configuration socket. What happens to
//! traffic meanwhile is a test's business (`prefixes_move_by_the_ten_thousand_and_nothing_is_lost`).

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::sandbox::sh;
use crate::tunnel::{ours, until};
use crate::{Row, median};

const SOCKET: &str = "/run/wireguard/wg0.sock";

/// Prefixes, and how many of them in one request.
const PREFIXES: usize = 1_000;
const AT_ONCE: usize = 50;

/// How long they move.
const TIME: Duration = Duration::from_secs(2);

pub fn run() -> Result<Vec<Row>> {
    let name = "allowed-IP moves, 1,000 prefixes";
    let mut mine = vec![measure(&ours()?)?];
    if sh("command -v wireguard-go").is_err() {
        eprintln!("  skipped: wireguard-go is not installed");
        return Ok(vec![Row::more(
            name,
            "moves/s",
            median(mine),
            ("goal", 10_000.0),
            1.0,
        )]);
    }
    let mut peer = vec![measure("wireguard-go -f wg0")?];
    for _ in 0..2 {
        mine.push(measure(&ours()?)?);
        peer.push(measure("wireguard-go -f wg0")?);
    }
    let (mine, peer) = (median(mine), median(peer));
    Ok(vec![
        Row::more(name, "moves/s", mine, ("goal", 10_000.0), 1.0),
        Row::more(name, "moves/s", mine, ("wireguard-go", peer), 1.0),
    ])
}

/// A device of its own; gone when dropped.
struct Device(Child);

impl Drop for Device {
    fn drop(&mut self) {
        // Already gone is fine.
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = sh(&format!("ip link del wg0; rm -f {SOCKET}"));
    }
}

/// Moves a second.
fn measure(program: &str) -> Result<f64> {
    let child = Command::new("sh")
        .args(["-c", &format!("exec {program}")])
        .env("WG_PROCESS_FOREGROUND", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("start {program}"))?;
    let _device = Device(child);
    until("configuration socket", || {
        UnixStream::connect(SOCKET).is_ok()
    })?;
    let mut socket = UnixStream::connect(SOCKET)?;
    let (mut moves, started) = (0, Instant::now());
    for round in 1.. {
        for first in (0..PREFIXES).step_by(AT_ONCE) {
            let peer = format!("{round:02x}", round = round % 2 + 1).repeat(32);
            let mut request = format!("set=1\npublic_key={peer}\n");
            for number in first..first + AT_ONCE {
                writeln!(
                    request,
                    "allowed_ip=10.50.{}.{}/32",
                    number / 250,
                    number % 250
                )?;
            }
            ask(&mut socket, &request)?;
            moves += AT_ONCE;
        }
        if started.elapsed() > TIME {
            break;
        }
    }
    Ok(moves as f64 / started.elapsed().as_secs_f64())
}

fn ask(socket: &mut UnixStream, request: &str) -> Result<()> {
    socket.write_all(format!("{request}\n").as_bytes())?;
    let mut answer = [0; 9];
    socket.read_exact(&mut answer)?;
    ensure!(&answer == b"errno=0\n\n", "the device refused");
    Ok(())
}
