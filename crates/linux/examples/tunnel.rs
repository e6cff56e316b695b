//! A user-space WireGuard device alone, as `routerd tunnel wireguard` runs it; tests and benchmarks use it.
//!
//! `tunnel tunnel wireguard --interface NAME [--uapi-dir DIR] [--foreground]`

use std::path::PathBuf;

use linux::tunnel::{Options, run};

fn main() {
    let mut options = Options {
        interface: "wg0".parse().expect("name"),
        uapi_dir: PathBuf::from(linux::wireguard::SOCKET_DIR),
        foreground: false,
    };
    let mut arguments = std::env::args().skip(3);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("value");
        match argument.as_str() {
            "--interface" => options.interface = value().parse().expect("interface name"),
            "--uapi-dir" => options.uapi_dir = value().into(),
            "--foreground" => options.foreground = true,
            other => panic!("unknown argument {other}"),
        }
    }
    if let Err(error) = run(&options) {
        eprintln!("tunnel {}: {error}", options.interface);
        std::process::exit(1);
    }
}
