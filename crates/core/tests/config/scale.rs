//! The cost of a claim does not grow with their number, whatever is wrong with them.

use std::fmt::Write;
use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use api::Diagnostic;
use api::control::{Config, SourceFile};
use routerd_core::config::{Loaded, load};

const BASE: &str = include_str!("../accepted/example-onprem/input.yaml");

fn address(number: u32) -> String {
    Ipv4Addr::from(0x0a40_0001 + number).to_string()
}

/// The example with a larger domain and `count` claims, each made by `claim` from its number and address. Every other
/// address stands in the hand-written allowed IPs.
fn configuration(count: u32, claim: impl Fn(u32, &str) -> String) -> Config {
    let mut text = BASE.replace("10.77.60.0/24", "10.64.0.0/10");
    let first = "          - 10.77.60.7/32\n";
    let listed = (0..count)
        .step_by(2)
        .map(|number| format!("          - {}/32\n", address(number)));
    text = text.replace(
        first,
        &listed.fold(first.to_owned(), |list, line| list + &line),
    );
    for number in 0..count {
        let _ = write!(text, "\n---\n{}", claim(number, &address(number)));
    }
    let file = SourceFile {
        name: "scale.yaml".to_owned(),
        text,
    };
    Config { files: vec![file] }
}

fn claim(name: &str, address: &str, domain: &str, extra: &str) -> String {
    format!(
        "apiVersion: hybrid.routerd.net/v1alpha1\nkind: RemoteAddressClaim\nmetadata:\n  name: {name}\nspec:\n  \
         domainRef: {domain}\n  address: {address}/32\n  ownerSide: cloud\n  capture:\n    type: proxy-arp\n    \
         interface: ens21\n{extra}"
    )
}

const DOMAIN: &str = "cloudedge-same-subnet";

fn sound(number: u32, address: &str) -> String {
    claim(&format!("claim-{number}"), address, DOMAIN, "")
}

/// Each claim is wrong in several ways, and every name nearly is another one.
fn broken(number: u32, address: &str) -> String {
    let domain = format!("cloudedge-same-subne{}", number % 10);
    claim(
        &format!("claim-{}", number / 2),
        address,
        &domain,
        "  adress: 1\n",
    )
}

/// What this thread has spent on a processor: other work on the machine does not count.
fn processor_time() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanoseconds = text.split(' ').next().and_then(|field| field.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

/// The least time of three runs.
fn time(config: &Config, expect: impl Fn(&Loaded) -> bool) -> Duration {
    let run = || {
        let start = processor_time();
        let loaded = load(config);
        let elapsed = processor_time() - start;
        assert!(expect(&loaded), "{:?}", loaded.diagnostics.first());
        elapsed
    };
    [run(), run(), run()].into_iter().min().unwrap_or_default()
}

fn assert_linear(claim: impl Fn(u32, &str) -> String, expect: impl Fn(&Loaded) -> bool) {
    const SMALL: u32 = 1_000;
    const FACTOR: u32 = 8;
    let small = time(&configuration(SMALL, &claim), &expect);
    let large = time(&configuration(SMALL * FACTOR, &claim), &expect);
    println!("{SMALL}: {small:?}, {}: {large:?}", SMALL * FACTOR);
    // Quadratic growth would be 8 × 8; sorting and a cold cache are allowed their share.
    assert!(large < small * FACTOR * 3, "{small:?} became {large:?}");
}

#[test]
fn sound_claims_cost_linear_time() {
    assert_linear(sound, |loaded| {
        let incomplete = |found: &Diagnostic| found.id == "allowed-ips-incomplete";
        loaded.effective.is_some() && loaded.diagnostics.iter().all(incomplete)
    });
}

#[test]
fn broken_claims_cost_linear_time() {
    assert_linear(broken, |loaded| loaded.diagnostics.len() > 2_000);
}
