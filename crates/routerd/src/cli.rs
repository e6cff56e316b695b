//! The daemon's command line.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use api::IfName;
use api::control::{DEFAULT_CONFIG, DEFAULT_SOCKET, DEFAULT_STATE_FILE};
use api::doctor::AREAS;
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use linux::wireguard::SOCKET_DIR;
use routerd_core::encapsulation::{Encapsulation, UdpPorts};

/// Keeps this host as its configuration says.
#[derive(Debug, Parser)]
#[command(name = "routerd", version, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the daemon
    ///
    /// Boots from the last generation that was verified on this host. SIGTERM and SIGINT stop it and leave
    /// everything forwarding as it is; SIGHUP looks at the whole host at once.
    Serve(Serve),
    /// Check this host without the daemon
    ///
    /// What `routerctl doctor` runs when the daemon does not answer. Reads the state file, changes nothing.
    Doctor(Doctor),
    /// Show the dynamic configuration without the daemon
    ///
    /// What `routerctl dynamic` runs when it is given files. Reads them, changes nothing, prints JSON.
    Dynamic(Dynamic),
    /// Answer one request about event federation from the state file (run by `routerctl federation`)
    ///
    /// The request is JSON on standard input, the answer JSON on standard output. Safe beside a running daemon.
    #[command(hide = true)]
    Federation(StateFile),
    /// Run a tunnel in user space (started by the daemon where the kernel has no driver)
    Tunnel {
        /// What kind of tunnel.
        #[command(subcommand)]
        kind: TunnelKind,
    },
    /// Run BFD sessions (started by the daemon, which they outlive)
    Bfd {
        /// Socket that the daemon asks for them by
        #[arg(long, value_name = "SOCKET")]
        socket: PathBuf,
        /// Stay a child of the caller
        #[arg(long)]
        foreground: bool,
    },
    /// Start a plugin in its sandbox (started by the daemon)
    #[command(hide = true)]
    Plugin(PluginStage),
}

#[derive(Debug, Args)]
pub(crate) struct Dynamic {
    /// What to show
    #[arg(value_enum)]
    pub(crate) what: DynamicWhat,
    /// Configuration: a file, or a directory with *.yaml [default: the last verified generation]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) state: StateFile,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum DynamicWhat {
    /// What sources said and what became of it
    Parts,
    /// The configuration that comes of it
    Effective,
}

/// A stage between the daemon and a plugin; see `linux::plugin`.
#[derive(Debug, Args)]
pub(crate) struct PluginStage {
    /// `supervise` or `enter`
    pub(crate) stage: String,
    /// Where the plugin runs, as JSON
    pub(crate) cell: String,
    /// Process that has to be alive
    pub(crate) parent: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Configuration to apply if no generation was ever applied on this host
    #[arg(long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    pub(crate) config: PathBuf,
    #[command(flatten)]
    pub(crate) state: StateFile,
    /// Control socket to listen on [default: routerd.sock in the runtime directory]
    #[arg(long, value_name = "SOCKET", env = "ROUTERD_SOCKET")]
    pub(crate) socket: Option<PathBuf>,
    /// Directory for the socket and the lock; one daemon each
    #[arg(long, value_name = "DIR", default_value = default_runtime_dir())]
    pub(crate) runtime_dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct StateFile {
    /// Database with generations and what was changed on this host
    #[arg(long, value_name = "FILE", default_value = DEFAULT_STATE_FILE)]
    pub(crate) state_file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Area to check; all without it
    #[arg(value_parser = PossibleValuesParser::new(AREAS))]
    pub(crate) area: Option<String>,
    /// How to print
    #[arg(short, long, value_enum, default_value_t)]
    pub(crate) output: Output,
    /// Control socket, to see whether the daemon runs
    #[arg(long, value_name = "SOCKET", env = "ROUTERD_SOCKET", default_value = DEFAULT_SOCKET)]
    pub(crate) socket: PathBuf,
    #[command(flatten)]
    pub(crate) state: StateFile,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub(crate) enum Output {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TunnelKind {
    /// WireGuard, configured through its standard socket
    Wireguard {
        /// Interface to make
        #[arg(long, value_name = "NAME")]
        interface: IfName,
        /// Directory of the configuration socket
        #[arg(long, value_name = "DIR", default_value = SOCKET_DIR)]
        uapi_dir: PathBuf,
        /// Stay a child of the caller instead of going on in a session of its own
        #[arg(long)]
        foreground: bool,
        /// Take the device over from the process that runs it, without losing a packet
        #[arg(long)]
        take_over: bool,
    },
    /// IPv4 in IPv4
    Ipip(PlainTunnel),
    /// GRE
    Gre(PlainTunnel),
    /// IPv4 in UDP
    Fou(PlainTunnel),
    /// Generic UDP encapsulation
    Gue(PlainTunnel),
}

/// A tunnel without encryption of its own.
#[derive(Debug, Args)]
pub(crate) struct PlainTunnel {
    /// Interface to make
    #[arg(long, value_name = "NAME")]
    pub(crate) interface: IfName,
    /// Address of this end
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) local: Ipv4Addr,
    /// Address of the other end
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) remote: Ipv4Addr,
    /// Interface that the outer packets are bound to
    #[arg(long, value_name = "NAME")]
    pub(crate) underlay: Option<IfName>,
    /// Time to live of the outer packets
    #[arg(long, value_name = "HOPS", default_value_t = 64)]
    pub(crate) ttl: u8,
    /// Key of a gre tunnel
    #[arg(long, value_name = "NUMBER")]
    pub(crate) key: Option<u32>,
    /// UDP port of this end, for fou and gue
    #[arg(long, value_name = "PORT")]
    pub(crate) sport: Option<u16>,
    /// UDP port of the other end, for fou and gue
    #[arg(long, value_name = "PORT")]
    pub(crate) dport: Option<u16>,
    /// Directory of the socket that tells what the tunnel is
    #[arg(long, value_name = "DIR", default_value = linux::plain::SOCKET_DIR)]
    pub(crate) socket_dir: PathBuf,
    /// Stay a child of the caller instead of going on in a session of its own
    #[arg(long)]
    pub(crate) foreground: bool,
    /// Take the tunnel over from the process that carries it, without losing a packet
    #[arg(long)]
    pub(crate) take_over: bool,
}

impl PlainTunnel {
    /// What to run for an encapsulation, which the ports and the key are for.
    pub(crate) fn options(
        self,
        encapsulation: impl FnOnce(Option<u32>, UdpPorts) -> Encapsulation,
    ) -> linux::plain::Options {
        let ports = UdpPorts {
            source: self.sport.unwrap_or_default(),
            destination: self.dport.unwrap_or_default(),
        };
        linux::plain::Options {
            interface: self.interface,
            tunnel: routerd_core::encapsulation::PlainTunnel {
                encapsulation: encapsulation(self.key, ports),
                local: self.local,
                remote: self.remote,
                underlay: self.underlay,
                ttl: self.ttl,
            },
            socket_dir: self.socket_dir,
            foreground: self.foreground,
            take_over: self.take_over,
        }
    }
}

/// The folder of the default socket.
fn default_runtime_dir() -> &'static str {
    DEFAULT_SOCKET
        .rsplit_once('/')
        .map_or("/", |(folder, _)| folder)
}

impl Serve {
    /// Where to listen.
    pub(crate) fn socket(&self) -> PathBuf {
        let inside = || self.runtime_dir.join("routerd.sock");
        self.socket.clone().unwrap_or_else(inside)
    }
}
