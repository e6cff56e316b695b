//! Raw representations, edited in place: a field that we do not know goes back as it came.
//!
//! Only what the interface's specification calls read-only is left out of what is sent.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::id::ArmId;
use crate::fault::Fault;

/// Read-only members of every resource.
const READ_ONLY: [&str; 3] = ["etag", "name", "type"];
/// Read-only members of `properties`, of NICs and routes.
const READ_ONLY_PROPERTIES: [&str; 12] = [
    "provisioningState",
    "resourceGuid",
    "macAddress",
    "primary",
    "virtualMachine",
    "privateEndpoint",
    "tapConfigurations",
    "vnetEncryptionSupported",
    "defaultOutboundConnectivityEnabled",
    "hostedWorkloads",
    "dscpConfiguration",
    "hasBgpOverride",
];
/// Read-only members of `properties.dnsSettings` of a NIC.
const READ_ONLY_DNS: [&str; 3] = [
    "appliedDnsServers",
    "internalDomainNameSuffix",
    "internalFqdn",
];
/// Read-only members of an ip-configuration and of its `properties`. Its `primary` can be written.
const READ_ONLY_CONFIG: [&str; 2] = ["etag", "type"];
const READ_ONLY_CONFIG_PROPERTIES: [&str; 2] =
    ["provisioningState", "privateLinkConnectionProperties"];

/// Writing a NIC refers to its subnet anew, and that takes a permission there.
pub(super) const SUBNET_JOIN: &str = "Microsoft.Network/virtualNetworks/subnets/join/action";
/// … and to its security group.
pub(super) const GROUP_JOIN: &str = "Microsoft.Network/networkSecurityGroups/join/action";
/// … and to what hangs on its ip-configurations: where it stands, and the permission.
const ATTACHMENTS: [(&str, &str); 5] = [
    (
        "/properties/publicIPAddress",
        "Microsoft.Network/publicIPAddresses/join/action",
    ),
    (
        "/properties/applicationSecurityGroups",
        "Microsoft.Network/applicationSecurityGroups/joinIpConfiguration/action",
    ),
    (
        "/properties/loadBalancerBackendAddressPools",
        "Microsoft.Network/loadBalancers/backendAddressPools/join/action",
    ),
    (
        "/properties/loadBalancerInboundNatRules",
        "Microsoft.Network/loadBalancers/inboundNatRules/join/action",
    ),
    (
        "/properties/applicationGatewayBackendAddressPools",
        "Microsoft.Network/applicationGateways/backendAddressPools/join/action",
    ),
];

/// A resource as it was read.
#[derive(Debug, Clone)]
pub(super) struct Resource {
    document: Value,
    etag: Option<String>,
}

impl Resource {
    /// The document, and the `ETag` header that came with it if the document names none.
    pub(super) fn new(document: Value, header: Option<&str>) -> Self {
        let etag = text(&document, "/etag").or(header).map(str::to_owned);
        Self { document, etag }
    }

    /// The entity tag for `If-Match`.
    pub(super) fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// A member by its JSON pointer, if it is text.
    pub(super) fn text(&self, pointer: &str) -> Option<&str> {
        text(&self.document, pointer)
    }

    /// A list by its JSON pointer; empty if there is none.
    pub(super) fn list(&self, pointer: &str) -> &[Value] {
        self.document
            .pointer(pointer)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// Whether an operation on it is in progress.
    pub(super) fn is_changing(&self) -> bool {
        matches!(
            self.text("/properties/provisioningState"),
            Some("Updating" | "Creating" | "Deleting" | "InProgress" | "Accepted")
        )
    }

    /// Whether the last operation on it failed.
    pub(super) fn is_failed(&self) -> bool {
        self.text("/properties/provisioningState") == Some("Failed")
    }

    /// What to send to leave it as it is.
    pub(super) fn for_put(&self) -> Value {
        let mut body = self.document.clone();
        strip(&mut body, &READ_ONLY);
        if let Some(properties) = body.get_mut("properties") {
            strip(properties, &READ_ONLY_PROPERTIES);
            if let Some(dns) = properties.get_mut("dnsSettings") {
                strip(dns, &READ_ONLY_DNS);
            }
            let configs = properties.get_mut("ipConfigurations");
            for config in configs.and_then(Value::as_array_mut).into_iter().flatten() {
                strip_config(config);
            }
        }
        body
    }
}

/// A network interface.
#[derive(Debug, Clone)]
pub(super) struct Nic(Resource);

impl Nic {
    pub(super) fn new(resource: Resource) -> Self {
        Self(resource)
    }

