use std::net::IpAddr;

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;

fn secret_key() -> impl Strategy<Value = SecretKey> {
    any::<[u8; 32]>()
        .prop_filter("all zeros stand for none", |bytes| bytes != &[0; 32])
        .prop_map(SecretKey::from_bytes)
}

fn net() -> impl Strategy<Value = IpNet> {
    (any::<IpAddr>(), any::<u8>()).prop_map(|(addr, len)| {
        let max = if addr.is_ipv4() { 32 } else { 128 };
        IpNet::new(addr, len % (max + 1)).expect("length").trunc()
    })
}

fn set_peer() -> impl Strategy<Value = SetPeer> {
    let allowed_ip = prop_oneof![
        net().prop_map(AllowedIpChange::Add),
        net().prop_map(AllowedIpChange::Remove)
    ];
    (
        any::<[u8; 32]>(),
        any::<(bool, bool, bool)>(),
        option::of(option::of(secret_key())),
        option::of(any::<(IpAddr, u16)>()),
        option::of(any::<u16>()),
        vec(allowed_ip, 0..5),
    )
        .prop_map(
            |(key, flags, preshared_key, endpoint, keepalive, nets)| SetPeer {
                public_key: PublicKey(key),
                remove: flags.0,
                update_only: flags.1,
                preshared_key,
                endpoint: endpoint.map(SocketAddr::from),
                persistent_keepalive: keepalive,
                replace_allowed_ips: flags.2,
                allowed_ips: nets,
            },
        )
}

fn set_device() -> impl Strategy<Value = SetDevice> {
    (
        option::of(option::of(secret_key())),
        option::of(any::<u16>()),
        option::of(any::<u32>()),
        any::<bool>(),
        vec(set_peer(), 0..4),
    )
        .prop_map(
            |(private_key, listen_port, fwmark, replace_peers, peers)| SetDevice {
                private_key,
                listen_port,
                fwmark,
                replace_peers,
                peers,
            },
        )
}

fn peer_state() -> impl Strategy<Value = PeerState> {
    (
        any::<[u8; 32]>(),
        option::of(secret_key()),
        option::of(any::<(IpAddr, u16)>()),
        any::<u16>(),
        option::of((1..u64::from(u32::MAX), 0..1_000_000_000_u32)),
        any::<(u64, u64)>(),
        btree_set(net(), 0..5),
    )
        .prop_map(
            |(key, preshared_key, endpoint, keepalive, handshake, bytes, nets)| PeerState {
                public_key: PublicKey(key),
                preshared_key,
                endpoint: endpoint.map(SocketAddr::from),
                persistent_keepalive: keepalive,
                last_handshake: handshake.map(|(s, n)| Duration::new(s, n)),
                rx_bytes: bytes.0,
                tx_bytes: bytes.1,
                allowed_ips: nets,
            },
        )
}

/// Lines that look like the protocol, to get past the first check of a parser.
fn plausible_text() -> impl Strategy<Value = String> {
    let key = prop_oneof![
        "private_key|public_key|preshared_key|listen_port|fwmark|replace_peers|remove",
        "update_only|endpoint|persistent_keepalive_interval|replace_allowed_ips|allowed_ip",
        "protocol_version|errno|last_handshake_time_sec|last_handshake_time_nsec|[a-z_]{0,9}",
    ];
    let value = prop_oneof![
        "true|false|0|1|-1|65535|65536|4294967296",
        "[0-9a-fA-F]{62,66}",
        "-?[0-9.:a-f]{0,20}/[0-9]{0,4}",
        ".{0,20}",
    ];
    vec((key, value).prop_map(|(k, v)| format!("{k}={v}\n")), 0..8).prop_map(|lines| lines.concat())
}

proptest! {
    #[test]
    fn a_set_survives_the_wire(device in set_device()) {
        prop_assert_eq!(parse_request(&format_set(&device)), Ok(Request::Set(device)));
    }

    #[test]
    fn a_state_survives_the_wire(
        private_key in option::of(secret_key()),
        (listen_port, fwmark) in any::<(u16, u32)>(),
        peers in vec(peer_state(), 0..4),
    ) {
        let state = DeviceState { private_key, listen_port, fwmark, peers };
        let answer = format_state(&state) + &format_errno(0);
        prop_assert!(check_errno(&answer).is_ok());
        prop_assert_eq!(parse_state(&answer), Ok(state));
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in prop_oneof![plausible_text(), ".*"]) {
        let _ = parse_request(&text);
        let _ = parse_request(&format!("set=1\n{text}"));
        let _ = parse_request(&format!("set=1\npublic_key={}\n{text}", "0".repeat(64)));
        let _ = parse_state(&text);
        let _ = check_errno(&text);
    }
}

#[test]
fn what_stands_in_the_wrong_place_is_refused() {
    let key = "ab".repeat(32);
    for (text, errno) in [
        ("".to_owned(), libc::EPROTO),
        ("frob=1\n\n".to_owned(), libc::EPROTO),
        ("set=1\nlisten_port\n\n".to_owned(), libc::EPROTO),
        ("get=1\nlisten_port=1\n\n".to_owned(), libc::EINVAL),
        ("set=1\nallowed_ip=10.0.0.0/8\n\n".to_owned(), libc::EINVAL),
        ("set=1\nprivate_key=zz\n\n".to_owned(), libc::EINVAL),
        ("set=1\nreplace_peers=false\n\n".to_owned(), libc::EINVAL),
        (
            format!("set=1\npublic_key={key}\nlisten_port=1\n\n"),
            libc::EINVAL,
        ),
        (
            format!("set=1\npublic_key={key}\nprotocol_version=2\n\n"),
            libc::EINVAL,
        ),
        (
            format!("set=1\npublic_key={key}\nendpoint=host:1\n\n"),
            libc::EINVAL,
        ),
    ] {
        let error = parse_request(&text).expect_err(&text);
        assert_eq!(error.errno(), errno, "{text:?}");
    }
}

#[test]
fn messages_never_show_a_secret() {
    let text = format!("set=1\nprivate_key={}x\n\n", "ab".repeat(32));
    let error = parse_request(&text).expect_err("too long");
    assert!(!error.to_string().contains("abab"), "{error}");
}
