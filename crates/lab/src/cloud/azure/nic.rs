//! Network interfaces.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::dispatch::body;
use super::documents::config_id;
use super::operation::Work;
use super::store::Progress;
use super::{Answer, Azure, Call, Refusal};
use crate::cloud::json::{list, text};
use crate::fabric::state::NicAddress;
use crate::fabric::{FabricState, NicId, StateError};

pub(super) const WRITE: &str = "Microsoft.Network/networkInterfaces/write";
const SUBNET_JOIN: &str = "Microsoft.Network/virtualNetworks/subnets/join/action";
const GROUP_JOIN: &str = "Microsoft.Network/networkSecurityGroups/join/action";
const PUBLIC_JOIN: &str = "Microsoft.Network/publicIPAddresses/join/action";

/// Addresses of a NIC.
const MAX_CONFIGS: usize = 256;

/// What the caller cannot set.
const READ_ONLY: [&str; 10] = [
    "resourceGuid",
    "macAddress",
    "primary",
    "virtualMachine",
    "hostedWorkloads",
    "tapConfigurations",
    "vnetEncryptionSupported",
    "privateEndpoint",
    "dscpConfiguration",
    "defaultOutboundConnectivityEnabled",
];

impl Azure {
    /// `PUT …/networkInterfaces/N`: the whole representation.
    pub(super) fn put_nic(&mut self, call: &Call<'_>, path: &str) -> Answer {
        self.roles.check(&call.principal, WRITE, path)?;
        let wanted = body(call)?;
        self.roles
            .check_linked(&call.principal, (WRITE, path), &joins(&wanted))?;
        let old = self
            .store
            .get(path)
            .ok_or_else(|| Refusal::not_found(path))?
            .body
            .clone();
        self.store.check_change(path, call.request)?;
        let goal = self.goal(path, &old, wanted)?;
        let operation = self.begin(call, Work::Nic(path.to_owned()));
        self.store
            .put(path, goal, Progress::Updating(operation.clone()));
        let response = self.shown(200, path)?;
        Ok(self.accepted(call, response, &operation))
    }

    /// `GET …/networkInterfaces/N/ipConfigurations/C`.
    pub(super) fn read_config(&self, call: &Call<'_>, path: &str, name: &str) -> Answer {
        let nic = path.rsplitn(3, '/').nth(2).unwrap_or_default();
        self.roles.check(
            &call.principal,
            "Microsoft.Network/networkInterfaces/read",
            nic,
        )?;
        let document = self
            .store
            .render(nic)
            .ok_or_else(|| Refusal::not_found(nic))?;
        list(&document, "/properties/ipConfigurations")
            .iter()
            .find(|config| text(config, "/name").is_some_and(|own| own.eq_ignore_ascii_case(name)))
            .map(|config| crate::cloud::Response::json(200, config))
            .ok_or_else(|| Refusal::not_found(path))
    }

    /// The representation after a PUT, if the cloud allows it.
    fn goal(&self, path: &str, old: &Value, mut wanted: Value) -> Result<Value, Refusal> {
        if text(&wanted, "/location")
            .is_some_and(|given| !given.eq_ignore_ascii_case(&self.site.location))
        {
            return Err(Refusal::new(
                409,
                "InvalidResourceLocation",
                format!(
                    "The resource '{path}' already exists in location '{}'.",
                    self.site.location
                ),
            ));
        }
        for member in ["id", "name", "type", "location"] {
            wanted[member] = old[member].clone();
        }
        if let Some(object) = wanted.as_object_mut() {
            object.remove("etag");
        }
        let Some(properties) = wanted.get_mut("properties").and_then(Value::as_object_mut) else {
            return Err(Refusal::invalid(
                "InvalidRequestFormat",
                "Cannot parse the request.",
            ));
        };
        properties.remove("provisioningState");
        for member in READ_ONLY {
            match old.pointer(&format!("/properties/{member}")) {
                Some(value) => properties.insert(member.to_owned(), value.clone()),
                None => properties.remove(member),
            };
        }
        keep_dns(properties, old);
        let configs = match properties.get("ipConfigurations") {
            Some(Value::Array(configs)) if !configs.is_empty() => configs.clone(),
            _ => {
                return Err(Refusal::invalid(
                    "NetworkInterfaceMustHaveIpConfigurations",
                    format!(
                        "The network interface {path} must have at least one ip configuration."
                    ),
                ));
            }
        };
        let configs = self.configs(path, old, configs)?;
        properties.insert("ipConfigurations".to_owned(), Value::Array(configs));
        Ok(wanted)
    }

