//! `lab api CLOUD`: a cloud's API alone, on loopback, for any client to be pointed at.
//!
//! The API listens twice: over HTTPS, on which the official clients insist, with a certificate of an authority
//! made for this run; and in the clear, where also the metadata service answers. Both serve the same state.

use std::ffi::OsString;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::{Arc, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, ValueEnum};
use nix::sys::signal::{SigSet, Signal};
use serde_json::{Map, Value, json};

use super::Cloud;
use super::azure::Azure;
use super::serve::{Listening, Server, Service};
use super::tls::Authority;
use crate::fabric::{FabricState, NicId};

/// Serves a cloud's API alone.
#[derive(Debug, Args)]
pub struct ApiArgs {
    /// Whose.
    cloud: CloudName,
    /// The port of the HTTPS endpoint; 0: any.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The machine that the metadata service takes callers for, by its NIC; absent: the router.
    #[arg(long)]
    nic: Option<String>,
    /// Where that machine may change the network.
    #[arg(long, value_enum, default_value_t = RoleScope::Group)]
    role: RoleScope,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Run a program with the environment set, and end with it.
    #[arg(last = true)]
    command: Vec<OsString>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CloudName {
    /// Azure Resource Manager with its metadata service.
    Azure,
}

/// Where the machine's identity has a role.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum RoleScope {
    /// Nowhere.
    None,
    /// On its NIC alone.
    Nic,
    /// On everything beside it.
    Group,
}

/// How a cloud is to begin.
#[derive(Debug)]
pub(super) struct Wish {
    /// The machine that callers are taken for.
    pub(super) nic: NicId,
    /// What it may do.
    pub(super) role: RoleScope,
    /// What time it is, in seconds since 1970.
    pub(super) epoch: u64,
    /// Makes tokens unguessable.
    pub(super) secret: [u8; 32],
}

/// Where everything is.
pub(super) struct Endpoints {
    /// The API, over HTTPS.
    pub(super) api: String,
    /// The metadata service, in the clear.
    pub(super) metadata: String,
    /// The file with the authority's certificate.
    pub(super) authority: PathBuf,
    /// Holds that file.
    _directory: tempfile::TempDir,
}

/// A cloud that can be served alone: everything about it that its API does not say itself.
pub(super) trait Alone: Cloud + Send + Sized + 'static {
    /// The NICs of the machines there are, and the router's.
    ///
    /// # Errors
    /// When the example is not valid.
    fn machines() -> Result<(Vec<NicId>, NicId)>;

    /// The cloud, and what its network holds.
    ///
    /// # Errors
    /// When the wish cannot be met.
    fn begin(wish: &Wish) -> Result<(Self, FabricState)>;

    /// By which variables the cloud's official clients find it.
    fn environment(endpoints: &Endpoints) -> Vec<(&'static str, String)>;

    /// What there is, for programs; `nic` is the machine's.
    fn facts(&self, nic: &NicId) -> Map<String, Value>;

    /// What to type to point the cloud's command line client at it.
    fn guide(endpoints: &Endpoints) -> Vec<String>;
}

/// Serves until interrupted, or until the program has ended.
///
/// # Errors
/// When a socket or file cannot be made.
pub fn run(args: &ApiArgs) -> Result<ExitCode> {
    match args.cloud {
        CloudName::Azure => serve::<Azure>(args),
    }
}

fn serve<C: Alone>(args: &ApiArgs) -> Result<ExitCode> {
    let mut interrupts = SigSet::empty();
    interrupts.add(Signal::SIGINT);
    interrupts.add(Signal::SIGTERM);
    // Before the first thread, so that none of them is interrupted instead of us.
    interrupts.thread_block().context("block signals")?;
    let nic = machine::<C>(args.nic.as_deref())?;
    let (cloud, fabric) = C::begin(&wish(args, &nic)?)?;
    let service = Service::new(cloud, Arc::new(RwLock::new(fabric)));
    let (endpoints, servers) = listen(args, &service, &nic)?;
    let (facts, token) = service.with(|cloud, now| (cloud.facts(&nic), cloud.operator_token(now)));
    let mut environment = C::environment(&endpoints);
    environment.extend([
        ("ROUTERD_LAB_ENDPOINT", endpoints.api.clone()),
        ("ROUTERD_LAB_METADATA", endpoints.metadata.clone()),
    ]);
    let printed = if args.json {
        for_programs(facts, &endpoints, &environment, &token)
    } else {
        for_people::<C>(&facts, &endpoints, &environment, &token)
    };
    if args.command.is_empty() {
        println!("{printed}");
        std::io::stdout().flush().context("print")?;
        interrupts.wait().context("wait for a signal")?;
        drop(servers);
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{printed}");
    environment.push(("ROUTERD_LAB_TOKEN", token));
    let code = child(args, environment);
    drop(servers);
    code
}

fn machine<C: Alone>(wanted: Option<&str>) -> Result<NicId> {
    let (machines, router) = C::machines()?;
    let nic = wanted.map_or(router, NicId::from);
    if machines.contains(&nic) {
        return Ok(nic);
    }
    let names: Vec<&str> = machines.iter().map(|nic| nic.0.as_str()).collect();
    bail!("there is no NIC {nic}; there are {}", names.join(", "))
}

fn wish(args: &ApiArgs, nic: &NicId) -> Result<Wish> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| anyhow!("make a secret: {error}"))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    Ok(Wish {
        nic: nic.clone(),
        role: args.role,
        epoch: now.context("tell the time")?.as_secs(),
        secret,
    })
}

