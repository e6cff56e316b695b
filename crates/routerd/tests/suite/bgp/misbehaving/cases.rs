//! Every field of every message, one at a time.

use crate::bgp::raw::{
    ATTRIBUTES, KEEPALIVE, NOTIFICATION, REFRESH, UPDATE, host, message, open, update,
};

/// How far a session is when something wrong comes.
#[derive(Debug, Clone, Copy)]
pub enum Stage {
    Connected,
    OpenSent,
    Established,
}

/// Something wrong, and the NOTIFICATION that answers it; none: the session goes on.
pub type Wrong = (&'static str, Stage, Vec<u8>, Option<(u8, u8)>);

/// `octets` with some of them replaced.
fn with(mut octets: Vec<u8>, at: usize, new: &[u8]) -> Vec<u8> {
    octets[at..at + new.len()].copy_from_slice(new);
    octets
}

pub fn wrong_headers() -> Vec<Wrong> {
    use Stage::{Connected, Established};
    let alive = message(KEEPALIVE, &[]);
    let ours = || open(90, [127, 0, 0, 4]);
    vec![
        ("marker", Connected, with(ours(), 3, &[0]), Some((1, 1))),
        (
            "length 0",
            Connected,
            with(ours(), 16, &[0, 0]),
            Some((1, 2)),
        ),
        (
            "length 18",
            Connected,
            with(ours(), 16, &[0, 18]),
            Some((1, 2)),
        ),
        (
            "length 28 of an OPEN",
            Connected,
            with(ours(), 16, &[0, 28]),
            Some((1, 2)),
        ),
        (
            "length 65535 of an OPEN",
            Connected,
            with(ours(), 16, &[255, 255]),
            Some((1, 2)),
        ),
        ("type 0", Connected, with(ours(), 18, &[0]), Some((1, 3))),
        ("type 6", Connected, with(ours(), 18, &[6]), Some((1, 3))),
        (
            "type 255",
            Established,
            with(alive.clone(), 18, &[255]),
            Some((1, 3)),
        ),
        (
            "marker later",
            Established,
            with(alive.clone(), 0, &[0x7f]),
            Some((1, 1)),
        ),
        (
            "a KEEPALIVE of 20",
            Established,
            message(KEEPALIVE, &[0]),
            Some((1, 2)),
        ),
        (
            "an UPDATE of 22",
            Established,
            message(UPDATE, &[0, 0, 0]),
            Some((1, 2)),
        ),
        (
            "an UPDATE of 4097",
            Established,
            with(alive.clone(), 16, &[16, 1, 2]),
            Some((1, 2)),
        ),
        (
            "a NOTIFICATION of 20",
            Established,
            message(NOTIFICATION, &[6]),
            Some((1, 2)),
        ),
        (
            "a REFRESH of 22",
            Established,
            message(REFRESH, &[0, 1, 0]),
            Some((1, 2)),
        ),
        (
            "a border of 24",
            Established,
            message(REFRESH, &[0, 1, 1, 1, 9]),
            Some((7, 1)),
        ),
        (
            "a REFRESH of nothing known",
            Established,
            message(REFRESH, &[9, 9, 0, 9]),
            None,
        ),
        (
            "a REFRESH of kind 77",
            Established,
            message(REFRESH, &[0, 1, 77, 1]),
            None,
        ),
        ("garbage", Connected, vec![0x41; 4096], Some((1, 1))),
        ("garbage later", Established, vec![0; 4096], Some((1, 1))),
    ]
}

pub fn wrong_opens() -> Vec<Wrong> {
    use Stage::{Connected, Established, OpenSent};
    let ours = || open(90, [127, 0, 0, 4]);
    let alive = || message(KEEPALIVE, &[]);
    let nothing = || update(&[], &[], &[]);
    vec![
        ("version 3", Connected, with(ours(), 19, &[3]), Some((2, 1))),
        (
            "AS 65001",
            Connected,
            with(ours(), 46, &[0xe9]),
            Some((2, 2)),
        ),
        ("AS 0", Connected, with(ours(), 43, &[0; 4]), Some((2, 2))),
        (
            "hold time 1",
            Connected,
            with(ours(), 22, &[0, 1]),
            Some((2, 6)),
        ),
        (
            "hold time 2",
            Connected,
            with(ours(), 22, &[0, 2]),
            Some((2, 6)),
        ),
        (
            "identifier 0",
            Connected,
            with(ours(), 24, &[0; 4]),
            Some((2, 3)),
        ),
        (
            "our identifier",
            Connected,
            with(ours(), 24, &[10, 99, 0, 1]),
            Some((2, 3)),
        ),
        (
            "parameters beyond",
            Connected,
            with(ours(), 28, &[200]),
            Some((2, 0)),
        ),
        (
            "parameters short",
            Connected,
            with(ours(), 28, &[3]),
            Some((2, 0)),
        ),
        (
            "parameter 1",
            Connected,
            with(ours(), 29, &[1]),
            Some((2, 4)),
        ),
        (
            "a parameter beyond",
            Connected,
            with(ours(), 30, &[90]),
            Some((2, 0)),
        ),
        (
            "a capability beyond",
            Connected,
            with(ours(), 32, &[90]),
            Some((2, 0)),
        ),
        (
            "no family of ours",
            Connected,
            with(ours(), 34, &[2]),
            Some((2, 7)),
        ),
        ("a KEEPALIVE first", Connected, alive(), Some((5, 1))),
        ("an UPDATE first", Connected, nothing(), Some((5, 1))),
        (
            "a REFRESH first",
            Connected,
            message(REFRESH, &[0, 1, 0, 1]),
            Some((5, 1)),
        ),
        ("a second OPEN", OpenSent, ours(), Some((5, 2))),
        ("an UPDATE too soon", OpenSent, nothing(), Some((5, 2))),
        ("a third OPEN", Established, ours(), Some((5, 3))),
    ]
}

pub fn wrong_updates() -> Vec<Wrong> {
    use Stage::Established;
    let plus = |more: &[u8]| [&ATTRIBUTES[..], more].concat();
    let route = host(2, 7);
    let told = |attributes: &[u8]| update(&[], attributes, &route);
    let multi = [0x80, 14, 9, 0, 1, 1, 4, 10, 99, 0, 2, 0];
    vec![
        (
            "withdrawn beyond",
            Established,
            with(told(&ATTRIBUTES), 19, &[80]),
            Some((3, 1)),
        ),
        (
            "attributes beyond",
            Established,
            with(told(&ATTRIBUTES), 21, &[80]),
            Some((3, 1)),
        ),
        (
            "a prefix cut",
            Established,
            update(&[], &ATTRIBUTES, &[32, 10, 9]),
            Some((3, 10)),
        ),
        (
            "a prefix of 33",
            Established,
            update(&[], &ATTRIBUTES, &[33, 10, 9, 0, 1, 1]),
            Some((3, 10)),
        ),
        (
            "a withdrawal of 255",
            Established,
            update(&[255, 1], &[], &[]),
            Some((3, 10)),
        ),
        (
            "a withdrawal cut",
            Established,
            update(&[32, 1], &[], &[]),
            Some((3, 10)),
        ),
        (
            "MP_REACH twice",
            Established,
            told(&plus(&[multi, multi].concat())),
            Some((3, 1)),
        ),
        (
            "ORIGIN 3",
            Established,
            told(&with(ATTRIBUTES.to_vec(), 3, &[3])),
            None,
        ),
        (
            "flags of ORIGIN",
            Established,
            told(&with(ATTRIBUTES.to_vec(), 0, &[0xc0])),
            None,
        ),
        (
            "ORIGIN twice",
            Established,
            told(&plus(&[0x40, 1, 1, 0])),
            None,
        ),
        ("no attributes", Established, told(&[]), None),
        (
            "an AS_PATH cut",
            Established,
            told(&plus(&[0x40, 17, 1, 9])),
            None,
        ),
        (
            "an unknown segment",
            Established,
            told(&with(plus(&[]), 5, &[2, 0])),
            None,
        ),
        (
            "unknown, well-known",
            Established,
            told(&plus(&[0x40, 99, 0])),
            None,
        ),
        (
            "communities of three",
            Established,
            told(&plus(&[0xc0, 8, 3, 0, 0, 0])),
            None,
        ),
        (
            "an attribute beyond",
            Established,
            told(&plus(&[0xc0, 8, 250, 0])),
            None,
        ),
        (
            "a cluster list of three",
            Established,
            told(&plus(&[0x80, 10, 3, 0, 0, 0])),
            None,
        ),
        (
            "our cluster",
            Established,
            told(&plus(&[0x80, 10, 4, 10, 99, 0, 1])),
            None,
        ),
        (
            "our originator",
            Established,
            told(&plus(&[0x80, 9, 4, 10, 99, 0, 1])),
            None,
        ),
        (
            "our next hop",
            Established,
            told(&with(ATTRIBUTES.to_vec(), 10, &[10, 99, 0, 1])),
            None,
        ),
        ("0/0", Established, update(&[], &ATTRIBUTES, &[0]), None),
    ]
}
