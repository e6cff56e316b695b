//! Real `ssh` and `scp` between real `sshd`s.
//!
//! An `sshd` that is root gives up its privileges for each connection, which it cannot do in a user
//! namespace with a single user. So it runs in one more user namespace, where that same user is called
//! `lab` and is not root: then there are none to give up. That way serves with and without root alike.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use crate::node::{Node, SHORT};
use crate::process::{self, Outcome};

/// The number of the user that logs in.
const LAB_UID: u32 = 1000;

/// Servers in nodes, and one identity that may log in to all of them.
#[derive(Debug, Clone)]
pub struct Ssh {}

impl Ssh {
    /// Writes keys and settings for nodes and starts their servers.
    ///
    /// # Errors
    /// When there is no `sshd` or it does not start.
    pub fn serve(nodes: &[&Node]) -> Result<Self> {
        let ssh = Self {};
        let first = nodes.first().context("no nodes")?;
        let identity = first.dir().join("ssh/identity");
        for node in nodes {
            let dir = node.dir().join("ssh");
            fs::create_dir_all(&dir)?;
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o700))?;
            generate(&dir.join("host"))?;
        }
        generate(&identity)?;
        for node in nodes {
            let dir = node.dir().join("ssh");
            if dir.join("identity") != identity {
                fs::copy(&identity, dir.join("identity"))?;
            }
            fs::copy(identity.with_extension("pub"), dir.join("authorized_keys"))?;
            ssh.start(node, &dir)?;
        }
        Ok(ssh)
    }

    fn start(&self, node: &Node, dir: &Path) -> Result<()> {
        let sftp = [
            "/usr/lib/openssh/sftp-server",
            "/usr/libexec/openssh/sftp-server",
        ]
        .into_iter()
        .find(|path| fs::exists(path).unwrap_or(false))
        .unwrap_or("internal-sftp");
        let dir = dir.display();
        let config = format!(
            "Port 22\nListenAddress 0.0.0.0\nHostKey {dir}/host\nPidFile {dir}/pid\n\
             AuthorizedKeysFile {dir}/authorized_keys\nStrictModes no\nUsePAM no\nUseDNS no\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin yes\n\
             Subsystem sftp {sftp}\n"
        );
        let file = node.dir().join("ssh/sshd_config");
        fs::write(&file, config)?;
        node.set_sysctl("ipv4.ip_unprivileged_port_start", "0")?;
        let home = node.dir();
        let passwd = format!("lab:x:{LAB_UID}:{LAB_UID}::{}:/bin/sh\n", home.display());
        fs::write(node.dir().join("passwd"), passwd)?;
        let log = fs::File::create(node.dir().join("ssh/log"))?;
        let sshd = find_sshd()?;
        let mut command = self.command(node, &sshd);
        command.args(["-D", "-e", "-f"]).arg(&file);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        command.spawn().context("start sshd")?;
        Ok(())
    }

    fn command(&self, node: &Node, program: &str) -> Command {
        let mut command = node.command("/proc/self/exe");
        let passwd = node.dir().join("passwd");
        command
            .args(["internal", "as-user"])
            .arg(passwd)
            .arg("--")
            .arg(program);
        command
    }

    fn client(&self, from: &Node, program: &str) -> Command {
        let mut command = self.command(from, program);
        let dir = from.dir().join("ssh");
        command.arg("-i").arg(dir.join("identity"));
        for option in [
            "BatchMode=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "GlobalKnownHostsFile=/dev/null",
            "IdentitiesOnly=yes",
            "ConnectTimeout=8",
            "LogLevel=ERROR",
        ] {
            command.args(["-o", option]);
        }
        command.args(["-F", "/dev/null"]);
        command
    }

    /// Runs a command on another node and returns its output.
    ///
    /// # Errors
    /// When `ssh` fails.
    pub fn run(&self, from: &Node, to: Ipv4Addr, remote: &str) -> Result<String> {
        let mut command = self.client(from, "ssh");
        command.arg(format!("lab@{to}")).arg(remote);
        finish(process::run(&mut command, SHORT)?, "ssh")
    }

    /// Copies a file to another node.
    ///
    /// # Errors
    /// When `scp` fails or does not end in time.
    pub fn copy(&self, from: &Node, file: &str, to: Ipv4Addr, target: &str) -> Result<()> {
        let mut command = self.client(from, "scp");
        // The payload is random; the cipher is the one with hardware support.
        command.args(["-q", "-c", "aes128-gcm@openssh.com", file]);
        command.arg(format!("lab@{to}:{target}"));
        finish(process::run(&mut command, Duration::from_secs(25))?, "scp").map(drop)
    }
}

fn finish(outcome: Outcome, program: &str) -> Result<String> {
    if !outcome.success() {
        bail!("{program}: {}", outcome.complaint());
    }
    Ok(outcome.stdout)
}

fn generate(path: &Path) -> Result<()> {
    let mut command = Command::new("ssh-keygen");
    command.args(["-q", "-t", "ed25519", "-N", "", "-C", "routerd-lab", "-f"]);
    let outcome = process::run(command.arg(path), SHORT).context("run ssh-keygen")?;
    finish(outcome, "ssh-keygen").map(drop)
}

/// `sshd` insists on being started by its absolute path.
fn find_sshd() -> Result<String> {
    let paths = ["/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd"];
    let found = paths.into_iter().find(|p| fs::exists(p).unwrap_or(false));
    found
        .map(str::to_owned)
        .context("no sshd (Debian: apt-get install openssh-server)")
}

/// Becomes a program as the user of `passwd`, who is whoever runs this but not root.
///
/// # Errors
/// When the user namespace cannot be made.
pub fn as_user(passwd: &Path, argv: &[String]) -> Result<ExitCode> {
    let (program, arguments) = argv.split_first().context("no program")?;
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS)
        .context("make a user namespace")?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{LAB_UID} 0 1"))?;
    fs::write("/proc/self/gid_map", format!("{LAB_UID} 0 1"))?;
    let nothing = None::<&str>;
    let bind = MsFlags::MS_BIND;
    mount(Some(passwd), "/etc/passwd", nothing, bind, nothing).context("mount /etc/passwd")?;
    let error = Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("run {program}"))
}
