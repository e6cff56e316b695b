//! A claim that follows BGP, with packets of a client that knows nothing of it:
//!
//! ```text
//! namespace `client`       this namespace                     namespace `peer`
//! c1 10.77.60.7/24 ─────── c0 10.77.60.1/24, r0 10.99.0.1 ─── p0 10.99.0.2, 10.77.60.5/32 on lo
//! ```

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::speakers::{Case, Kind, Role, Speaker, THEIRS};
use super::{apply, installed, is_up, topology};
use crate::daemon::{Daemon, until};
use crate::namespace::{isolated, run, words};

const CONFIGURATION: &str = "\
apiVersion: net.routerd.net/v1alpha1
kind: BGPRouter
metadata: {name: main}
spec:
  asn: 65000
  routerID: 10.99.0.1
---
apiVersion: net.routerd.net/v1alpha1
kind: BGPPeer
metadata: {name: other}
spec:
  peerASN: 65000
  peers: [10.99.0.2]
  timers: {profile: fast}
  bfd: {minRx: 50ms, minTx: 50ms}
---
apiVersion: hybrid.routerd.net/v1alpha1
kind: OverlayPeer
metadata: {name: cloud}
spec:
  role: onprem
  nodeID: here
  underlay: {type: route, interface: r0}
  remote: {nodeID: cloud, address: 10.99.0.2}
---
apiVersion: hybrid.routerd.net/v1alpha1
kind: AddressMobilityDomain
metadata: {name: same-subnet}
spec:
  prefix: 10.77.60.0/24
  mode: selective-address
  peerRef: cloud
---
apiVersion: hybrid.routerd.net/v1alpha1
kind: RemoteAddressClaim
metadata: {name: app}
spec:
  address: 10.77.60.5/32
  ownerSide: cloud
  capture: {type: proxy-arp, interface: c0}
  delivery: {mode: bgp}
";

fn client() {
    run("ip netns add client");
    run("ip link add c0 type veth peer name c1 netns client");
    run("ip address add 10.77.60.1/24 dev c0");
    run("ip link set c0 up");
    run("ip -n client link set lo up");
    run("ip -n client address add 10.77.60.7/24 dev c1");
    run("ip -n client link set c1 up");
    run("ip -n peer route add 10.77.60.0/24 via 10.99.0.1");
}

/// Whether one packet of the client comes back from the claimed address.
fn reaches() -> bool {
    let (program, arguments) = words("ip netns exec client ping -c 1 -W 1 -q 10.77.60.5");
    let output = std::process::Command::new(program).args(arguments).output();
    output.expect("ping").status.success()
}

fn is_captured() -> bool {
    run("ip neighbour show proxy dev c0").contains("10.77.60.5")
}

#[test]
fn a_claim_is_captured_while_bgp_has_a_path_and_not_longer() {
    let name = "bgp::claim::a_claim_is_captured_while_bgp_has_a_path_and_not_longer";
    isolated(name, || {
        topology();
        client();
        let folder = tempfile::tempdir().expect("folder");
        let mut daemon = Daemon::new(folder.path());
        daemon.start();
        apply(&daemon, folder.path(), CONFIGURATION);
        let status = || {
            daemon
                .routerctl(&["describe", "RemoteAddressClaim", "app"])
                .1
        };
        until("the claim says what it waits for", || {
            status().contains("BGP has no path to 10.77.60.5/32")
        });
        assert!(!is_captured() && !reaches(), "before there is a path");
        let case = Case {
            role: Role::Internal,
            we_wait: false,
            password: false,
            bfd: true,
        };
        let bird = Speaker::start(Kind::Bird, case, folder.path());
        until("the session is up", || is_up(&daemon));
        until("the address is captured", is_captured);
        until("the client reaches it", reaches);
        assert!(installed(THEIRS));
        bird.announce(false);
        until("the capture ends with the path", || {
            !is_captured() && !installed(THEIRS)
        });
        assert!(!reaches(), "its packets are nobody's");
        bird.announce(true);
        until("the client reaches it again", || is_captured() && reaches());
        let bfd = || daemon.routerctl(&["get", "bgp", "bfd"]).1;
        until("BFD is up, and fast", || bfd().contains("150ms"));
        let stopped = Instant::now();
        bird.signal(Signal::SIGSTOP);
        until("the capture ends with the peer", || !is_captured());
        let took = stopped.elapsed();
        println!(
            "captured no more {} ms after its holder fell silent",
            took.as_millis()
        );
        assert!(
            took < Duration::from_secs(3),
            "{took:?}: hold time, not BFD"
        );
        bird.signal(Signal::SIGCONT);
    });
}
