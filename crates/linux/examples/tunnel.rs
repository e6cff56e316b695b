//! A user-space tunnel alone, as `routerd tunnel` runs it; tests and benchmarks use it.
//!
//! `tunnel tunnel wireguard --interface NAME [--uapi-dir DIR] [--take-over] [--foreground]`
//! `tunnel tunnel ipip|gre|fou|gue --interface NAME --local A --remote B --ttl N … [--take-over] [--foreground]`

use std::collections::BTreeMap;
use std::path::PathBuf;

use linux::{plain, tunnel};
use routerd_core::encapsulation::{Encapsulation, PlainTunnel, UdpPorts};

fn main() {
    let mut arguments = std::env::args().skip(2);
    let mode = arguments.next().expect("mode");
    let mut options = BTreeMap::new();
    while let Some(argument) = arguments.next() {
        let value = match argument.as_str() {
            "--foreground" | "--take-over" => String::new(),
            _ => arguments.next().expect("value"),
        };
        options.insert(argument, value);
    }
    let result = match mode.as_str() {
        "wireguard" => tunnel::run(&wireguard(&options)),
        mode => plain::run(&plain(mode, &options)),
    };
    if let Err(error) = result {
        eprintln!("tunnel {mode}: {error}");
        std::process::exit(1);
    }
}

type Given = BTreeMap<String, String>;

fn wireguard(given: &Given) -> tunnel::Options {
    let dir = given.get("--uapi-dir");
    tunnel::Options {
        interface: given["--interface"].parse().expect("interface name"),
        uapi_dir: dir.map_or(linux::wireguard::SOCKET_DIR.into(), PathBuf::from),
        foreground: given.contains_key("--foreground"),
        take_over: given.contains_key("--take-over"),
    }
}

fn plain(mode: &str, given: &Given) -> plain::Options {
    let number = |name: &str| given.get(name).map(|text| text.parse().expect("number"));
    let port = |name| number(name).map_or(0, |port: u32| u16::try_from(port).expect("port"));
    let ports = UdpPorts {
        source: port("--sport"),
        destination: port("--dport"),
    };
    let encapsulation = match mode {
        "ipip" => Encapsulation::Ipip,
        "gre" => Encapsulation::Gre {
            key: number("--key"),
        },
        "fou" => Encapsulation::Fou(ports),
        "gue" => Encapsulation::Gue(ports),
        other => panic!("unknown mode {other}"),
    };
    plain::Options {
        interface: given["--interface"].parse().expect("interface name"),
        tunnel: PlainTunnel {
            encapsulation,
            local: given["--local"].parse().expect("address"),
            remote: given["--remote"].parse().expect("address"),
            underlay: given
                .get("--underlay")
                .map(|name| name.parse().expect("name")),
            ttl: given["--ttl"].parse().expect("number"),
        },
        socket_dir: PathBuf::from(&given["--socket-dir"]),
        take_over: given.contains_key("--take-over"),
        foreground: given.contains_key("--foreground"),
    }
}
