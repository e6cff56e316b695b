//! Any octets as a peer's stream: the speaker does not panic, answers in whole messages, and what it passes on to
//! another peer is never malformed there. The first octet chooses where the stream begins: before the OPEN or with a
//! session that is up, internal or external, with or without four-octet numbers and path identifiers.

use bgp::{
    AddPath, Asn, ConnId, EventKind, Family, Input, Output, PeerConfig, Speaker, SpeakerConfig,
    Start, Time,
};

const SENDER: ConnId = ConnId(1);
const RECEIVER: ConnId = ConnId(2);

fn config(own: [u8; 4], peers: &[([u8; 4], u32)]) -> SpeakerConfig {
    let asn = Asn::try_from(65000).expect("asn");
    let id = u32::from_be_bytes(own).try_into().expect("id");
    let mut config = SpeakerConfig::new(asn, id);
    for (address, asn) in peers {
        let peer = PeerConfig {
            passive: true,
            families: Family::ALL.into(),
            route_reflector_client: true,
            add_path: AddPath {
                receive: true,
                send: None,
            },
            ..PeerConfig::new(Asn::try_from(*asn).expect("asn"))
        };
        config.peers.insert((*address).into(), peer);
    }
    config
}

fn speaker(config: SpeakerConfig) -> Speaker {
    let start = Start {
        now: Time::default(),
        seed: 1,
        restarting: None,
    };
    Speaker::new(config, start)
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![0xff; 16];
    out.extend(u16::try_from(19 + body.len()).expect("length").to_be_bytes());
    out.push(kind);
    out.extend_from_slice(body);
    out
}

fn open(id: u8, asn: u16, four_octet: bool, identified: bool) -> Vec<u8> {
    let mut capabilities = vec![1, 4, 0, 1, 0, 1, 1, 4, 0, 2, 0, 1, 2, 0, 6, 0, 70, 0];
    if four_octet {
        capabilities.extend([65, 4, 0, 0]);
        capabilities.extend(asn.to_be_bytes());
    }
    if identified {
        capabilities.extend([69, 8, 0, 1, 1, 3, 0, 2, 1, 3]);
    }
    let mut body = vec![4];
    body.extend(asn.to_be_bytes());
    body.extend([0, 90, 10, 0, 0, id]);
    let length = u8::try_from(capabilities.len()).expect("length");
    body.extend([length + 2, 2, length]);
    body.extend(capabilities);
    frame(1, &body)
}

fn give(speaker: &mut Speaker, conn: ConnId, bytes: &[u8]) -> Vec<Output> {
    let bytes = bytes.into();
    speaker.handle(Time::default(), Input::Received { conn, bytes });
    std::iter::from_fn(|| speaker.poll_output()).collect()
}

fn accept(speaker: &mut Speaker, conn: ConnId, local: [u8; 4], remote: [u8; 4]) {
    let input = Input::Accepted {
        conn,
        local: local.into(),
        remote: remote.into(),
    };
    speaker.handle(Time::default(), input);
    while speaker.poll_output().is_some() {}
}

pub fn run(data: &[u8]) {
    let Some((&mode, stream)) = data.split_first() else {
        return;
    };
    let external = mode & 1 != 0;
    let asn = if external { 65001 } else { 65000 };
    let ours = [10, 0, 0, 1];
    let peers = [([10, 0, 0, 2], asn.into()), ([10, 0, 0, 3], 65000)];
    let mut middle = speaker(config(ours, &peers));
    // The receiver is a speaker of its own: what it finds malformed, the middle got wrong.
    let mut receiver = speaker(config([10, 0, 0, 3], &[(ours, 65000)]));
    accept(&mut middle, RECEIVER, ours, [10, 0, 0, 3]);
    give(&mut middle, RECEIVER, &open(3, 65000, true, false));
    give(&mut middle, RECEIVER, &frame(4, &[]));
    accept(&mut receiver, SENDER, [10, 0, 0, 3], ours);
    give(&mut receiver, SENDER, &open(1, 65000, true, false));
    give(&mut receiver, SENDER, &frame(4, &[]));
    accept(&mut middle, SENDER, ours, [10, 0, 0, 2]);
    if mode & 2 == 0 {
        give(&mut middle, SENDER, &open(2, asn, mode & 4 == 0, mode & 8 != 0));
        give(&mut middle, SENDER, &frame(4, &[]));
    }
    let piece = if mode & 16 != 0 { 7 } else { usize::MAX };
    for bytes in stream.chunks(piece) {
        for output in give(&mut middle, SENDER, bytes) {
            let Output::Send {
                conn: RECEIVER,
                bytes,
            } = output
            else {
                continue;
            };
            for heard in give(&mut receiver, SENDER, &bytes) {
                if let Output::Event(event) = heard {
                    let wrong = matches!(
                        event.kind,
                        EventKind::Malformed { .. } | EventKind::Down { .. }
                    );
                    assert!(!wrong, "{event:?}");
                }
            }
        }
    }
}