    pub(super) fn id(&self) -> Result<ArmId, Fault> {
        ArmId::parse(self.0.text("/id").unwrap_or_default(), "networkInterfaces")
    }

    /// Whether the last operation on it failed: what it shows may not be what the packets see.
    pub(super) fn is_failed(&self) -> bool {
        self.0.is_failed()
    }

    pub(super) fn mac(&self) -> Option<&str> {
        self.0.text("/properties/macAddress")
    }

    pub(super) fn forwarding(&self) -> bool {
        self.0
            .document
            .pointer("/properties/enableIPForwarding")
            .and_then(Value::as_bool)
            .unwrap_or(false)
    }

    /// What it refers to, each with the permission that writing the NIC takes there: the subnets first, then its
    /// security group, then what its ip-configurations hang on.
    pub(super) fn joins(&self) -> Vec<(&'static str, &str)> {
        let mut joins: Vec<_> = self
            .configs()
            .filter_map(|config| config.subnet())
            .map(|subnet| (SUBNET_JOIN, subnet))
            .collect();
        let group = self.0.text("/properties/networkSecurityGroup/id");
        joins.extend(group.map(|id| (GROUP_JOIN, id)));
        for config in self.configs() {
            joins.extend(config.attachments());
        }
        let mut seen = BTreeSet::new();
        joins.retain(|join| seen.insert(*join));
        joins
    }

    pub(super) fn configs(&self) -> impl Iterator<Item = Config<'_>> {
        self.0
            .list("/properties/ipConfigurations")
            .iter()
            .map(Config)
    }

    /// The ip-configuration with this address, and its place in the list.
    pub(super) fn config_of(&self, address: Ipv4Addr) -> Option<(usize, Config<'_>)> {
        self.configs()
            .enumerate()
            .find(|(_, config)| config.address() == Some(address))
    }

    /// The primary ip-configuration.
    pub(super) fn primary(&self) -> Option<Config<'_>> {
        self.configs()
            .find(Config::is_primary)
            .or_else(|| self.configs().next())
    }

    /// The id of its subnet.
    pub(super) fn subnet(&self) -> Option<&str> {
        self.primary()?.subnet()
    }

    /// What to send to switch forwarding.
    pub(super) fn with_forwarding(&self, on: bool) -> Value {
        let mut body = self.0.for_put();
        body["properties"]["enableIPForwarding"] = Value::Bool(on);
        body
    }

    /// What to send to add an ip-configuration, at a place in the list or at its end.
    pub(super) fn with_config(&self, config: Value, at: Option<usize>) -> Value {
        let mut body = self.0.for_put();
        if let Some(Value::Array(configs)) = body.pointer_mut("/properties/ipConfigurations") {
            let at = at.unwrap_or(configs.len()).min(configs.len());
            configs.insert(at, config);
        }
        body
    }

    /// What to send to remove the ip-configuration of an address.
    pub(super) fn without(&self, address: Ipv4Addr) -> Value {
        let mut body = self.0.for_put();
        if let Some(Value::Array(configs)) = body.pointer_mut("/properties/ipConfigurations") {
            configs.retain(|config| Config(config).address() != Some(address));
        }
        body
    }

    /// A name for a new ip-configuration that the NIC does not use yet.
    pub(super) fn free_name(&self, wanted: &str) -> String {
        let taken = |name: &str| {
            self.configs()
                .any(|config| config.name().eq_ignore_ascii_case(name))
        };
        if !taken(wanted) {
            return wanted.to_owned();
        }
        (2..)
            .map(|number| format!("{wanted}-{number}"))
            .find(|name| !taken(name))
            .unwrap_or_default()
    }
}

/// An ip-configuration of a NIC.
#[derive(Debug, Clone, Copy)]
pub(super) struct Config<'d>(&'d Value);

