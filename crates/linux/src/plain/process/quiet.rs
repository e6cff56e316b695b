//! Keeps the kernel from calling the other end's packets undeliverable.
//!
//! What a raw socket takes the kernel offers its own tunnel drivers, too, as soon as their module is loaded for whichever
//! reason. They know no tunnel of these ends and answer "port unreachable". A driver at the other end believes that: for
//! each such answer it tells the sender of a later packet that its host cannot be reached, which ends connections that
//! are being made.
//!
//! So these errors are dropped on their way out, by a table of nftables that belongs to a socket of this process: the
//! kernel removes it with the process, and nobody else can, not even by `nft flush ruleset`.

use std::net::Ipv4Addr;

use api::IfName;
use netlink_sys::protocols::NETLINK_NETFILTER;
use routerd_core::encapsulation::{Encapsulation, PlainTunnel};

use crate::netlink::{Error, Request, Socket};

const SUBSYSTEM: u8 = 10; // NFNL_SUBSYS_NFTABLES
const NEW_TABLE: u8 = 0;
const NEW_CHAIN: u8 = 3;
const NEW_RULE: u8 = 6;

/// `NFT_TABLE_F_OWNER` (Linux 5.12).
const OWNED: u32 = 2;
/// User data of a table, as libnftnl writes it.
const COMMENT: u8 = 0;

const CHAIN: &str = "output";
/// `NF_INET_LOCAL_OUT`.
const HOOK: u32 = 3;

/// The first register of 16 bytes, and that of the verdict.
const REGISTER: u32 = 1;
const VERDICT: u32 = 0;
const DROP: u32 = 0;
const EQUAL: u32 = 0;
const LIST_ELEMENT: u16 = 1;

/// Where in a packet a value stands.
#[derive(Clone, Copy)]
enum Base {
    Network = 1,
    Transport = 2,
}

/// The kernel says nothing about these packets while this lives.
#[derive(Debug)]
pub(super) struct Quiet(#[expect(dead_code, reason = "its end removes the table")] Socket);

impl Quiet {
    /// Absent for a tunnel whose packets the kernel gives to one socket and nobody else.
    pub(super) fn keep(ifname: &IfName, tunnel: &PlainTunnel) -> Result<Option<Self>, Error> {
        let protocol = match tunnel.encapsulation {
            Encapsulation::Ipip => libc::IPPROTO_IPIP as u8,
            Encapsulation::Gre { .. } => libc::IPPROTO_GRE as u8,
            Encapsulation::Fou(_) | Encapsulation::Gue(_) => return Ok(None),
        };
        let mut socket = Socket::open(NETLINK_NETFILTER)?;
        // No other socket of this namespace has the number.
        let table = format!("routerd-tunnel-{}", socket.port()?);
        let requests = [
            new_table(&table, ifname),
            new_chain(&table),
            new_rule(&table, &matches(protocol, tunnel.local, tunnel.remote)),
        ];
        socket.transaction(SUBSYSTEM, &requests)?;
        Ok(Some(Self(socket)))
    }
}

/// "Port unreachable" (RFC 792) about a packet of this protocol from the other end.
fn matches(protocol: u8, local: Ipv4Addr, remote: Ipv4Addr) -> [(Base, u32, Vec<u8>); 5] {
    const QUOTED: u32 = 8;
    let ends = [remote.octets(), local.octets()].concat();
    [
        (Base::Network, 9, vec![libc::IPPROTO_ICMP as u8]),
        (Base::Transport, 0, vec![3]),
        (Base::Transport, 1, vec![3]),
        (Base::Transport, QUOTED + 9, vec![protocol]),
        (Base::Transport, QUOTED + 12, ends),
    ]
}

fn new_table(table: &str, ifname: &IfName) -> Request {
    let comment = format!("while a process of routerd carries {ifname}\0");
    let mut userdata = vec![COMMENT, comment.len() as u8];
    userdata.extend(comment.into_bytes());
    request(NEW_TABLE)
        .with_text(1, table)
        .with(2, &OWNED.to_be_bytes())
        .with(6, &userdata)
}

fn new_chain(table: &str) -> Request {
    request(NEW_CHAIN)
        .with_text(1, table)
        .with_text(3, CHAIN)
        .with_nested(4, |hook| {
            let hook = hook.with(1, &HOOK.to_be_bytes());
            hook.with(2, &0_u32.to_be_bytes())
        })
        .with_text(7, "filter")
}

fn new_rule(table: &str, matches: &[(Base, u32, Vec<u8>)]) -> Request {
    let rule = request(NEW_RULE).with_text(1, table).with_text(2, CHAIN);
    rule.with_nested(4, |mut list| {
        for (base, offset, value) in matches {
            list = expression(list, "payload", |data| {
                data.with(1, &REGISTER.to_be_bytes())
                    .with(2, &(*base as u32).to_be_bytes())
                    .with(3, &offset.to_be_bytes())
                    .with(4, &(value.len() as u32).to_be_bytes())
            });
            list = expression(list, "cmp", |data| {
                data.with(1, &REGISTER.to_be_bytes())
                    .with(2, &EQUAL.to_be_bytes())
                    .with_nested(3, |wanted| wanted.with(1, value))
            });
        }
        expression(list, "immediate", |data| {
            data.with(1, &VERDICT.to_be_bytes()).with_nested(2, |what| {
                what.with_nested(2, |verdict| verdict.with(1, &DROP.to_be_bytes()))
            })
        })
    })
}

fn expression(list: Request, name: &str, data: impl FnOnce(Request) -> Request) -> Request {
    list.with_nested(LIST_ELEMENT, |element| {
        element.with_text(1, name).with_nested(2, data)
    })
}

/// A message about tables of IPv4.
fn request(kind: u8) -> Request {
    let kind = u16::from(SUBSYSTEM) << 8 | u16::from(kind);
    let flags = libc::NLM_F_CREATE | libc::NLM_F_APPEND;
    Request::new(kind, flags, &[libc::AF_INET as u8, 0, 0, 0])
}
