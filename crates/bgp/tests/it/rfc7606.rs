//! RFC 7606, case by case: `tests/rfc7606/*.txt` say what a peer sends and, below the line, what was made of it.
//! `UPDATE_GOLDEN=1 cargo test -p routerd-bgp rfc7606` writes the lower parts anew.

use std::fs;
use std::path::Path;

use bgp::{Asn, Family, PeerConfig};

use crate::raw::{Raw, four_octet, message};

/// A case, in its own small language.
#[derive(Default)]
struct Case {
    external: bool,
    two_octet: bool,
    withdrawn: Vec<u8>,
    attributes: Vec<u8>,
    nlri: Vec<u8>,
    /// Octets that the length of the attribute section says too much or too little.
    attributes_off: i32,
    withdrawn_off: i32,
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks_exact(2)
        .map(|d| u8::try_from(d[0] << 4 | d[1]).expect("octet"))
        .collect()
}

fn attribute(flags: &str, code: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![hex(flags)[0], code];
    if out[0] & 0x10 != 0 {
        out.extend(u16::try_from(value.len()).expect("length").to_be_bytes());
    } else {
        out.push(u8::try_from(value.len()).expect("length"));
    }
    out.extend_from_slice(value);
    out
}

/// What every route carries, without the attributes in `without`.
fn base(case: &Case, without: &[u8]) -> Vec<u8> {
    let path: &[u8] = match (case.external, case.two_octet) {
        (false, _) => &[],
        (true, false) => &[2, 1, 0, 0, 0xfd, 0xe9],
        (true, true) => &[2, 1, 0xfd, 0xe9],
    };
    let mut out = Vec::new();
    let mut put = |code: u8, value: &[u8]| {
        if !without.contains(&code) {
            out.extend(attribute("40", code, value));
        }
    };
    put(1, &[0]);
    put(2, path);
    put(3, &[10, 0, 0, 2]);
    if !case.external {
        put(5, &[0, 0, 0, 100]);
    }
    out
}

fn parse(text: &str) -> Case {
    let mut case = Case::default();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number = |at: usize| words[at].parse::<i32>().expect("number");
        match words.first().copied() {
            Some("external") => case.external = true,
            Some("two-octet") => case.two_octet = true,
            Some("base") => {
                let without: Vec<u8> = words[1..]
                    .iter()
                    .map(|w| w.parse().expect("code"))
                    .collect();
                case.attributes.extend(base(&case, &without));
            }
            Some("attr") => {
                let code = words[2].parse().expect("code");
                let value = hex(&words[3..].concat());
                case.attributes.extend(attribute(words[1], code, &value));
            }
            Some("raw") => case.attributes.extend(hex(&words[1..].concat())),
            Some("nlri") => case.nlri.extend(hex(&words[1..].concat())),
            Some("withdrawn") => case.withdrawn.extend(hex(&words[1..].concat())),
            Some("attributes-length") => case.attributes_off = number(1),
            Some("withdrawn-length") => case.withdrawn_off = number(1),
            Some(other) => panic!("`{other}` is no word of a case"),
            None => {}
        }
    }
    case
}

fn length(octets: &[u8], off: i32) -> [u8; 2] {
    let length = i32::try_from(octets.len()).expect("length") + off;
    u16::try_from(length).expect("length").to_be_bytes()
}

fn run(case: &Case) -> String {
    let asn = if case.external { 65001 } else { 65000 };
    let peer = PeerConfig {
        families: Family::ALL.into(),
        ..PeerConfig::new(Asn::try_from(asn).expect("asn"))
    };
    let mut capabilities = vec![1, 4, 0, 2, 0, 1];
    if case.two_octet {
        capabilities.extend([1, 4, 0, 1, 0, 1]);
    } else {
        capabilities.extend(four_octet(asn));
    }
    let mut raw = Raw::established(peer, &capabilities);
    // Two routes that are there before: one that the case may touch, one that it must leave alone.
    let mut before = vec![0, 0];
    let attributes = base(case, &[]);
    before.extend(length(&attributes, 0));
    before.extend_from_slice(&attributes);
    before.extend([32, 10, 9, 0, 1, 32, 10, 9, 0, 9]);
    raw.receive(&message(2, &before));
    assert_eq!(raw.routes(bgp::Table::In).len(), 2);
    let mut body = length(&case.withdrawn, case.withdrawn_off).to_vec();
    body.extend_from_slice(&case.withdrawn);
    body.extend(length(&case.attributes, case.attributes_off));
    body.extend_from_slice(&case.attributes);
    body.extend_from_slice(&case.nlri);
    raw.receive(&message(2, &body));
    raw.state()
}

#[test]
fn rfc7606() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rfc7606");
    let update = std::env::var_os("UPDATE_GOLDEN").is_some();
    let mut cases = 0;
    let mut wrong = Vec::new();
    for entry in fs::read_dir(folder).expect("folder") {
        let path = entry.expect("entry").path();
        let text = fs::read_to_string(&path).expect("case");
        let (input, expected) = text.split_once("---\n").expect("a line of ---");
        let got = run(&parse(input));
        cases += 1;
        if update {
            fs::write(&path, format!("{input}---\n{got}")).expect("write");
        } else if got != expected {
            wrong.push(format!(
                "{}\nexpected:\n{expected}got:\n{got}",
                path.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases >= 60, "only {cases} cases were found");
}
