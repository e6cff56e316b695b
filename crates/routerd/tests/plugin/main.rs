//! Plugins in their sandbox, as root and without: real programs, real namespaces.
//!
//! Every plugin here is a shell script of root's in a folder that only root may write to.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use linux::plugin::{Cell, DEFAULT_USER, Ended, Job, Outcome, STDERR_LIMIT, run};

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    /// Only root can own what root's plugins need; without it there is nothing to test.
    fn new() -> Option<Self> {
        let is_root =
            fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
        is_root.then(|| Self {
            folder: tempfile::Builder::new()
                .prefix("routerd-plugins-")
                .tempdir_in("/root")
                .expect("a folder"),
        })
    }

    fn script(&self, text: &str) -> PathBuf {
        let path = self.folder.path().join("script");
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("mode");
        path
    }

    fn job(&self, text: &str) -> Job {
        Job {
            program: env!("CARGO_BIN_EXE_routerd").into(),
            cell: Cell {
                executable: self.script(text),
                env: BTreeMap::new(),
                user: DEFAULT_USER.to_owned(),
                sandbox: true,
                network: false,
                hidden: Vec::new(),
                timeout: Duration::from_secs(10),
            },
            request: Vec::new(),
        }
    }

    fn run(&self, text: &str) -> Outcome {
        run(&self.job(text)).expect("it is tried")
    }

    fn output(&self, text: &str) -> String {
        text_of(&self.run(text))
    }
}

fn text_of(outcome: &Outcome) -> String {
    assert_eq!(outcome.ended, Ended::Exited(0), "{}", outcome.stderr);
    String::from_utf8_lossy(&outcome.stdout).trim().to_owned()
}

#[test]
fn a_request_goes_in_and_a_result_comes_out() {
    let Some(bench) = Bench::new() else { return };
    let mut job = bench.job("read line; echo \"got $line\"; echo careful >&2");
    job.request = b"{\"a\": 1}\n".to_vec();
    let outcome = run(&job).expect("it is tried");
    assert_eq!(text_of(&outcome), "got {\"a\": 1}");
    assert_eq!(outcome.stderr, "careful\n");
    assert!(outcome.reaped);
}

#[test]
fn binaries_run_as_well_as_scripts() {
    let Some(bench) = Bench::new() else { return };
    let mut job = bench.job("");
    job.cell.executable = "/usr/bin/id".into();
    assert!(text_of(&run(&job).expect("it is tried")).starts_with("uid=65534(nobody)"));
}

#[test]
fn it_is_nobody_without_rights_and_without_a_way_to_get_any() {
    let Some(bench) = Bench::new() else { return };
    let status = bench.output("cat /proc/self/status");
    let field = |name: &str| {
        let line = status
            .lines()
            .find(|line| line.starts_with(name))
            .expect("a line");
        line.split_once(':')
            .map(|(_, value)| value.trim().to_owned())
            .expect("a value")
    };
    assert_eq!(field("Uid:"), "65534\t65534\t65534\t65534");
    assert_eq!(
        (field("CapPrm"), field("CapEff"), field("NoNewPrivs")),
        (
            "0000000000000000".into(),
            "0000000000000000".into(),
            "1".into()
        )
    );
    assert_eq!(field("Groups"), "65534");
}

#[test]
fn its_environment_is_exactly_what_was_configured() {
    let Some(bench) = Bench::new() else { return };
    let mut job = bench.job("exec /usr/bin/env");
    job.cell.env = [("AZURE_CONFIG_DIR".to_owned(), "/var/lib/x".to_owned())].into();
    let text = text_of(&run(&job).expect("it is tried"));
    // What the shell itself adds.
    let seen: Vec<_> = text
        .lines()
        .filter(|l| {
            !["PWD=", "SHLVL=", "_=", "OLDPWD="]
                .iter()
                .any(|own| l.starts_with(own))
        })
        .collect();
    assert_eq!(seen, ["AZURE_CONFIG_DIR=/var/lib/x"]);
}

