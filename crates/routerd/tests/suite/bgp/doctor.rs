//! What is in the way of a session is named, by the daemon and on real sockets.

use std::net::TcpListener;
use std::path::Path;

use super::speakers::{Case, Kind, Role, Speaker};
use super::{apply, is_up, topology};
use crate::daemon::{Daemon, until};
use crate::namespace::isolated;

fn configure(daemon: &Daemon, folder: &Path, password: Option<&str>) {
    let text = "apiVersion: net.routerd.net/v1alpha1\nkind: BGPRouter\nmetadata: {name: main}\nspec: \
         {asn: 65000, routerID: 10.99.0.1}\n---\n\
         apiVersion: net.routerd.net/v1alpha1\nkind: BGPPeer\nmetadata: {name: other}\nspec:\n  \
         peerASN: 65000\n  peers: [10.99.0.2]\n  timers: {profile: fast}\n";
    let password = password.map(|password| format!("  password: {password}\n"));
    let text = format!("{text}{}", password.unwrap_or_default());
    apply(daemon, folder, &text);
}

/// Waits until doctor says all of this.
#[track_caller]
fn says(daemon: &Daemon, expected: &[&str]) {
    until(&format!("doctor says {expected:?}"), || {
        let (_, said) = daemon.routerctl(&["doctor", "bgp"]);
        expected.iter().all(|words| said.contains(words))
    });
}

#[test]
fn what_is_in_the_way_of_a_session_is_named() {
    isolated(
        "bgp::doctor::what_is_in_the_way_of_a_session_is_named",
        || {
            topology();
            let folder = tempfile::tempdir().expect("folder");
            let mut daemon = Daemon::new(folder.path());
            daemon.start();
            let squatter = TcpListener::bind("0.0.0.0:179").expect("port");
            configure(&daemon, folder.path(), None);
            says(
                &daemon,
                &["bgp-speaker", "in use", "tried again", "ss -ltnp"],
            );
            drop(squatter);
            // By itself: nobody applies anything.
            says(&daemon, &["listens on 0.0.0.0:179"]);
            says(&daemon, &["bgp-session", "refused", "nc -vz 10.99.0.2 179"]);
            let case = Case {
                role: Role::External,
                we_wait: false,
                password: false,
                bfd: false,
            };
            let stranger = Speaker::start(Kind::Bird, case, folder.path());
            says(&daemon, &["bgp-session", "AS 65000", "describe BGPRouter"]);
            drop(stranger);
            let role = Role::Internal;
            let unsigned = Speaker::start(Kind::Bird, Case { role, ..case }, folder.path());
            until("the session is up", || is_up(&daemon));
            says(&daemon, &["overall=pass", "up for"]);
            configure(&daemon, folder.path(), Some("signed-by-us-alone"));
            says(&daemon, &["bgp-session", "no answer", "TCP MD5", "nstat"]);
            drop(unsigned);
        },
    );
}
