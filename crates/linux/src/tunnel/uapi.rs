//! The cross-platform WireGuard configuration protocol as pure text: requests and answers, both ways.
//!
//! Lines of `key=value`; a request and an answer each end with an empty line. Every request is parsed
//! whole before anything of it is applied.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use routerd_core::key::{PublicKey, SecretKey};

/// The request that reads a device.
pub(crate) const GET: &str = "get=1\n\n";

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// Read everything.
    Get,
    /// Change something.
    Set(SetDevice),
}

/// What a `set=1` changes. In every key field the inner `None` means: clear it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SetDevice {
    pub(crate) private_key: Option<Option<SecretKey>>,
    pub(crate) listen_port: Option<u16>,
    pub(crate) fwmark: Option<u32>,
    pub(crate) replace_peers: bool,
    pub(crate) peers: Vec<SetPeer>,
}

/// What changes about one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SetPeer {
    pub(crate) public_key: PublicKey,
    pub(crate) remove: bool,
    pub(crate) update_only: bool,
    pub(crate) preshared_key: Option<Option<SecretKey>>,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) persistent_keepalive: Option<u16>,
    pub(crate) replace_allowed_ips: bool,
    pub(crate) allowed_ips: Vec<AllowedIpChange>,
}

/// One `allowed_ip` line; a leading minus takes the prefix away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AllowedIpChange {
    Add(IpNet),
    Remove(IpNet),
}

/// A device as `get=1` shows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeviceState {
    pub(crate) private_key: Option<SecretKey>,
    pub(crate) listen_port: u16,
    pub(crate) fwmark: u32,
    pub(crate) peers: Vec<PeerState>,
}

/// A peer as `get=1` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerState {
    pub(crate) public_key: PublicKey,
    pub(crate) preshared_key: Option<SecretKey>,
    pub(crate) endpoint: Option<SocketAddr>,
    pub(crate) persistent_keepalive: u16,
    /// Since the Unix epoch.
    pub(crate) last_handshake: Option<Duration>,
    pub(crate) rx_bytes: u64,
    pub(crate) tx_bytes: u64,
    pub(crate) allowed_ips: BTreeSet<IpNet>,
}

/// A text does not follow the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ParseError {
    /// A line without `=`, or a request of an unknown kind.
    #[error("`{0}` is not a line of the configuration protocol")]
    Line(String),
    /// A key that is unknown, or stands where it must not.
    #[error("unexpected `{0}`")]
    Key(String),
    /// A value that cannot be used. It is not shown: it may be a secret.
    #[error("bad value of `{0}`")]
    Value(String),
}

impl ParseError {
    /// The number that the protocol answers with.
    pub(crate) fn errno(&self) -> i32 {
        match self {
            Self::Line(_) => libc::EPROTO,
            Self::Key(_) | Self::Value(_) => libc::EINVAL,
        }
    }
}

impl SetPeer {
    /// A peer about which nothing changes.
    pub(crate) fn new(public_key: PublicKey) -> Self {
        Self {
            public_key,
            remove: false,
            update_only: false,
            preshared_key: None,
            endpoint: None,
            persistent_keepalive: None,
            replace_allowed_ips: false,
            allowed_ips: Vec::new(),
        }
    }
}

/// Reads a request, with or without its closing empty line.
pub(crate) fn parse_request(text: &str) -> Result<Request, ParseError> {
    let mut lines = text.lines().take_while(|line| !line.is_empty());
    match lines.next() {
        Some("get=1") => match lines.next() {
            None => Ok(Request::Get),
            Some(line) => Err(ParseError::Key(split(line)?.0.to_owned())),
        },
        Some("set=1") => parse_set(lines).map(Request::Set),
        other => Err(ParseError::Line(clip(other.unwrap_or_default()))),
    }
}

fn parse_set<'a>(lines: impl Iterator<Item = &'a str>) -> Result<SetDevice, ParseError> {
    let mut device = SetDevice::default();
    for line in lines {
        let (key, value) = split(line)?;
        if key == "public_key" {
            let public_key = PublicKey(hex_key(key, value)?);
            device.peers.push(SetPeer::new(public_key));
        } else if let Some(peer) = device.peers.last_mut() {
            set_peer_field(peer, key, value)?;
        } else {
            set_device_field(&mut device, key, value)?;
        }
    }
    Ok(device)
}

fn set_device_field(device: &mut SetDevice, key: &str, value: &str) -> Result<(), ParseError> {
    match key {
        "private_key" => device.private_key = Some(secret(key, value)?),
        "listen_port" => device.listen_port = Some(parsed(key, value)?),
        "fwmark" => device.fwmark = Some(parsed(key, value)?),
        "replace_peers" => device.replace_peers = flag(key, value)?,
        _ => return Err(ParseError::Key(clip(key))),
    }
    Ok(())
}

