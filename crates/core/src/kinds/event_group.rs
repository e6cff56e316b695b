//! `EventGroup`: nodes that tell each other what they observe.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use api::Diagnostic;
use schemars::JsonSchema;
use serde::Deserialize;

use super::Kind;
use super::field::{AbsolutePath, ResourceName, Span, Text};
use crate::config::draft::{Draft, Resource};
use crate::config::sink::Sink;
use crate::federation::intent::{Auth, GroupIntent, NatsIntent, Retention, Transport};

const DAY: Duration = Duration::from_secs(86_400);
const REPLAY_WINDOW: Duration = Duration::from_secs(300);

/// Nodes that tell each other what they observe. Events are facts, never commands; every message is signed, and a node
/// speaks for itself alone.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-planned" = {
    "peersFrom": "declare an EventPeer for each node",
}))]
pub(crate) struct EventGroup {
    /// The name of this node in the group.
    node_name: Text<ResourceName>,
    /// Where events of others are received, with transport `direct`. Absent: nowhere.
    listen: Option<Listen>,
    /// What is kept.
    #[serde(default)]
    retention: RetentionSpec,
    /// How far the clock of a sender may be off. Absent: 5m.
    replay_window: Option<Text<Span>>,
    /// What messages are signed with.
    #[serde(default)]
    auth: AuthSpec,
    /// What carries the messages.
    #[serde(default)]
    transport: TransportName,
    /// Where NATS is; for transport `nats`.
    nats: Option<Nats>,
}

/// Where events are received.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Listen {
    /// An address of this node in the overlay.
    address: Text<IpAddr>,
    /// The TCP port.
    #[serde(default = "port")]
    #[schemars(range(min = 1))]
    port: u16,
}

fn port() -> u16 {
    65_433
}

/// What is kept of the events.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RetentionSpec {
    /// The most events; beyond it the oldest go. Absent: 100000.
    #[schemars(range(min = 100, max = 10_000_000))]
    max_events: Option<u64>,
    /// How long an event is kept. Absent: 24h.
    max_age: Option<Text<Span>>,
}

/// What messages are signed with.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AuthSpec {
    /// The way.
    #[serde(default)]
    mode: AuthMode,
    /// A file with the shared secret, for `hmac`. Its first line signs, every line is believed: two lines while the
    /// secret changes.
    secret_file: Option<Text<AbsolutePath>>,
}

/// A way of signing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum AuthMode {
    /// Ed25519 with a key that each node makes for itself; its public half stands in the EventPeers of the others.
    #[default]
    NodeKey,
    /// HMAC-SHA-256 with a secret that all nodes share: each of them can speak for each other.
    Hmac,
}

/// What carries messages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum TransportName {
    /// HTTP/2 from node to node, through the overlay.
    #[default]
    Direct,
    /// NATS JetStream, for large fabrics: nodes need not reach each other, nor be up at the same time.
    Nats,
}

/// Where NATS is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Nats {
    /// Servers with JetStream, any of which will do.
    #[schemars(length(min = 1))]
    servers: Vec<Text<SocketAddr>>,
    /// A file with `USER:PASSWORD`, or a token, on its first line.
    credentials_file: Option<Text<AbsolutePath>>,
}

impl Kind for EventGroup {
    const NAME: &'static str = "EventGroup";
    const GROUP: &'static str = "federation.routerd.net";
    const EXAMPLE: &'static str = "\
nodeName: cloud-router
listen:
  address: 127.0.0.1
  port: 65433
retention:
  maxEvents: 100000
  maxAge: 24h
auth:
  mode: node-key
";

