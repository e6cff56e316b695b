//! The daemon is killed at random moments; whatever it was doing, the next one makes it whole.

use std::time::Duration;

use super::daemon::Daemon;
use super::namespace::{examples, isolated, onprem_links, run};

/// Rounds of kill and restart.
const ROUNDS: u64 = 12;

/// A small generator (SplitMix64), so that a failure can be repeated from its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

/// Everything on the host that we could have changed, without counters and clocks.
fn host() -> String {
    let mut seen: Vec<String> = [
        "ip -oneline address show",
        "ip route show table all",
        "ip neighbour show proxy",
        "ip rule show",
        "nft list ruleset",
        "sysctl net.ipv4.conf net.ipv4.neigh",
    ]
    .into_iter()
    .map(run)
    .collect();
    // IPv6 addresses settle by themselves in the first seconds.
    if let Some(addresses) = seen.first_mut() {
        let lines: Vec<&str> = addresses.lines().filter(|l| !l.contains("inet6")).collect();
        *addresses = lines.join("\n");
    }
    if let Some(routes) = seen.get_mut(1) {
        let lines: Vec<&str> = routes.lines().filter(|l| !l.contains(':')).collect();
        *routes = lines.join("\n");
    }
    seen.join("\n")
}

fn kill_and_restart() {
    let seed = std::env::var("ROUTERD_TEST_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("ROUTERD_TEST_SEED={seed}");
    let mut random = Random(seed);
    onprem_links();
    let folder = tempfile::tempdir().expect("temporary directory");
    let example =
        std::fs::read_to_string(examples().join("two-site-onprem.yaml")).expect("example");
    let keys = folder.path().join("keys").display().to_string();
    let first = example.replace("/var/lib/routerd/keys", &keys);
    let second = first
        .replace("10.255.60.2/32", "10.255.60.3/32")
        .replace("51820", "51821");
    let files = [("first.yaml", first), ("second.yaml", second)];
    let files = files.map(|(name, text)| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("write");
        path.display().to_string()
    });
    let before = host();
    let mut daemon = Daemon::new(folder.path());
    daemon.start();
    for round in 0..ROUNDS {
        let file = &files[usize::from(round % 2 == 0)];
        std::thread::scope(|scope| {
            let asked =
                scope.spawn(|| Daemon::new(folder.path()).routerctl(&["apply", "-f", file]));
            std::thread::sleep(Duration::from_millis(random.below(160)));
            daemon.kill();
            asked.join().expect("routerctl ends");
        });
        daemon.start();
        let (code, said) = daemon.routerctl(&["plan", "--in-force"]);
        assert_eq!(code, 0, "round {round}: {said}");
    }
    let (code, said) = daemon.routerctl(&["teardown"]);
    assert_eq!(code, 0, "{said}");
    assert_eq!(host(), before, "the teardown left something");
    daemon.stop();
}

#[test]
fn a_daemon_killed_at_any_moment_is_made_whole_by_the_next() {
    isolated(
        "crash::a_daemon_killed_at_any_moment_is_made_whole_by_the_next",
        kill_and_restart,
    );
}