fn set_peer_field(peer: &mut SetPeer, key: &str, value: &str) -> Result<(), ParseError> {
    match key {
        "remove" => peer.remove = flag(key, value)?,
        "update_only" => peer.update_only = flag(key, value)?,
        "preshared_key" => peer.preshared_key = Some(secret(key, value)?),
        "endpoint" => peer.endpoint = Some(parsed(key, value)?),
        "persistent_keepalive_interval" => peer.persistent_keepalive = Some(parsed(key, value)?),
        "replace_allowed_ips" => peer.replace_allowed_ips = flag(key, value)?,
        "allowed_ip" => peer.allowed_ips.push(match value.strip_prefix('-') {
            Some(net) => AllowedIpChange::Remove(net_value(key, net)?),
            None => AllowedIpChange::Add(net_value(key, value)?),
        }),
        "protocol_version" if value == "1" => {}
        "protocol_version" => return Err(ParseError::Value(key.to_owned())),
        _ => return Err(ParseError::Key(clip(key))),
    }
    Ok(())
}

/// Reads the answer to [`GET`].
///
/// Keys that are unknown are passed over: a newer process may know more than we do.
pub(crate) fn parse_state(text: &str) -> Result<DeviceState, ParseError> {
    let mut device = DeviceState::default();
    for line in text.lines().take_while(|line| !line.is_empty()) {
        let (key, value) = split(line)?;
        match (key, device.peers.last_mut()) {
            ("errno", _) if value == "0" => {}
            ("errno", _) => return Err(ParseError::Value(key.to_owned())),
            ("public_key", _) => device.peers.push(PeerState {
                public_key: PublicKey(hex_key(key, value)?),
                preshared_key: None,
                endpoint: None,
                persistent_keepalive: 0,
                last_handshake: None,
                rx_bytes: 0,
                tx_bytes: 0,
                allowed_ips: BTreeSet::new(),
            }),
            (_, Some(peer)) => read_peer_field(peer, key, value)?,
            ("private_key", None) => device.private_key = secret(key, value)?,
            ("listen_port", None) => device.listen_port = parsed(key, value)?,
            ("fwmark", None) => device.fwmark = parsed(key, value)?,
            _ => {}
        }
    }
    Ok(device)
}

fn read_peer_field(peer: &mut PeerState, key: &str, value: &str) -> Result<(), ParseError> {
    match key {
        "preshared_key" => peer.preshared_key = secret(key, value)?,
        "endpoint" => peer.endpoint = Some(parsed(key, value)?),
        "persistent_keepalive_interval" => peer.persistent_keepalive = parsed(key, value)?,
        "last_handshake_time_sec" => {
            let seconds: u64 = parsed(key, value)?;
            peer.last_handshake = (seconds > 0).then(|| Duration::from_secs(seconds));
        }
        "last_handshake_time_nsec" => {
            let nanos: u32 = parsed(key, value)?;
            let nanos = Duration::from_nanos(nanos.into());
            peer.last_handshake = peer.last_handshake.map(|t| t.saturating_add(nanos));
        }
        "rx_bytes" => peer.rx_bytes = parsed(key, value)?,
        "tx_bytes" => peer.tx_bytes = parsed(key, value)?,
        "allowed_ip" => {
            peer.allowed_ips.insert(net_value(key, value)?);
        }
        _ => {}
    }
    Ok(())
}

/// Turns the `errno` of an answer into an error.
pub(crate) fn check_errno(answer: &str) -> io::Result<()> {
    let errno = answer
        .lines()
        .find_map(|line| line.strip_prefix("errno="))
        .and_then(|value| i32::from_str(value).ok())
        .ok_or_else(|| io::Error::other("answer without errno"))?;
    match errno {
        0 => Ok(()),
        // Some implementations answer with a negative number.
        errno => Err(io::Error::from_raw_os_error(errno.saturating_abs())),
    }
}

/// The closing line of an answer.
pub(crate) fn format_errno(errno: i32) -> String {
    format!("errno={errno}\n\n")
}

/// The answer to `get=1` without its closing line.
pub(crate) fn format_state(device: &DeviceState) -> String {
    let mut text = String::new();
    if let Some(key) = &device.private_key {
        line(&mut text, "private_key", hex(key.expose()));
    }
    if device.listen_port != 0 {
        line(&mut text, "listen_port", device.listen_port);
    }
    if device.fwmark != 0 {
        line(&mut text, "fwmark", device.fwmark);
    }
    for peer in &device.peers {
        format_peer_state(&mut text, peer);
    }
    text
}