#[test]
fn files_are_there_to_read_and_only_tmp_to_write() {
    let Some(bench) = Bench::new() else { return };
    let text = bench.output(
        "for d in / /usr /etc /opt /dev /proc /var /home /tmp; do
            (echo x > $d/routerd-probe) 2>/dev/null && echo \"wrote $d\"
         done
         ls /; test -r /etc/passwd && echo passwd; ls /tmp",
    );
    assert!(text.starts_with("wrote /tmp\n"), "{text}");
    assert!(text.contains("passwd"), "{text}");
    for absent in ["root", "home", "var", "work", "sys", "run"] {
        assert!(
            !text.lines().any(|line| line == absent),
            "{absent} in {text}"
        );
    }
    assert!(!Path::new("/tmp/routerd-probe").exists());
}

#[test]
fn the_database_and_the_keys_are_out_of_reach() {
    let Some(bench) = Bench::new() else { return };
    // One below a folder that is shown, readable for everybody, as a careless umask would leave it.
    let state = tempfile::Builder::new()
        .prefix("routerd-state-")
        .tempdir_in("/usr/local")
        .expect("a folder");
    fs::set_permissions(state.path(), Permissions::from_mode(0o755)).expect("mode");
    fs::write(state.path().join("routerd.db"), "planted-secret").expect("written");
    let probe = format!(
        "cat {0}/routerd.db {0}/../*/routerd.db /proc/1/root{0}/routerd.db /var/lib/routerd/* 2>/dev/null; ls -a {0}; echo end",
        state.path().display()
    );
    assert!(
        bench.output(&probe).contains("planted-secret"),
        "the probe finds what is not hidden"
    );
    let mut job = bench.job(&probe);
    job.cell.hidden = vec![state.path().to_owned()];
    let outcome = run(&job).expect("it is tried");
    assert_eq!(text_of(&outcome), "end");
}

#[test]
fn a_hidden_file_is_empty() {
    let Some(bench) = Bench::new() else { return };
    let mut job = bench.job("cat /etc/passwd; echo end");
    job.cell.hidden = vec!["/etc/passwd".into()];
    assert_eq!(text_of(&run(&job).expect("it is tried")), "end");
}

#[test]
fn it_sees_no_process_but_its_own() {
    let Some(bench) = Bench::new() else { return };
    let text = bench.output("echo $$; ls /proc | grep -c '^[0-9]'");
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.first(), Some(&"1"));
    let seen: u32 = lines.get(1).and_then(|n| n.parse().ok()).expect("a number");
    assert!(seen <= 3, "{text}");
}

#[test]
fn the_network_is_there_only_if_it_is_said_so() {
    let Some(bench) = Bench::new() else { return };
    let mut job = bench.job("readlink /proc/self/ns/net");
    let here = fs::read_link("/proc/self/ns/net")
        .expect("a namespace")
        .display()
        .to_string();
    assert_ne!(text_of(&run(&job).expect("it is tried")), here);
    job.cell.network = true;
    assert_eq!(text_of(&run(&job).expect("it is tried")), here);
}

#[test]
fn folders_of_its_own_that_its_environment_names_are_writable() {
    let Some(bench) = Bench::new() else { return };
    let own = tempfile::Builder::new()
        .prefix("routerd-own-")
        .tempdir_in("/var/tmp")
        .expect("a folder");
    chown(own.path(), Some(65534), Some(65534)).expect("owner");
    let mut job = bench.job("echo kept > $AZURE_CONFIG_DIR/token; cat $AZURE_CONFIG_DIR/token");
    job.cell.env = [(
        "AZURE_CONFIG_DIR".to_owned(),
        own.path().display().to_string(),
    )]
    .into();
    assert_eq!(text_of(&run(&job).expect("it is tried")), "kept");
    assert_eq!(
        fs::read_to_string(own.path().join("token")).expect("it stays"),
        "kept\n"
    );
    // Not if somebody else's, and not if it would show what is hidden.
    let mut reveals = job.clone();
    reveals.cell.hidden = vec![own.path().join("routerd.db")];
    chown(own.path(), Some(0), Some(0)).expect("owner");
    for job in [job, reveals] {
        assert_ne!(run(&job).expect("it is tried").ended, Ended::Exited(0));
    }
}

