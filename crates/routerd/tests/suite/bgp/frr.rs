//! FRR as a whole: zebra, bfdd and bgpd in the namespace `peer`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::speakers::{OURS, THEIRS};
use crate::daemon::until;

/// It ends with this value.
pub struct Frr {
    folder: TempDir,
    children: Vec<Child>,
}

impl Frr {
    /// An internal peer that announces [`THEIRS`] and watches the path to us, 50 ms three times.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("folder");
        // Its daemons become another user.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o777)).expect("permissions");
        let mut frr = Self {
            folder,
            children: Vec::new(),
        };
        frr.run("zebra", "hostname peer\n");
        until("zebra listens", || fs::metadata(frr.file("zserv")).is_ok());
        frr.run(
            "bfdd",
            "hostname peer\nbfd\n profile quick\n  receive-interval 50\n  transmit-interval 50\n  \
             detect-multiplier 3\n exit\nexit\n",
        );
        frr.run(
            "bgpd",
            &format!(
                "hostname peer\nrouter bgp 65000\n bgp router-id 10.99.0.2\n no bgp network import-check\n \
                 bgp graceful-restart\n neighbor 10.99.0.1 remote-as 65000\n neighbor 10.99.0.1 timers 3 9\n \
                 neighbor 10.99.0.1 timers connect 1\n neighbor 10.99.0.1 bfd profile quick\n \
                 address-family ipv4 unicast\n  network {THEIRS}\n exit-address-family\n"
            ),
        );
        frr
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn run(&mut self, daemon: &str, configuration: &str) {
        let conf = self.file(&format!("{daemon}.conf"));
        fs::write(&conf, configuration).expect("configuration");
        let output = fs::File::create(self.file(&format!("{daemon}.out"))).expect("file");
        let child = Command::new("ip")
            .args(["netns", "exec", "peer", &format!("/usr/lib/frr/{daemon}")])
            .args(["-f", &conf, "-i", &self.file(&format!("{daemon}.pid"))])
            .args(["-z", &self.file("zserv"), "--vty_socket", &self.file("")])
            .args(["-A", "127.0.0.1", "-P", "0"])
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("file"))
            .stderr(output)
            .spawn();
        self.children.push(child.expect("it starts"));
    }

    pub fn signal(&self, signal: Signal) {
        for child in &self.children {
            kill(Pid::from_raw(child.id().cast_signed()), signal).expect("signal");
        }
    }

    fn says(&self, command: &str) -> String {
        let output = Command::new("ip")
            .args(["netns", "exec", "peer", "vtysh", "--vty_socket"])
            .args([&self.file(""), "-c", command])
            .output();
        String::from_utf8_lossy(&output.expect("vtysh").stdout).into_owned()
    }

    /// Whether it has heard [`OURS`].
    pub fn has_ours(&self) -> bool {
        self.says("show bgp ipv4 unicast").contains(OURS)
    }
}

impl Drop for Frr {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- FRR\n{}", self.says("show bgp neighbors"));
            eprintln!("{}", self.says("show bfd peers"));
        }
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