fn format_peer_state(text: &mut String, peer: &PeerState) {
    line(text, "public_key", hex(&peer.public_key.0));
    let preshared = peer.preshared_key.as_ref().map(SecretKey::expose);
    line(text, "preshared_key", hex(preshared.unwrap_or(&[0; 32])));
    line(text, "protocol_version", 1);
    if let Some(endpoint) = peer.endpoint {
        line(text, "endpoint", endpoint);
    }
    let handshake = peer.last_handshake.unwrap_or_default();
    line(text, "last_handshake_time_sec", handshake.as_secs());
    line(text, "last_handshake_time_nsec", handshake.subsec_nanos());
    line(text, "tx_bytes", peer.tx_bytes);
    line(text, "rx_bytes", peer.rx_bytes);
    let keepalive = peer.persistent_keepalive;
    line(text, "persistent_keepalive_interval", keepalive);
    for net in &peer.allowed_ips {
        line(text, "allowed_ip", net);
    }
}

/// A whole `set=1` request.
pub(crate) fn format_set(device: &SetDevice) -> String {
    let mut text = String::from("set=1\n");
    if let Some(key) = &device.private_key {
        line(&mut text, "private_key", secret_hex(key.as_ref()));
    }
    if let Some(port) = device.listen_port {
        line(&mut text, "listen_port", port);
    }
    if let Some(mark) = device.fwmark {
        line(&mut text, "fwmark", mark);
    }
    if device.replace_peers {
        line(&mut text, "replace_peers", true);
    }
    for peer in &device.peers {
        format_set_peer(&mut text, peer);
    }
    text.push('\n');
    text
}

fn format_set_peer(text: &mut String, peer: &SetPeer) {
    line(text, "public_key", hex(&peer.public_key.0));
    if peer.remove {
        line(text, "remove", true);
    }
    if peer.update_only {
        line(text, "update_only", true);
    }
    if let Some(key) = &peer.preshared_key {
        line(text, "preshared_key", secret_hex(key.as_ref()));
    }
    if let Some(endpoint) = peer.endpoint {
        line(text, "endpoint", endpoint);
    }
    if let Some(seconds) = peer.persistent_keepalive {
        line(text, "persistent_keepalive_interval", seconds);
    }
    if peer.replace_allowed_ips {
        line(text, "replace_allowed_ips", true);
    }
    for change in &peer.allowed_ips {
        match change {
            AllowedIpChange::Add(net) => line(text, "allowed_ip", net),
            AllowedIpChange::Remove(net) => line(text, "allowed_ip", format_args!("-{net}")),
        }
    }
}

fn line(text: &mut String, key: &str, value: impl std::fmt::Display) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{key}={value}");
}

fn split(line: &str) -> Result<(&str, &str), ParseError> {
    line.split_once('=')
        .ok_or_else(|| ParseError::Line(clip(line)))
}

fn parsed<T: FromStr>(key: &str, value: &str) -> Result<T, ParseError> {
    value.parse().map_err(|_| ParseError::Value(key.to_owned()))
}

fn flag(key: &str, value: &str) -> Result<bool, ParseError> {
    match value {
        "true" => Ok(true),
        _ => Err(ParseError::Value(key.to_owned())),
    }
}

/// A prefix with its host bits cleared, as the kernel keeps it; without a length: one host.
fn net_value(key: &str, value: &str) -> Result<IpNet, ParseError> {
    if value.contains('/') {
        parsed::<IpNet>(key, value).map(|net| net.trunc())
    } else {
        parsed::<std::net::IpAddr>(key, value).map(IpNet::from)
    }
}

/// A secret; all zeros stand for none.
fn secret(key: &str, value: &str) -> Result<Option<SecretKey>, ParseError> {
    let bytes = hex_key(key, value)?;
    Ok((bytes != [0; 32]).then(|| SecretKey::from_bytes(bytes)))
}

fn hex_key(key: &str, value: &str) -> Result<[u8; 32], ParseError> {
    let bad = || ParseError::Value(key.to_owned());
    if value.len() != 64 || !value.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(bad());
    }
    let mut bytes = [0; 32];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&value[2 * i..2 * i + 2], 16).map_err(|_| bad())?;
    }
    Ok(bytes)
}

fn secret_hex(key: Option<&SecretKey>) -> String {
    hex(key.map_or(&[0; 32], SecretKey::expose))
}

fn hex(bytes: &[u8; 32]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Enough of a foreign text for a message, too little of a secret.
fn clip(text: &str) -> String {
    text.chars().take(16).collect()
}

#[cfg(test)]
mod tests;
