//! A cloud's API and metadata service in a running lab: they listen in a node of the lab, are reached by packets,
//! and change the table that the fabric's packets are decided from.

use std::fmt;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use super::Request;
use super::azure::{Assignment, Azure, NETWORK_CONTRIBUTOR, OPERATOR};
use super::serve::{InFabric, Listening, Origin, Server, Service, by_address};
use super::tls::Authority;
use crate::eventually::eventually;
use crate::fabric::NicId;
use crate::fabric::decide::METADATA;
use crate::fabric::forward::Engine;
use crate::node::Node;
use crate::topology::CloudService;

/// Where a machine of the cloud finds the certificate of the API's authority; a plugin sees it there too.
pub const AUTHORITY_FILE: &str = "/usr/local/etc/ssl/lab-authority.pem";
/// The port of the lab's own knobs, on loopback of the node that the API listens in.
pub const CONTROL_PORT: u16 = 8080;

/// A cloud that is served.
pub struct Running {
    service: Arc<Service<Azure>>,
    authority: String,
    name: &'static str,
    address: Ipv4Addr,
    _servers: [Server; 3],
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, address, .. } = self;
        write!(f, "Running({name} at {address})")
    }
}

impl Running {
    /// Starts to serve `fabric` in `node`. Machines have the role Network Contributor on their resource group.
    ///
    /// # Errors
    /// When there is no such fabric, or a socket cannot be opened.
    pub fn start(
        fabric: &str,
        spec: &CloudService,
        node: &Node,
        engine: &Arc<Engine>,
    ) -> Result<Self> {
        let state = engine
            .state(fabric)
            .with_context(|| format!("no fabric {fabric}"))?;
        let state = state.read().unwrap_or_else(PoisonError::into_inner).clone();
        let mut site = spec.subscription.clone();
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        site.epoch = now.context("tell the time")?.as_secs();
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| anyhow!("make a secret: {error}"))?;
        let group = site.group_id();
        let principals: Vec<String> = site
            .machines
            .values()
            .map(|m| m.principal.clone())
            .collect();
        let mut azure = Azure::new(site, &state, secret);
        for principal in principals {
            azure.assign_role(Assignment {
                principal,
                role: NETWORK_CONTRIBUTOR.to_owned(),
                scope: group.clone(),
            });
        }
        let table = Arc::new(InFabric {
            engine: Arc::clone(engine),
            fabric: fabric.to_owned(),
        });
        let service = Service::new(azure, table.clone());
        let authority = Authority::new()?;
        let tls = authority.server(&[spec.name.to_owned(), spec.address.to_string()])?;
        let serve = |address: Ipv4Addr, port: u16, tls, origin: Origin| -> Result<Server> {
            let listening = Listening {
                socket: listen(node, (address, port).into())?,
                tls,
                origin,
                control: address.is_loopback(),
            };
            Ok(Server::start(Arc::clone(&service), listening)?)
        };
        let nobody = || -> Origin { Box::new(|_| None::<NicId>) };
        let servers = [
            serve(METADATA, 80, None, by_address(table))?,
            serve(spec.address, 443, Some(tls), nobody())?,
            serve(Ipv4Addr::LOCALHOST, CONTROL_PORT, None, nobody())?,
        ];
        Ok(Self {
            service,
            authority: authority.pem(),
            name: spec.name,
            address: spec.address,
            _servers: servers,
        })
    }

    /// Tells a machine of the cloud where the API is, and whom to trust.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn introduce(&self, node: &Node) -> Result<()> {
        let hosts = node.dir().join("hosts");
        // Bound over /etc/hosts of the node, where this machine has that file.
        if hosts.exists() {
            let mut file = fs::File::options().append(true).open(&hosts)?;
            writeln!(file, "{} {}", self.address, self.name)?;
        }
        let file = node.outside(AUTHORITY_FILE);
        fs::create_dir_all(file.parent().unwrap_or(Path::new("/")))?;
        fs::write(&file, &self.authority).with_context(|| format!("write {}", file.display()))
    }

    /// Runs `work` on the cloud itself: roles, faults, behaviour, the log of what was asked.
    pub fn with<T>(&self, work: impl FnOnce(&mut Azure) -> T) -> T {
        self.service.with(|azure, _| work(azure))
    }

    /// A resource as a reader with every right sees it, when no operation on it is in progress.
    ///
    /// # Errors
    /// When there is none.
    pub fn get(&self, id: &str) -> Result<Value> {
        eventually(&format!("{id} is settled"), Duration::from_secs(10), || {
            let body = self.with(|azure| azure.representation(id));
            let body = body.with_context(|| format!("there is no {id}"))?;
            match body["properties"]["provisioningState"].as_str() {
                Some("Updating" | "Deleting") => bail!("an operation is in progress"),
                _ => Ok(body),
            }
        })
    }

    /// Writes a resource as its owner would, and waits for the end of the operation.
    ///
    /// # Errors
    /// When the cloud refuses it.
    pub fn put(&self, id: &str, body: &Value) -> Result<Value> {
        let token = self
            .service
            .with(|azure, now| azure.issue_token(OPERATOR, now));
        let request = Request {
            method: "PUT".to_owned(),
            base: format!("https://{}", self.name),
            path: id.to_owned(),
            query: [("api-version".to_owned(), "2025-07-01".to_owned())].into(),
            headers: [("authorization".to_owned(), format!("Bearer {token}"))].into(),
            body: body.to_string().into_bytes(),
            from: None,
        };
        let reply = self.service.answer(&request, false);
        match reply.response {
            Some(response) if response.status < 300 => self.get(id),
            Some(response) => bail!(
                "PUT {id}: {} {}",
                response.status,
                String::from_utf8_lossy(&response.body)
            ),
            None => bail!("PUT {id}: the answer was lost"),
        }
    }
}

fn listen(node: &Node, address: SocketAddr) -> Result<TcpListener> {
    node.in_network(|| TcpListener::bind(address))?
        .with_context(|| format!("{}: listen on {address}", node.name()))
}