impl<'d> Config<'d> {
    pub(super) fn name(&self) -> &'d str {
        text(self.0, "/name").unwrap_or_default()
    }

    pub(super) fn address(&self) -> Option<Ipv4Addr> {
        text(self.0, "/properties/privateIPAddress")?.parse().ok()
    }

    pub(super) fn is_primary(&self) -> bool {
        self.0
            .pointer("/properties/primary")
            .and_then(Value::as_bool)
            .unwrap_or(false)
    }

    pub(super) fn subnet(&self) -> Option<&'d str> {
        text(self.0, "/properties/subnet/id")
    }

    /// What hangs on it: a public address, security groups by application, pools of load balancers.
    fn attachments(&self) -> impl Iterator<Item = (&'static str, &'d str)> {
        let document = self.0;
        ATTACHMENTS
            .into_iter()
            .flat_map(move |(member, permission)| {
                let attached = document.pointer(member);
                let several = attached.and_then(Value::as_array).into_iter().flatten();
                several
                    .chain(attached)
                    .filter_map(move |one| Some((permission, text(one, "/id")?)))
            })
    }

    /// What to send to have it again.
    pub(super) fn for_put(&self) -> Value {
        let mut config = self.0.clone();
        strip_config(&mut config);
        config
    }
}

/// A new secondary ip-configuration.
pub(super) fn new_config(name: &str, address: Ipv4Addr, subnet: &str) -> Value {
    json!({
        "name": name,
        "properties": {
            "primary": false,
            "privateIPAddress": address.to_string(),
            "privateIPAddressVersion": "IPv4",
            "privateIPAllocationMethod": "Static",
            "subnet": {"id": subnet},
        },
    })
}

/// An ip-configuration under another NIC: its `id` names the NIC it is on, which must not travel along.
pub(super) fn without_id(mut config: Value) -> Value {
    strip(&mut config, &["id"]);
    config
}

/// A route of a route table.
#[derive(Debug, Clone)]
pub(super) struct Route(Resource);

impl Route {
    pub(super) fn new(resource: Resource) -> Self {
        Self(resource)
    }

    pub(super) fn name(&self) -> &str {
        self.0.text("/name").unwrap_or_default()
    }

    pub(super) fn prefix(&self) -> Option<&str> {
        self.0.text("/properties/addressPrefix")
    }

    /// Whether an operation on it is in progress.
    pub(super) fn is_changing(&self) -> bool {
        self.0.is_changing()
    }

    /// Whether the last operation on it failed: what it shows may not be what the packets see.
    pub(super) fn is_failed(&self) -> bool {
        self.0.is_failed()
    }

    /// The appliance that it leads to; nothing if it leads elsewhere.
    pub(super) fn next_hop(&self) -> Option<Ipv4Addr> {
        let kind = self.0.text("/properties/nextHopType")?;
        if !kind.eq_ignore_ascii_case("VirtualAppliance") {
            return None;
        }
        self.0.text("/properties/nextHopIpAddress")?.parse().ok()
    }

    /// What to send to have it again. A route's name stands in its path.
    pub(super) fn for_put(&self) -> Value {
        self.0.for_put()
    }

    /// What to send to make it lead to another appliance.
    pub(super) fn with_next_hop(&self, next_hop: Ipv4Addr) -> Value {
        let mut body = self.0.for_put();
        let properties = &mut body["properties"];
        properties["nextHopType"] = json!("VirtualAppliance");
        properties["nextHopIpAddress"] = json!(next_hop.to_string());
        body
    }

    /// What to send to make it lead where another one did; whatever else it says stays.
    pub(super) fn leading_as(&self, before: &Route) -> Value {
        let mut body = self.0.for_put();
        let properties = &mut body["properties"];
        for member in ["nextHopType", "nextHopIpAddress"] {
            strip(properties, &[member]);
            if let Some(value) = before.0.document.pointer(&format!("/properties/{member}")) {
                properties[member] = value.clone();
            }
        }
        body
    }
}

/// A new route to an appliance.
pub(super) fn new_route(prefix: &str, next_hop: Ipv4Addr) -> Value {
    json!({
        "properties": {
            "addressPrefix": prefix,
            "nextHopIpAddress": next_hop.to_string(),
            "nextHopType": "VirtualAppliance",
        },
    })
}

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer)?.as_str()
}

fn strip_config(config: &mut Value) {
    strip(config, &READ_ONLY_CONFIG);
    if let Some(properties) = config.get_mut("properties") {
        strip(properties, &READ_ONLY_CONFIG_PROPERTIES);
    }
}

fn strip(value: &mut Value, members: &[&str]) {
    if let Some(object) = value.as_object_mut() {
        object.retain(|name, _: &mut Value| !members.contains(&name.as_str()));
    }
}
