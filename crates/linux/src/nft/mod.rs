//! nftables: which tables there are, the MSS table, the host firewall.
//!
//! What is asked in every round (generation, tables, owners) goes through nfnetlink and costs microseconds. What
//! is written, and the content that is read back, goes through the `nft` program, so that this code need not
//! know how nft compiles a rule.

mod firewall;
mod mss;

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use api::IfName;
use netlink_sys::protocols::NETLINK_NETFILTER;
use nix::errno::Errno;
use routerd_core::observed::{MssClamp, NftTable};
use routerd_core::{MSS_TABLE, OWNER_MARK};
use serde_json::json;

use crate::netlink::{self, Message, Request, Socket, text};

/// `struct nfgenmsg`.
const FIXED: usize = 4;
const NFNL_SUBSYS_NFTABLES: u16 = 10 << 8;
const NFT_MSG_GETTABLE: u16 = NFNL_SUBSYS_NFTABLES | 1;
const NFT_MSG_GETGEN: u16 = NFNL_SUBSYS_NFTABLES | 16;
const NFTA_GEN_ID: u16 = 1;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_USERDATA: u16 = 6;

pub use firewall::observe as observe_firewall;

/// Why nftables could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// nfnetlink failed.
    #[error("{operation}: {source}")]
    Netlink {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        source: netlink::Error,
    },
    /// The `nft` program could not be run.
    #[error("run nft: {0}")]
    Run(#[from] std::io::Error),
    /// `nft` refused.
    #[error("nft: {0}")]
    Refused(String),
    /// `nft` answered with something else than JSON.
    #[error("read the answer of nft: {0}")]
    Answer(#[from] serde_json::Error),
    /// An interface name that nft cannot express.
    #[error("interface name `{0}` holds a character that nft cannot match literally")]
    Name(IfName),
}

/// nftables of one network namespace.
#[derive(Debug)]
pub struct Nftables {
    socket: Socket,
    seen: Option<Snapshot>,
}

/// What is there.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    generation: u32,
    /// All tables.
    pub tables: Vec<NftTable>,
    /// The MSS table if it stands exactly in our form.
    pub mss: Option<BTreeMap<IfName, MssClamp>>,
}

impl Nftables {
    /// Opens the nftables of the calling thread's network namespace.
    ///
    /// # Errors
    /// When the kernel has no nfnetlink.
    pub fn open() -> Result<Self, Error> {
        let socket = Socket::open(NETLINK_NETFILTER).map_err(failed("open nfnetlink"))?;
        Ok(Self { socket, seen: None })
    }

    /// Looks. As long as nobody changes any table this costs one system call.
    ///
    /// # Errors
    /// When the kernel or `nft` refuses.
    pub fn observe(&mut self) -> Result<&Snapshot, Error> {
        let Some(generation) = self.generation()? else {
            // The kernel has no nf_tables, hence no tables.
            return Ok(self.seen.insert(Snapshot::default()));
        };
        let fresh = match self.seen.take() {
            Some(seen) if seen.generation == generation => seen,
            // If tables change while we read, the generation is another one in the next round.
            _ => self.read(generation)?,
        };
        Ok(self.seen.insert(fresh))
    }

    fn read(&mut self, generation: u32) -> Result<Snapshot, Error> {
        let tables = self
            .socket
            .dump(&Request::new(NFT_MSG_GETTABLE, 0, &[0; FIXED]), parse_table)
            .map_err(failed("dump nft tables"))?;
        let ours = tables.iter().any(|table| {
            table.family == "inet"
                && table.name == MSS_TABLE
                && table.comment.as_deref() == Some(OWNER_MARK)
        });
        let mss = if ours { mss::read()? } else { None };
        Ok(Snapshot {
            generation,
            tables,
            mss,
        })
    }

    /// Grows with every change of any table of the namespace; absent without nf_tables in the kernel.
    fn generation(&mut self) -> Result<Option<u32>, Error> {
        let request = Request::new(NFT_MSG_GETGEN, 0, &[0; FIXED]);
        let answer = self.socket.request(&request, |message| {
            let value = message.attributes(FIXED).find(NFTA_GEN_ID)?;
            Some(u32::from_be_bytes(*value.first_chunk()?))
        });
        match answer {
            Err(error) if matches!(error.errno(), Errno::EINVAL | Errno::EOPNOTSUPP) => Ok(None),
            answer => answer.map_err(failed("read the nft generation")),
        }
    }
}

fn failed(operation: &'static str) -> impl Fn(netlink::Error) -> Error {
    move |source| Error::Netlink { operation, source }
}

fn parse_table(message: Message<'_>) -> Option<NftTable> {
    let family = match message.payload.first()? {
        1 => "inet",
        2 => "ip",
        3 => "arp",
        5 => "netdev",
        7 => "bridge",
        10 => "ip6",
        _ => return None,
    };
    let attributes = message.attributes(FIXED);
    Some(NftTable {
        family: family.to_owned(),
        name: text(attributes.find(NFTA_TABLE_NAME)?)?,
        comment: attributes.find(NFTA_TABLE_USERDATA).and_then(comment),
    })
}

/// User data is libnftnl's own: type, length, value; type 0 is the comment. The JSON of nft before 1.0.7 has none.
fn comment(mut data: &[u8]) -> Option<String> {
    const COMMENT: u8 = 0;
    loop {
        let (&[kind, length], rest) = data.split_first_chunk()?;
        let value = rest.get(..length.into())?;
        if kind == COMMENT {
            return text(value);
        }
        data = &rest[length.into()..];
    }
}

/// Writes the whole MSS table in one transaction.
///
/// # Errors
/// When `nft` refuses; nothing was changed.
pub fn set_mss(clamps: &BTreeMap<IfName, MssClamp>) -> Result<(), Error> {
    run(&["-f", "-"], &mss::script(clamps)?).map(drop)
}

/// Removes a table if it is there.
///
/// # Errors
/// When `nft` refuses.
pub fn remove_table(family: &str, name: &str) -> Result<(), Error> {
    let table = json!({"table": {"family": family, "name": name}});
    // Adding what exists changes nothing, and what is added can be removed: one transaction that never misses.
    let script = json!({"nftables": [{"add": table}, {"delete": table}]});
    run(&["-j", "-f", "-"], &script.to_string()).map(drop)
}

/// Runs `nft` in the calling thread's network namespace.
fn run(arguments: &[&str], input: &str) -> Result<String, Error> {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // When nft stops reading early, its exit status says more than a broken pipe.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(Error::Refused(first_lines(&output.stderr)))
    }
}

/// nft quotes the input below its message; the first line is the message.
fn first_lines(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.lines().next().unwrap_or("failed").trim().to_owned()
}