fn listen<C: Alone>(
    args: &ApiArgs,
    service: &Arc<Service<C>>,
    nic: &NicId,
) -> Result<(Endpoints, [Server; 2])> {
    let authority = Authority::new()?;
    let names = ["localhost".to_owned(), Ipv4Addr::LOCALHOST.to_string()];
    let tls = authority.server(&names)?;
    let directory = tempfile::tempdir().context("make a directory")?;
    let file = directory.path().join("authority.pem");
    std::fs::write(&file, authority.pem()).with_context(|| format!("write {}", file.display()))?;
    let bind = |port: u16| -> Result<(TcpListener, u16)> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let socket = TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
        let port = socket.local_addr()?.port();
        Ok((socket, port))
    };
    let (secure, port) = bind(args.port)?;
    let (clear, metadata_port) = bind(0)?;
    let start = |socket, tls| {
        let nic = nic.clone();
        let listening = Listening {
            socket,
            tls,
            origin: Box::new(move |_| Some(nic.clone())),
            control: true,
        };
        Server::start(service.clone(), listening)
    };
    let servers = [start(secure, Some(tls))?, start(clear, None)?];
    let endpoints = Endpoints {
        api: format!("https://localhost:{port}"),
        metadata: format!("http://127.0.0.1:{metadata_port}"),
        authority: file,
        _directory: directory,
    };
    Ok((endpoints, servers))
}

fn for_programs(
    mut facts: Map<String, Value>,
    endpoints: &Endpoints,
    environment: &[(&'static str, String)],
    token: &str,
) -> String {
    let environment: Map<String, Value> = environment
        .iter()
        .map(|(name, value)| ((*name).to_owned(), json!(value)))
        .collect();
    facts.insert("endpoint".to_owned(), json!(endpoints.api));
    facts.insert("metadata".to_owned(), json!(endpoints.metadata));
    facts.insert("authority".to_owned(), json!(endpoints.authority));
    facts.insert("operatorToken".to_owned(), json!(token));
    facts.insert("environment".to_owned(), Value::Object(environment));
    Value::Object(facts).to_string()
}

/// Lines that a shell can take: what is not an assignment is a comment.
fn for_people<C: Alone>(
    facts: &Map<String, Value>,
    endpoints: &Endpoints,
    environment: &[(&'static str, String)],
    token: &str,
) -> String {
    let mut lines = vec![format!(
        "# API at {}, metadata service at {}",
        endpoints.api, endpoints.metadata
    )];
    for (name, value) in facts {
        let values = match value {
            Value::Array(values) => values.clone(),
            one => vec![one.clone()],
        };
        lines.extend(values.iter().map(|value| match value {
            Value::String(text) => format!("# {name}: {text}"),
            other => format!("# {name}: {other}"),
        }));
    }
    let exports = environment.iter();
    lines.extend(exports.map(|(name, value)| format!("export {name}={value}")));
    lines.push("# the operator, who may do everything, as a bearer token:".to_owned());
    lines.push(format!("export ROUTERD_LAB_TOKEN={token}"));
    lines.extend(
        C::guide(endpoints)
            .into_iter()
            .map(|line| format!("# $ {line}")),
    );
    lines.push(format!(
        "# faults and more: {}/lab/faults, /lab/behaviour, /lab/requests; Ctrl-C ends it",
        endpoints.metadata
    ));
    lines.join("\n")
}

fn child(args: &ApiArgs, environment: Vec<(&'static str, String)>) -> Result<ExitCode> {
    let [program, arguments @ ..] = args.command.as_slice() else {
        bail!("no program is named");
    };
    let status = Command::new(program)
        .args(arguments)
        .envs(environment)
        .status()
        .with_context(|| format!("run {}", program.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}
