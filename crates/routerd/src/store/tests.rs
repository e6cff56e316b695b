use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use api::control::{Config, SourceFile};
use api::{IfName, ResourceId};
use routerd_core::effective::WireGuardIntent;
use routerd_core::key::{KeySource, SecretKey};
use routerd_core::ledger::{Changed, LinkRecord};
use routerd_core::sysctl::{Sysctl, SysctlKey};
use routerd_core::{Effective, Ledger};
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;

/// `wg genkey`, once.
const KEY: &str = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=";

fn folder() -> TempDir {
    tempfile::tempdir().expect("temporary directory")
}

fn open(folder: &TempDir) -> Store {
    Store::open(&folder.path().join("state/routerd.db")).expect("open")
}

fn config(text: &str) -> Config {
    let file = SourceFile {
        name: "router.yaml".to_owned(),
        text: text.to_owned(),
    };
    Config { files: vec![file] }
}

fn ifname(name: &str) -> IfName {
    name.parse().expect("interface name")
}

fn with_inline_key(key: &str) -> Effective {
    let key: SecretKey = key.parse().expect("key");
    let intent = WireGuardIntent {
        owner: ResourceId::new("WireGuardInterface", "wg0"),
        private_key: KeySource::Inline(key),
        listen_port: None,
        mtu: None,
        peers: Default::default(),
    };
    let mut effective = Effective::default();
    effective.wireguard.insert(ifname("wg0"), intent);
    effective
}

/// Applies and verifies a configuration.
fn verify(store: &mut Store, text: &str) -> u64 {
    let id = store
        .begin(&config(text), &Effective::default())
        .expect("begin");
    store.settle(id, State::Verified, None).expect("settle");
    id
}

fn booted(store: &Store) -> Option<String> {
    let generation = store.last_verified().expect("read")?;
    Some(generation.config.files.first()?.text.clone())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("metadata").permissions().mode() & 0o777
}

