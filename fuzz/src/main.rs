//! One program for all targets, so that everything is compiled and linked once: `ROUTERD_FUZZ_TARGET` says which runs.

#![no_main]

use std::sync::LazyLock;

#[path = "../targets/arp.rs"]
mod arp;
#[path = "../targets/bfd.rs"]
mod bfd;
#[path = "../targets/bgp.rs"]
mod bgp;
#[path = "../targets/config.rs"]
mod config;
#[path = "../targets/envelope.rs"]
mod envelope;
#[path = "../targets/leases.rs"]
mod leases;
#[path = "../targets/merge.rs"]
mod merge;
#[path = "../targets/plain.rs"]
mod plain;
#[path = "../targets/plugin_result.rs"]
mod plugin_result;
#[path = "../targets/tunnel.rs"]
mod tunnel;
#[path = "../targets/uapi.rs"]
mod uapi;

static TARGET: LazyLock<fn(&[u8])> = LazyLock::new(|| {
    let name = std::env::var("ROUTERD_FUZZ_TARGET").expect("ROUTERD_FUZZ_TARGET names a target");
    match name.as_str() {
        "arp" => arp::run,
        "bfd" => bfd::run,
        "bgp" => bgp::run,
        "config" => config::run,
        "envelope" => envelope::run,
        "leases" => leases::run,
        "merge" => merge::run,
        "plain" => plain::run,
        "plugin_result" => plugin_result::run,
        "tunnel" => tunnel::run,
        "uapi" => uapi::run,
        other => panic!("no target `{other}`"),
    }
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| TARGET(data));
