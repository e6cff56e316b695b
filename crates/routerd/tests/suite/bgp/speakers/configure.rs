//! How each speaker is configured.

use std::fs;

use super::{COMMUNITY, Kind, PASSWORD, Role, Speaker, THEIRS};

/// A line, or none.
fn line(yes: bool, line: &str) -> String {
    if yes {
        format!("{line}\n")
    } else {
        String::new()
    }
}

impl Speaker {
    pub(super) fn configure(&self) {
        let text = match self.kind {
            Kind::Bird => self.bird(),
            Kind::Frr => self.frr(),
            Kind::GoBgp => self.gobgp(),
            Kind::OpenBgpd => self.openbgpd(),
            Kind::ExaBgp => self.exabgp(),
        };
        fs::write(self.file("conf"), text).expect("configuration");
        // OpenBGPD wants it to be nobody else's to write.
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        fs::set_permissions(self.file("conf"), private).expect("permissions");
    }

    fn bird(&self) -> String {
        let word = |yes: bool, word: &'static str| if yes { word } else { "" };
        let (case, asn) = (self.case, self.case.their_asn());
        format!(
            "router id 10.99.0.2;\nlog \"{log}\" all;\nprotocol device {{}}\n\
             protocol bfd {{ interface \"p0\" {{ min rx interval 50 ms; min tx interval 50 ms; multiplier 3; }}; }}\n\
             protocol static theirs {{ ipv4; route {THEIRS} blackhole {{ bgp_large_community.add((65000,1,7)); }}; }}\n\
             protocol bgp r {{ local 10.99.0.2 as {asn}; neighbor 10.99.0.1 as 65000; direct; hold time 9;\n\
             connect delay time 1; connect retry time 1; error wait time 1, 2; {rr} {passive} {password} {bfd}\n\
             graceful restart; ipv4 {{ import all; export where source = RTS_STATIC; next hop self; add paths on; }}; }}\n",
            log = self.file("log"),
            rr = word(case.role == Role::Reflector, "rr client;"),
            passive = word(!case.we_wait, "passive yes;"),
            password = word(case.password, "password \"between-two-speakers\";"),
            bfd = word(case.bfd, "bfd;"),
        )
    }

    fn frr(&self) -> String {
        let (case, asn) = (self.case, self.case.their_asn());
        // A route map that is named before it exists is applied five seconds later.
        let mut text = format!(
            "hostname peer\nlog file {log}\nroute-map LC permit 10\n set large-community {COMMUNITY}\nexit\n\
             router bgp {asn}\n bgp router-id 10.99.0.2\n no bgp ebgp-requires-policy\n no bgp network import-check\n \
             bgp graceful-restart\n bgp graceful-restart preserve-fw-state\n bgp graceful-restart restart-time 20\n \
             neighbor 10.99.0.1 remote-as 65000\n neighbor 10.99.0.1 timers 3 9\n \
             neighbor 10.99.0.1 timers connect 1\n neighbor 10.99.0.1 advertisement-interval 0\n",
            log = self.file("log"),
        );
        text += &line(!case.we_wait, " neighbor 10.99.0.1 passive");
        text += &line(
            case.password,
            &format!(" neighbor 10.99.0.1 password {PASSWORD}"),
        );
        text += &line(case.bfd, " neighbor 10.99.0.1 bfd profile quick");
        text += &format!(" address-family ipv4 unicast\n  network {THEIRS} route-map LC\n");
        text += &line(
            case.role == Role::Reflector,
            "  neighbor 10.99.0.1 route-reflector-client",
        );
        text += "  neighbor 10.99.0.1 addpath-tx-all-paths\n exit-address-family\nexit\n";
        text += &line(
            case.bfd,
            "bfd\n profile quick\n  receive-interval 50\n  transmit-interval 50\n  detect-multiplier 3",
        );
        text
    }

    fn gobgp(&self) -> String {
        let case = self.case;
        let mut text = format!(
            "[global.config]\nas = {}\nrouter-id = \"10.99.0.2\"\nlocal-address-list = [\"10.99.0.2\"]\n\
             [[neighbors]]\n[neighbors.config]\nneighbor-address = \"10.99.0.1\"\npeer-as = 65000\n",
            case.their_asn()
        );
        if case.password {
            text += &format!("auth-password = \"{PASSWORD}\"\n");
        }
        text += &format!(
            "[neighbors.transport.config]\npassive-mode = {}\n",
            !case.we_wait
        );
        text += "[neighbors.timers.config]\nhold-time = 9\nkeepalive-interval = 3\nconnect-retry = 1\n\
                 idle-hold-time-after-reset = 1\n";
        if case.role == Role::Reflector {
            text += "[neighbors.route-reflector.config]\nroute-reflector-client = true\n\
                     route-reflector-cluster-id = \"10.99.0.2\"\n";
        }
        text += "[neighbors.graceful-restart.config]\nenabled = true\nrestart-time = 20\n\
                 [[neighbors.afi-safis]]\n[neighbors.afi-safis.config]\nafi-safi-name = \"ipv4-unicast\"\n\
                 [neighbors.afi-safis.mp-graceful-restart.config]\nenabled = true\n\
                 [neighbors.afi-safis.add-paths.config]\nreceive = true\nsend-max = 4\n";
        text
    }

    fn openbgpd(&self) -> String {
        let case = self.case;
        format!(
            "AS {asn}\nrouter-id 10.99.0.2\nconnect-retry 1\nlisten on 10.99.0.2\nfib-update no\nnexthop qualify via default\n\
             socket \"{socket}\"\nnetwork {THEIRS} set large-community {COMMUNITY}\n\
             neighbor 10.99.0.1 {{\n  remote-as 65000\n  holdtime 9\n  announce add-path recv yes\n  \
             announce add-path send all\n{passive}{rr}{password}}}\n\
             allow from any\nallow to any\n",
            asn = case.their_asn(),
            socket = self.file("sock"),
            passive = line(!case.we_wait, "passive"),
            rr = line(case.role == Role::Reflector, "route-reflector"),
            password = line(
                case.password,
                &format!("tcp md5sig password \"{PASSWORD}\"")
            ),
        )
    }

    fn exabgp(&self) -> String {
        let case = self.case;
        // Each run has a pipe of its own: the process of one that was killed may still wait at the other.
        let script = format!(
            "#!/bin/sh\nexec 3<&0\ncat <&3 >> {heard} &\nmkfifo {say}.$$\nprintf %s {say}.$$ > {voice}.new\n\
             mv {voice}.new {voice}\nwhile kill -0 $PPID; do cat {say}.$$; done\n",
            heard = self.file("heard"),
            say = self.file("say"),
            voice = self.file("voice"),
        );
        fs::write(self.file("talk"), script).expect("script");
        format!(
            "process talk {{ run /bin/sh {talk}; encoder json; }}\n\
             neighbor 10.99.0.1 {{\n  router-id 10.99.0.2;\n  local-address 10.99.0.2;\n  local-as {asn};\n\
             \x20 peer-as 65000;\n  hold-time 9;\n  family {{ ipv4 unicast; }}\n{passive}{password}\
             \x20 capability {{ graceful-restart 20; route-refresh; add-path send/receive; }}\n\
             \x20 api {{ processes [ talk ]; receive {{ parsed; update; }} }}\n\
             \x20 static {{ route {THEIRS} next-hop self path-information 7 large-community [ {COMMUNITY} ]; }}\n}}\n",
            talk = self.file("talk"),
            asn = case.their_asn(),
            passive = line(!case.we_wait, "passive true;"),
            password = line(case.password, &format!("md5-password \"{PASSWORD}\";")),
        )
    }
}