#[test]
fn nobody_else_reads_the_store() {
    let folder = folder();
    let mut store = open(&folder);
    verify(&mut store, "a");
    let state = folder.path().join("state");
    assert_eq!(mode(&state), 0o700);
    for entry in fs::read_dir(&state).expect("list") {
        let path = entry.expect("entry").path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

#[test]
fn the_last_verified_generation_is_booted() {
    let folder = folder();
    let mut store = open(&folder);
    assert_eq!(booted(&store), None);
    verify(&mut store, "first");
    let second = store
        .begin(&config("second"), &Effective::default())
        .expect("begin");
    assert_eq!(booted(&store).as_deref(), Some("first"), "pending");
    store
        .settle(second, State::Reverted, Some("no such device"))
        .expect("settle");
    assert_eq!(booted(&store).as_deref(), Some("first"), "reverted");
    verify(&mut store, "third");
    assert_eq!(booted(&store).as_deref(), Some("third"));
    drop(store);
    assert_eq!(booted(&open(&folder)).as_deref(), Some("third"), "reopened");
}

#[test]
fn a_generation_that_a_crash_interrupted_is_reverted() {
    let folder = folder();
    let mut store = open(&folder);
    verify(&mut store, "first");
    let second = store
        .begin(&config("second"), &Effective::default())
        .expect("begin");
    drop(store);
    let mut store = open(&folder);
    assert_eq!(store.settle_interrupted().expect("settle"), [second]);
    assert_eq!(
        store.settle_interrupted().expect("settle"),
        Vec::<u64>::new()
    );
    assert_eq!(booted(&store).as_deref(), Some("first"));
}

#[test]
fn a_forgotten_configuration_never_comes_back() {
    let folder = folder();
    let mut store = open(&folder);
    verify(&mut store, "first");
    store.forget().expect("forget");
    drop(store);
    let generation = open(&folder).last_verified().expect("read");
    assert_eq!(generation.expect("generation").config, Config::default());
}

#[test]
fn old_generations_go_and_the_one_in_force_stays() {
    let folder = folder();
    let mut store = open(&folder);
    for n in 0..60 {
        verify(&mut store, &n.to_string());
    }
    assert_eq!(booted(&store).as_deref(), Some("59"));
    let count: u64 = store
        .durable
        .query_row("SELECT count(*) FROM generations", [], |row| row.get(0))
        .expect("count");
    assert_eq!(count, 51);
}

fn ledger() -> Ledger {
    let mut ledger = Ledger::default();
    let (eth0, wg0) = (ifname("eth0"), ifname("wg0"));
    ledger.sysctls.insert(
        Sysctl::on(&eth0, SysctlKey::Forwarding),
        Changed { prior: 0, set: 1 },
    );
    ledger.links.insert(wg0, LinkRecord::Created);
    let mtu = Some(Changed {
        prior: 1500,
        set: 1400,
    });
    let adopted = LinkRecord::Adopted {
        mtu,
        up: None,
        addressed: false,
    };
    ledger.links.insert(eth0, adopted);
    ledger
}

#[test]
fn the_ledger_is_what_was_saved_last() {
    let folder = folder();
    let mut store = open(&folder);
    assert_eq!(store.ledger().expect("ledger"), Ledger::default());
    let mut wanted = ledger();
    store.save_ledger(&wanted).expect("save");
    assert_eq!(store.ledger().expect("ledger"), wanted);
    wanted.links.remove(&ifname("wg0"));
    store.save_ledger(&wanted).expect("save");
    drop(store);
    assert_eq!(open(&folder).ledger().expect("ledger"), wanted);
}

#[test]
fn counters_and_events_add_up() {
    let folder = folder();
    let mut store = open(&folder);
    let claim = ResourceId::new("RemoteAddressClaim", "app");
    for _ in 0..3 {
        store
            .count_removals(&Removals::from([(claim.clone(), 2)]))
            .expect("count");
    }
    for n in 0..1_010 {
        store
            .note(EventKind::Repaired, &n.to_string())
            .expect("note");
    }
    drop(store);
    let store = open(&folder);
    assert_eq!(store.removals().expect("removals").get(&claim), Some(&6));
    let events = store.events(5_000).expect("events");
    assert_eq!(events.len(), 1_000);
    assert_eq!(events.first().map(|e| e.text.as_str()), Some("1009"));
}

#[test]
fn a_database_of_a_newer_version_is_refused_and_left_alone() {
    let folder = folder();
    drop(open(&folder));
    let path = folder.path().join("state/routerd.db");
    let db = Connection::open(&path).expect("open");
    db.execute("INSERT INTO schema_versions VALUES (99, 0)", [])
        .expect("insert");
    drop(db);
    for error in [Store::open(&path), Store::open_to_read(&path)] {
        let error = error.expect_err("refused").to_string();
        assert!(error.contains("version 99"), "{error}");
    }
}

#[test]
fn a_reader_sees_what_a_living_daemon_wrote_and_changes_nothing() {
    let folder = folder();
    let mut store = open(&folder);
    verify(&mut store, "first");
    store.save_ledger(&ledger()).expect("save");
    let path = folder.path().join("state/routerd.db");
    let mut reader = Store::open_to_read(&path).expect("open");
    assert_eq!(booted(&reader).as_deref(), Some("first"));
    assert_eq!(reader.ledger().expect("ledger"), ledger());
    assert!(reader.save_ledger(&Ledger::default()).is_err());
}

/// A power cut may leave any part of the log: every prefix of it must open, and show one of the states that
/// were committed, never one that was only pending.
#[test]
fn any_torn_log_opens_to_a_committed_state() {
    let folder = folder();
    let mut store = open(&folder);
    verify(&mut store, "first");
    store.save_ledger(&ledger()).expect("save");
    verify(&mut store, "second");
    let state = folder.path().join("state");
    let main = fs::read(state.join("routerd.db")).expect("read");
    let log = fs::read(state.join("routerd.db-wal")).expect("read");
    let mut seen = Vec::new();
    for length in (0..=log.len()).step_by(257).chain([log.len()]) {
        let copy = self::folder();
        let path = copy.path().join("routerd.db");
        fs::write(&path, &main).expect("write");
        fs::write(copy.path().join("routerd.db-wal"), &log[..length]).expect("write");
        let mut store = Store::open(&path).expect("a torn log opens");
        store.settle_interrupted().expect("settle");
        let ledger_now = store.ledger().expect("ledger");
        assert!(
            ledger_now == Ledger::default() || ledger_now == ledger(),
            "half a ledger"
        );
        let state = booted(&store);
        if seen.last() != Some(&state) {
            seen.push(state);
        }
    }
    let seen: Vec<_> = seen.iter().map(Option::as_deref).collect();
    assert_eq!(seen, [None, Some("first"), Some("second")]);
}

/// Everything below the folder, as one.
fn bytes_below(folder: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in fs::read_dir(folder).expect("list") {
        let path = entry.expect("entry").path();
        if path.is_file() {
            bytes.extend(fs::read(&path).expect("read"));
        }
    }
    bytes
}

#[test]
fn an_inline_key_is_in_no_database_file() {
    let folder = folder();
    let mut store = open(&folder);
    let text = format!("privateKey: {KEY} # not {KEY}");
    let id = store
        .begin(&config(&text), &with_inline_key(KEY))
        .expect("begin");
    store.settle(id, State::Verified, None).expect("settle");
    let state = folder.path().join("state");
    let found = bytes_below(&state)
        .windows(KEY.len())
        .any(|window| window == KEY.as_bytes());
    assert!(!found, "the key is in the database");
    assert_eq!(booted(&store), Some(text.clone()));
    let keys = state.join("routerd.keys");
    assert_eq!(mode(&keys), 0o700);
    let files: Vec<_> = fs::read_dir(&keys).expect("list").collect();
    assert_eq!(files.len(), 1);
    for file in files {
        assert_eq!(mode(&file.expect("entry").path()), 0o600);
    }
    drop(store);
    assert_eq!(booted(&open(&folder)), Some(text));
}

#[test]
fn a_key_goes_with_the_last_generation_that_used_it() {
    let folder = folder();
    let mut store = open(&folder);
    let id = store
        .begin(&config(KEY), &with_inline_key(KEY))
        .expect("begin");
    store.settle(id, State::Verified, None).expect("settle");
    for n in 0..60 {
        verify(&mut store, &n.to_string());
    }
    let keys = folder.path().join("state/routerd.keys");
    assert_eq!(fs::read_dir(keys).expect("list").count(), 0);
}

#[test]
fn a_key_that_cannot_be_taken_out_of_the_text_is_refused() {
    let folder = folder();
    let mut store = open(&folder);
    let escaped = config("privateKey: \"\\x79Anz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\"");
    let refused = store.begin(&escaped, &with_inline_key(KEY));
    assert!(matches!(refused, Err(StoreError::SecretNotLiteral)));
}