    fn configs(&self, path: &str, old: &Value, wanted: Vec<Value>) -> Result<Vec<Value>, Refusal> {
        if wanted.len() > MAX_CONFIGS {
            return Err(Refusal::invalid(
                "IpConfigurationLimitExceeded",
                format!(
                    "The network interface {path} may have at most {MAX_CONFIGS} ip configurations."
                ),
            ));
        }
        let (mut names, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        let mut goal = Vec::with_capacity(wanted.len());
        for config in wanted {
            let config = self.config(path, config, &addresses)?;
            let name = text(&config, "/name")
                .unwrap_or_default()
                .to_ascii_lowercase();
            if !names.insert(name.clone()) {
                return Err(Refusal::invalid(
                    "InvalidRequestFormat",
                    format!("The ip configuration name '{name}' is used twice."),
                ));
            }
            addresses.extend(address_of(&config));
            goal.push(config);
        }
        self.check_primary(path, old, &goal)?;
        Ok(goal)
    }

    fn check_primary(&self, path: &str, old: &Value, goal: &[Value]) -> Result<(), Refusal> {
        let is_primary =
            |config: &&Value| config.pointer("/properties/primary") == Some(&Value::Bool(true));
        let before = list(old, "/properties/ipConfigurations")
            .iter()
            .find(is_primary);
        let name = before
            .and_then(|config| text(config, "/name"))
            .unwrap_or_default();
        if !goal
            .iter()
            .any(|config| text(config, "/name") == Some(name))
        {
            return Err(Refusal::invalid(
                "IpConfigDeleteNotSupported",
                format!(
                    "IP Configuration {} cannot be deleted. Deletion and renaming of primary IP Configuration is not supported.",
                    config_id(path, name)
                ),
            ));
        }
        let primaries: Vec<&Value> = goal.iter().filter(is_primary).collect();
        match primaries[..] {
            [one] if text(one, "/name") == Some(name) => Ok(()),
            _ => Err(Refusal::invalid(
                "NetworkInterfaceMustHaveOnePrimaryIpConfiguration",
                format!("The network interface {path} must keep its one primary ip configuration."),
            )),
        }
    }

    /// One ip-configuration as it will be.
    fn config(
        &self,
        path: &str,
        mut config: Value,
        taken: &BTreeSet<Ipv4Addr>,
    ) -> Result<Value, Refusal> {
        let Some(name) = text(&config, "/name")
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
        else {
            return Err(Refusal::invalid(
                "InvalidRequestFormat",
                "An ip configuration has no name.",
            ));
        };
        let id = config_id(path, &name);
        if let Some(given) = text(&config, "/id").filter(|given| !given.eq_ignore_ascii_case(&id)) {
            return Err(Refusal::invalid(
                "InvalidRequestFormat",
                format!("The ip configuration id {given} is not {id}."),
            ));
        }
        let subnet = text(&config, "/properties/subnet/id")
            .unwrap_or_default()
            .to_owned();
        let prefix: ipnet::Ipv4Net = self
            .store
            .get(&subnet)
            .and_then(|document| {
                text(&document.body, "/properties/addressPrefix")?
                    .parse()
                    .ok()
            })
            .ok_or_else(|| {
                Refusal::invalid(
                    "InvalidResourceReference",
                    format!("Resource {subnet} referenced by resource {path} was not found."),
                )
            })?;
        let address = match address_of(&config) {
            Some(address) => {
                self.check_address_of(path, &id, address, prefix, taken)?;
                address
            }
            None => self.free_address(prefix, taken).ok_or_else(|| {
                Refusal::invalid("SubnetIsFull", format!("Subnet {subnet} is full."))
            })?,
        };
        if let Some(object) = config.as_object_mut() {
            object.remove("etag");
        }
        config["id"] = json!(id);
        config["type"] = json!("Microsoft.Network/networkInterfaces/ipConfigurations");
        let properties = &mut config["properties"];
        properties["privateIPAddress"] = json!(address.to_string());
        if let Some(object) = properties.as_object_mut() {
            object.remove("provisioningState");
            let or = |object: &mut serde_json::Map<String, Value>, name: &str, value: Value| {
                object.entry(name.to_owned()).or_insert(value);
            };
            or(object, "primary", json!(false));
            or(object, "privateIPAddressVersion", json!("IPv4"));
            or(object, "privateIPAllocationMethod", json!("Dynamic"));
        }
        Ok(config)
    }

    fn check_address_of(
        &self,
        path: &str,
        id: &str,
        address: Ipv4Addr,
        prefix: ipnet::Ipv4Net,
        taken: &BTreeSet<Ipv4Addr>,
    ) -> Result<(), Refusal> {
        if !prefix.contains(&address) {
            return Err(Refusal::invalid(
                "PrivateIPAddressNotInSubnet",
                format!(
                    "Private static IP address {address} does not belong to the range of subnet prefix {prefix}."
                ),
            ));
        }
        if is_reserved(prefix, address) {
            return Err(Refusal::invalid(
                "PrivateIPAddressInReservedRange",
                format!(
                    "Private static IP address {address} falls within reserved IP range of subnet prefix {prefix}."
                ),
            ));
        }
        let other = self
            .holder(address)
            .filter(|nic| !nic.eq_ignore_ascii_case(path));
        let holder = other.or_else(|| taken.contains(&address).then(|| path.to_owned()));
        match holder {
            None => Ok(()),
            Some(holder) => Err(Refusal::invalid(
                "PrivateIPAddressIsAllocated",
                format!(
                    "IP configuration {id} is using the private IP address {address} which is already allocated to resource {holder}."
                ),
            )),
        }
    }

    /// The NIC whose representation has an address.
    pub(super) fn holder(&self, address: Ipv4Addr) -> Option<String> {
        self.store
            .of_type("networkInterfaces")
            .find(|nic| {
                list(&nic.body, "/properties/ipConfigurations")
                    .iter()
                    .any(|config| address_of(config) == Some(address))
            })
            .map(|nic| nic.id.clone())
    }

    fn free_address(&self, prefix: ipnet::Ipv4Net, taken: &BTreeSet<Ipv4Addr>) -> Option<Ipv4Addr> {
        prefix.hosts().find(|address| {
            !is_reserved(prefix, *address)
                && !taken.contains(address)
                && self.holder(*address).is_none()
        })
    }

    /// What a NIC's representation asks for reaches the packets.
    pub(super) fn apply_nic(
        &self,
        fabric: &mut FabricState,
        id: &str,
    ) -> Result<(), (String, String)> {
        let Some(document) = self.store.get(id) else {
            return Ok(());
        };
        let nic = NicId(
            document
                .id
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned(),
        );
        let on =
            document.body.pointer("/properties/enableIPForwarding") == Some(&Value::Bool(true));
        bring(fabric, &nic, on, &document.body)
            .map_err(|error| ("InternalServerError".to_owned(), error.to_string()))
    }
}

/// What the cloud itself fills in among the DNS settings stays.
fn keep_dns(properties: &mut serde_json::Map<String, Value>, old: &Value) {
    let dns = properties.entry("dnsSettings").or_insert_with(|| json!({}));
    for member in [
        "appliedDnsServers",
        "internalDomainNameSuffix",
        "internalFqdn",
    ] {
        match old.pointer(&format!("/properties/dnsSettings/{member}")) {
            Some(value) => dns[member] = value.clone(),
            None => {
                dns.as_object_mut().map(|dns| dns.remove(member));
            }
        }
    }
}

/// Brings the table's NIC to what a representation asks for.
fn bring(fabric: &mut FabricState, nic: &NicId, on: bool, body: &Value) -> Result<(), StateError> {
    fabric.set_forwarding(nic, on)?;
    let wanted: Vec<(String, Ipv4Addr)> = list(body, "/properties/ipConfigurations")
        .iter()
        .filter_map(|config| Some((text(config, "/name")?.to_owned(), address_of(config)?)))
        .collect();
    let held: Vec<NicAddress> = fabric
        .nics()
        .get(nic)
        .map(|nic| nic.addresses.clone())
        .unwrap_or_default();
    for gone in held
        .iter()
        .skip(1)
        .filter(|own| !wanted.iter().any(|(_, address)| *address == own.address))
    {
        fabric.unassign(nic, gone.address)?;
    }
    for (name, address) in wanted {
        if !held.iter().any(|own| own.address == address) {
            let new = NicAddress {
                name,
                address,
                public: None,
            };
            fabric.assign(nic, new, false)?;
        }
    }
    Ok(())
}

/// What a NIC's representation refers to, and the permission that referring to it takes.
fn joins(nic: &Value) -> Vec<(&'static str, String)> {
    let configs = list(nic, "/properties/ipConfigurations");
    let subnets: BTreeSet<&str> = configs
        .iter()
        .filter_map(|config| text(config, "/properties/subnet/id"))
        .collect();
    let group = text(nic, "/properties/networkSecurityGroup/id");
    let public: BTreeSet<&str> = configs
        .iter()
        .filter_map(|config| text(config, "/properties/publicIPAddress/id"))
        .collect();
    let subnets = subnets.into_iter().map(|id| (SUBNET_JOIN, id));
    let public = public.into_iter().map(|id| (PUBLIC_JOIN, id));
    subnets
        .chain(group.map(|id| (GROUP_JOIN, id)))
        .chain(public)
        .map(|(permission, id)| (permission, id.to_owned()))
        .collect()
}

pub(super) fn address_of(config: &Value) -> Option<Ipv4Addr> {
    text(config, "/properties/privateIPAddress")?.parse().ok()
}

/// Azure keeps the first four addresses of a subnet and the last one.
pub(super) fn is_reserved(prefix: ipnet::Ipv4Net, address: Ipv4Addr) -> bool {
    let (first, last) = (u32::from(prefix.network()), u32::from(prefix.broadcast()));
    let address = u32::from(address);
    address < first.saturating_add(4) || address == last
}