#[test]
fn a_strict_mask_of_the_service_hides_nothing_from_it() {
    let Some(bench) = Bench::new() else { return };
    let own = tempfile::Builder::new()
        .prefix("routerd-own-")
        .tempdir_in("/var/tmp")
        .expect("a folder");
    chown(own.path(), Some(65534), Some(65534)).expect("owner");
    let mut job = bench.job("echo kept > $OWN/token && cat < /dev/null && umask");
    // As the unit file has it.
    let masked = bench.folder.path().join("masked");
    let program = format!(
        "#!/bin/sh\numask 077\nexec {} \"$@\"\n",
        env!("CARGO_BIN_EXE_routerd")
    );
    fs::write(&masked, program).expect("written");
    fs::set_permissions(&masked, Permissions::from_mode(0o755)).expect("mode");
    job.program = masked;
    job.cell.env = [("OWN".to_owned(), own.path().display().to_string())].into();
    assert_eq!(text_of(&run(&job).expect("it is tried")), "0077");
    assert!(own.path().join("token").exists());
}

#[test]
fn when_its_time_is_up_it_goes_with_everything_it_started() {
    let Some(bench) = Bench::new() else { return };
    let own = tempfile::Builder::new()
        .prefix("routerd-own-")
        .tempdir_in("/var/tmp")
        .expect("a folder");
    chown(own.path(), Some(65534), Some(65534)).expect("owner");
    let mut job = bench
        .job("(setsid sh -c 'while :; do date +%s%N > $OWN/alive; sleep 0.05; done' &) ; sleep 60");
    job.cell.env = [("OWN".to_owned(), own.path().display().to_string())].into();
    job.cell.timeout = Duration::from_millis(700);
    let began = Instant::now();
    let outcome = run(&job).expect("it is tried");
    assert_eq!(outcome.ended, Ended::TimedOut);
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "{:?}",
        began.elapsed()
    );
    assert!(outcome.reaped);
    let alive = || fs::read_to_string(own.path().join("alive")).expect("it ran");
    let last = alive();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(
        alive(),
        last,
        "a grandchild in a session of its own is gone too"
    );
}

#[test]
fn too_much_output_ends_it_and_too_much_noise_is_cut() {
    let Some(bench) = Bench::new() else { return };
    let outcome = bench.run("head -c 8000000 /dev/zero; sleep 60");
    assert_eq!(outcome.ended, Ended::TooMuchOutput);
    assert!(outcome.took < Duration::from_secs(5) && outcome.reaped);
    let outcome = bench.run("head -c 1000000 /dev/zero >&2; echo last words >&2");
    assert_eq!(
        (outcome.ended, outcome.stderr.len()),
        (Ended::Exited(0), STDERR_LIMIT)
    );
    assert!(outcome.stderr.ends_with("last words\n"));
}

#[test]
fn how_it_ended_is_told_apart() {
    let Some(bench) = Bench::new() else { return };
    assert_eq!(bench.run("exit 3").ended, Ended::Exited(3));
    // Process 1 of a namespace is spared its own signals; its children are not.
    assert_eq!(
        bench.run("sh -c 'kill -9 $$'; exit $?").ended,
        Ended::Signalled(9)
    );
    let mut job = bench.job("echo never");
    fs::set_permissions(&job.cell.executable, Permissions::from_mode(0o777)).expect("mode");
    let outcome = run(&job).expect("it is tried");
    assert_eq!((outcome.ended, outcome.stdout.len()), (Ended::Refused, 0));
    assert!(
        outcome.stderr.contains("writable by others"),
        "{}",
        outcome.stderr
    );
    job.cell.user = "no-such-user".to_owned();
    job.cell.executable = "/usr/bin/id".into();
    assert_eq!(run(&job).expect("it is tried").ended, Ended::Refused);
}

#[test]
fn limits_hold() {
    let Some(bench) = Bench::new() else { return };
    let text = bench.output("ulimit -c; ulimit -n; ulimit -u 2>/dev/null || ulimit -p");
    assert_eq!(text.lines().collect::<Vec<_>>(), ["0", "256", "256"]);
}

#[test]
fn without_a_sandbox_it_is_still_nobody_and_still_ends_in_time() {
    let Some(bench) = Bench::new() else { return };
    let mut job = bench.job("id -u; sleep 60");
    job.cell.sandbox = false;
    job.cell.timeout = Duration::from_millis(700);
    let outcome = run(&job).expect("it is tried");
    assert_eq!(outcome.ended, Ended::TimedOut);
    assert_eq!(String::from_utf8_lossy(&outcome.stdout), "65534\n");
    assert!(!outcome.reaped, "what left the group could be alive");
}
