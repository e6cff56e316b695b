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
use serde_json::json;

use super::azure::{Assignment, Azure, NETWORK_CONTRIBUTOR, OPERATOR, Site, example};
use super::serve::{Listening, Server, Service};
use super::tls::Authority;
use crate::fabric::NicId;

/// Serves a cloud's API alone.
#[derive(Debug, Args)]
pub struct ApiArgs {
    /// Whose.
    cloud: CloudName,
    /// The port of the HTTPS endpoint; 0: any.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The machine that the metadata service takes callers for, by its NIC.
    #[arg(long, default_value = example::ROUTER)]
    nic: String,
    /// Where that machine has the role Network Contributor.
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

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleScope {
    /// Nowhere.
    None,
    /// On its NIC alone.
    Nic,
    /// On the resource group.
    Group,
}

/// Serves until interrupted, or until the program has ended.
///
/// # Errors
/// When a socket or file cannot be made.
pub fn run(args: &ApiArgs) -> Result<ExitCode> {
    let CloudName::Azure = args.cloud;
    let mut interrupts = SigSet::empty();
    interrupts.add(Signal::SIGINT);
    interrupts.add(Signal::SIGTERM);
    // Before the first thread, so that none of them is interrupted instead of us.
    interrupts.thread_block().context("block signals")?;
    let (azure, fabric) = subscription(args)?;
    let site = azure.site().clone();
    let service = Service::new(azure, Arc::new(RwLock::new(fabric)));
    let (endpoints, servers) = listen(args, &service)?;
    let token = service.with(|azure, now| azure.issue_token(OPERATOR, now));
    let printed = describe(&site, &endpoints, &token, args.json);
    if args.command.is_empty() {
        println!("{printed}");
        std::io::stdout().flush().context("print")?;
        interrupts.wait().context("wait for a signal")?;
        drop(servers);
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("{printed}");
    let code = child(args, &endpoints, &token);
    drop(servers);
    code
}

/// Where everything is.
struct Endpoints {
    api: String,
    metadata: String,
    authority: PathBuf,
    /// Holds the authority's file.
    _directory: tempfile::TempDir,
}

impl Endpoints {
    fn environment(&self) -> [(&'static str, String); 5] {
        let authority = self.authority.display().to_string();
        [
            ("AZURE_POD_IDENTITY_AUTHORITY_HOST", self.metadata.clone()),
            ("SSL_CERT_FILE", authority.clone()),
            ("REQUESTS_CA_BUNDLE", authority),
            ("ROUTERD_LAB_ENDPOINT", self.api.clone()),
            ("ROUTERD_LAB_METADATA", self.metadata.clone()),
        ]
    }
}

fn subscription(args: &ApiArgs) -> Result<(Azure, crate::fabric::FabricState)> {
    let (mut site, fabric) = example::example()?;
    site.epoch = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .context("tell the time")?
        .as_secs();
    let nic = NicId(args.nic.clone());
    let Some(machine) = site.machines.get(&nic).cloned() else {
        let names: Vec<&str> = site.machines.keys().map(|nic| nic.0.as_str()).collect();
        bail!(
            "there is no NIC {}; there are {}",
            args.nic,
            names.join(", ")
        );
    };
    let scope = match args.role {
        RoleScope::None => None,
        RoleScope::Nic => Some(site.nic_id(&nic)),
        RoleScope::Group => Some(site.group_id()),
    };
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| anyhow!("make a secret: {error}"))?;
    let mut azure = Azure::new(site, &fabric, secret);
    if let Some(scope) = scope {
        azure.assign_role(Assignment {
            principal: machine.principal,
            role: NETWORK_CONTRIBUTOR.to_owned(),
            scope,
        });
    }
    Ok((azure, fabric))
}

fn listen(args: &ApiArgs, service: &Arc<Service<Azure>>) -> Result<(Endpoints, [Server; 2])> {
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
        let nic = NicId(args.nic.clone());
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

fn describe(site: &Site, endpoints: &Endpoints, token: &str, as_json: bool) -> String {
    let nics: Vec<String> = site.machines.keys().map(|nic| site.nic_id(nic)).collect();
    let environment: serde_json::Map<_, _> = endpoints
        .environment()
        .into_iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    if as_json {
        return json!({
            "endpoint": endpoints.api,
            "metadata": endpoints.metadata,
            "authority": endpoints.authority,
            "subscription": site.subscription,
            "tenant": site.tenant,
            "resourceGroup": site.group,
            "virtualNetwork": site.network,
            "networkInterfaces": nics,
            "operatorToken": token,
            "environment": environment,
        })
        .to_string();
    }
    let exports: Vec<String> = endpoints
        .environment()
        .iter()
        .map(|(name, value)| format!("export {name}={value}"))
        .collect();
    format!(
        "# Azure Resource Manager at {}, metadata service at {}\n\
         # subscription {}, resource group {}, network {}\n{}\n\
         # operator (owner of the subscription), as a bearer token:\nexport ROUTERD_LAB_TOKEN={token}\n{}\n\
         # faults and more: {}/lab/faults, /lab/behaviour, /lab/requests; Ctrl-C ends it",
        endpoints.api,
        endpoints.metadata,
        site.subscription,
        site.group,
        site.network,
        nics.iter()
            .map(|id| format!("# {id}"))
            .collect::<Vec<_>>()
            .join("\n"),
        exports.join("\n"),
        endpoints.metadata,
    )
}

fn child(args: &ApiArgs, endpoints: &Endpoints, token: &str) -> Result<ExitCode> {
    let [program, arguments @ ..] = args.command.as_slice() else {
        bail!("no program is named");
    };
    let status = Command::new(program)
        .args(arguments)
        .envs(endpoints.environment())
        .env("ROUTERD_LAB_TOKEN", token)
        .status()
        .with_context(|| format!("run {}", program.display()))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}