    fn compile(self, resource: &Resource<'_>, draft: &mut Draft, sink: &mut Sink<'_>) {
        self.check_listen(resource, draft, sink);
        let (auth, transport) = (self.auth(resource, sink), self.transport(resource, sink));
        let (Some(auth), Some(transport)) = (auth, transport) else {
            draft.broken.insert(resource.id.clone());
            return;
        };
        let intent = GroupIntent {
            owner: resource.id.clone(),
            node: self.node_name.0.0,
            listen: self
                .listen
                .map(|listen| SocketAddr::new(listen.address.0, listen.port)),
            retention: Retention {
                max_events: self.retention.max_events.unwrap_or(100_000),
                max_age: millis(self.retention.max_age, DAY),
            },
            replay_window: millis(self.replay_window, REPLAY_WINDOW),
            auth,
            transport,
        };
        let groups = &mut draft.effective.federation.groups;
        groups.insert(resource.id.name.clone(), intent);
    }
}

impl EventGroup {
    /// Events are for the overlay: a listener on any address would be one for the whole underlay.
    fn check_listen(&self, resource: &Resource<'_>, draft: &Draft, sink: &mut Sink<'_>) {
        let Some(listen) = &self.listen else {
            return;
        };
        if self.transport == TransportName::Nats {
            let message = "NATS carries the events of this group: nothing listens";
            let found = Diagnostic::error("listen-without-use", message)
                .hint("remove `listen`, or set `transport: direct`");
            resource.report(sink, "listen", found);
        }
        let address = listen.address.0;
        if address.is_unspecified() || address.is_multicast() {
            let message = format!("{address} is not an address of this node in the overlay");
            let found = Diagnostic::error("listen-on-any-address", message)
                .hint("write the address that this node has on its tunnel");
            resource.report(sink, "listen.address", found);
            return;
        }
        let on_tunnel = draft.devices.values().any(|device| {
            let mut addresses = draft.addresses_of(&device.ifname).iter();
            device.wireguard && addresses.any(|own| own.net.addr() == address)
        });
        if !on_tunnel && !address.is_loopback() {
            let message = format!("{address} is not on a WireGuardInterface of this configuration");
            let found = Diagnostic::warning("listen-outside-overlay", message)
                .hint("messages are signed, not encrypted: listen on an address of the tunnel");
            resource.report(sink, "listen.address", found);
        }
    }

    fn auth(&self, resource: &Resource<'_>, sink: &mut Sink<'_>) -> Option<Auth> {
        match (self.auth.mode, &self.auth.secret_file) {
            (AuthMode::NodeKey, None) => Some(Auth::NodeKey),
            (AuthMode::Hmac, Some(path)) => Some(Auth::Hmac(path.0.0.clone().into())),
            (AuthMode::NodeKey, Some(_)) => {
                let message = "`secretFile` is of mode `hmac`; node keys are made by routerd";
                let found = Diagnostic::error("field-without-use", message)
                    .hint("remove it, or set `mode: hmac`");
                resource.report(sink, "auth.secretFile", found);
                None
            }
            (AuthMode::Hmac, None) => {
                let found = Diagnostic::error("missing-field", "`spec.auth.secretFile` is missing")
                    .hint("`openssl rand -base64 32` makes a secret; the file has mode 0600");
                resource.report(sink, "auth", found);
                None
            }
        }
    }

    fn transport(&self, resource: &Resource<'_>, sink: &mut Sink<'_>) -> Option<Transport> {
        match (self.transport, &self.nats) {
            (TransportName::Direct, None) => Some(Transport::Direct),
            (TransportName::Nats, Some(nats)) => Some(Transport::Nats(NatsIntent {
                servers: nats.servers.iter().map(|server| server.0).collect(),
                credentials: nats
                    .credentials_file
                    .as_ref()
                    .map(|path| path.0.0.clone().into()),
            })),
            (TransportName::Direct, Some(_)) => {
                let found = Diagnostic::error("field-without-use", "`nats` has no effect here")
                    .hint("remove it, or set `transport: nats`");
                resource.report(sink, "nats", found);
                None
            }
            (TransportName::Nats, None) => {
                let found = Diagnostic::error("missing-field", "`spec.nats` is missing")
                    .hint("`nats: {servers: [ADDRESS:4222]}`");
                resource.report(sink, "transport", found);
                None
            }
        }
    }
}

fn millis(span: Option<Text<Span>>, default: Duration) -> u64 {
    let span = span.map_or(default, |span| span.0.0);
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
