//! UDP ports whose payload the kernel takes for packets of tunnels (generic netlink family `fou`).

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use routerd_core::observed::FouPort;

use crate::netlink::generic::{self, Family};
use crate::netlink::{Error, Request};

const COMMAND_ADD: u8 = 1;
const COMMAND_DELETE: u8 = 2;
const COMMAND_GET: u8 = 3;
const ATTRIBUTE_PORT: u16 = 1;
const ATTRIBUTE_FAMILY: u16 = 2;
const ATTRIBUTE_PROTOCOL: u16 = 3;
const ATTRIBUTE_TYPE: u16 = 4;
const TYPE_DIRECT: u8 = 1;
const TYPE_GUE: u8 = 2;

/// How long a kernel that has no such family is taken at its word: asking makes it run `modprobe`.
const RETRY: Duration = Duration::from_secs(60);

/// When the family was last found missing.
static MISSING: Mutex<Option<Instant>> = Mutex::new(None);

/// Whether the kernel has it; loads the module where there is one.
pub(super) fn available() -> bool {
    family().is_some()
}

fn family() -> Option<Family> {
    let mut missing = MISSING.lock().unwrap_or_else(|e| e.into_inner());
    if missing.is_some_and(|when| when.elapsed() < RETRY) {
        return None;
    }
    let open = || Family::open("fou").ok();
    let found = open().or_else(|| {
        load_module();
        open()
    });
    *missing = found.is_none().then(Instant::now);
    found
}

/// Asking for a family loads the module that says it has it; this one does not say so.
fn load_module() {
    let modprobe = Command::new("modprobe").args(["-q", "fou"]).output();
    if let Err(error) = modprobe {
        tracing::debug!(%error, "modprobe fou");
    }
}

/// All ports of this namespace.
pub(super) fn ports() -> BTreeMap<u16, FouPort> {
    let Some(mut family) = family() else {
        return BTreeMap::new();
    };
    let request = family.request(COMMAND_GET);
    let ports = family.socket.dump(&request, |answer| {
        let attributes = answer.attributes(generic::HEADER);
        let byte = |kind| attributes.find(kind).and_then(|value| value.first());
        let port = attributes.find(ATTRIBUTE_PORT)?.first_chunk::<2>()?;
        let feeds = match (byte(ATTRIBUTE_TYPE), byte(ATTRIBUTE_PROTOCOL)) {
            (Some(&TYPE_GUE), _) => FouPort::Gue,
            (Some(&TYPE_DIRECT), Some(&protocol)) if protocol == libc::IPPROTO_IPIP as u8 => {
                FouPort::Ipv4
            }
            _ => FouPort::Other,
        };
        Some((u16::from_be_bytes(*port), feeds))
    });
    ports.unwrap_or_default().into_iter().collect()
}

/// Opens a port; one that is open is as good.
pub(super) fn add(port: u16, feeds: FouPort) -> Result<(), Error> {
    let mut family = Family::open("fou")?;
    let request = named(family.request(COMMAND_ADD), port);
    let request = match feeds {
        FouPort::Gue => request.with(ATTRIBUTE_TYPE, &[TYPE_GUE]),
        FouPort::Ipv4 | FouPort::Other => request
            .with(ATTRIBUTE_TYPE, &[TYPE_DIRECT])
            .with(ATTRIBUTE_PROTOCOL, &[libc::IPPROTO_IPIP as u8]),
    };
    let taken = |errno| matches!(errno, Errno::EADDRINUSE | Errno::EALREADY);
    match family.socket.execute(&request) {
        Err(error) if taken(error.errno()) && ports().get(&port) == Some(&feeds) => Ok(()),
        other => other,
    }
}

/// Closes a port; one that is closed is as good.
pub(super) fn remove(port: u16) -> Result<(), Error> {
    let mut family = Family::open("fou")?;
    let request = named(family.request(COMMAND_DELETE), port);
    match family.socket.execute(&request) {
        Err(gone) if gone.errno() == Errno::EINVAL => Ok(()),
        other => other,
    }
}

fn named(request: Request, port: u16) -> Request {
    request
        .with(ATTRIBUTE_PORT, &port.to_be_bytes())
        .with(ATTRIBUTE_FAMILY, &[libc::AF_INET as u8])
}
