//! The state table of a fabric: what the cloud's API changes and what every packet is decided from.
//!
//! It knows no packets, no API dialect and no clock. A change is refused here where the cloud would refuse
//! it, so that neither a topology nor an API in front of the table can bring about a state that the cloud
//! could not be in.

mod cloud;

pub use cloud::Cloud;

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::routes::{Route, RouteTable, RouteTarget};
use super::security::SecurityRule;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub String);

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
    )*};
}

ids! {
    /// A network interface, in any form the cloud's API likes.
    NicId;
    /// A subnet.
    SubnetId;
    /// A route table.
    RouteTableId;
    /// A security group, network security group or security list.
    RuleSetId;
}

/// A subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Its range.
    pub prefix: Ipv4Net,
    /// The table that packets from its NICs consult.
    pub route_table: Option<RouteTableId>,
    /// Rules that apply to every NIC in it.
    pub rules: Vec<RuleSetId>,
    /// GCP's hybrid subnet: addresses that no NIC holds fall through to the routes.
    pub hybrid: bool,
}

impl Subnet {
    /// The address of the virtual router: the first host.
    pub fn router(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.prefix.network()).wrapping_add(1))
    }
}

/// An address of a NIC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicAddress {
    /// What the cloud calls it: `ipconfig1`, a private IP's identifier, or nothing.
    pub name: String,
    /// The private address.
    pub address: Ipv4Addr,
    /// The public address that the fabric translates it to, one to one.
    pub public: Option<Ipv4Addr>,
}

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// Its subnet.
    pub subnet: SubnetId,
    /// Hardware address inside the VM.
    pub mac: [u8; 6],
    /// Its addresses, the primary first.
    pub addresses: Vec<NicAddress>,
    /// May send from and receive for addresses that are not its own: `enableIPForwarding`, source and
    /// destination check off, `skipSourceDestCheck`, `canIpForward`.
    pub forwarding: bool,
    /// Rules of its own.
    pub rules: Vec<RuleSetId>,
}

impl Nic {
    /// Whether it holds this private address.
    pub fn holds(&self, address: Ipv4Addr) -> bool {
        self.addresses.iter().any(|a| a.address == address)
    }
}

/// Why the cloud refuses a change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// No such object.
    #[error("{kind} {name} does not exist")]
    Unknown {
        /// `nic`, `subnet`, …
        kind: &'static str,
        /// Its identifier.
        name: String,
    },
    /// An object of that name is there already.
    #[error("{kind} {name} exists")]
    Exists {
        /// `nic`, `subnet`, …
        kind: &'static str,
        /// Its identifier.
        name: String,
    },
    /// The address is not one that this NIC could hold.
    #[error("{address} is outside the subnet {prefix} or reserved in it")]
    NotInSubnet {
        /// The address.
        address: Ipv4Addr,
        /// The subnet's range.
        prefix: Ipv4Net,
    },
    /// Another NIC holds the address.
    #[error("{address} is assigned to {holder}")]
    Held {
        /// The address.
        address: Ipv4Addr,
        /// Who holds it.
        holder: NicId,
    },
    /// A primary address cannot be taken away.
    #[error("{address} is the primary address of {nic}")]
    Primary {
        /// The address.
        address: Ipv4Addr,
        /// Whose.
        nic: NicId,
    },
    /// A limit of the cloud.
    #[error("at most {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The cloud has no such routes.
    #[error("route {prefix} is refused: {reason}")]
    RouteRefused {
        /// Its destination.
        prefix: Ipv4Net,
        /// The cloud's rule.
        reason: &'static str,
    },
}

/// Everything a fabric decides from.
///
/// Invariant: an address is held by at most one NIC, and lies in that NIC's subnet.
#[derive(Debug, Clone, Serialize)]
pub struct FabricState {
    cloud: Cloud,
    /// The address space of the network (VPC, VNet, VCN).
    prefixes: Vec<Ipv4Net>,
    subnets: BTreeMap<SubnetId, Subnet>,
    nics: BTreeMap<NicId, Nic>,
    route_tables: BTreeMap<RouteTableId, RouteTable>,
    rule_sets: BTreeMap<RuleSetId, Vec<SecurityRule>>,
    #[serde(skip)]
    holders: BTreeMap<Ipv4Addr, NicId>,
}

impl FabricState {
    /// An empty network.
    pub fn new(cloud: Cloud, prefixes: Vec<Ipv4Net>) -> Self {
        Self {
            cloud,
            prefixes,
            subnets: BTreeMap::new(),
            nics: BTreeMap::new(),
            route_tables: BTreeMap::new(),
            rule_sets: BTreeMap::new(),
            holders: BTreeMap::new(),
        }
    }

    /// Whose rules it follows.
    pub fn cloud(&self) -> Cloud {
        self.cloud
    }

    /// The address space of the network.
    pub fn prefixes(&self) -> &[Ipv4Net] {
        &self.prefixes
    }

    /// All subnets.
    pub fn subnets(&self) -> &BTreeMap<SubnetId, Subnet> {
        &self.subnets
    }

    /// All NICs.
    pub fn nics(&self) -> &BTreeMap<NicId, Nic> {
        &self.nics
    }

    /// All route tables.
    pub fn route_tables(&self) -> &BTreeMap<RouteTableId, RouteTable> {
        &self.route_tables
    }

    /// All rule sets.
    pub fn rule_sets(&self) -> &BTreeMap<RuleSetId, Vec<SecurityRule>> {
        &self.rule_sets
    }

    /// The NIC that holds a private address.
    pub fn holder(&self, address: Ipv4Addr) -> Option<&NicId> {
        self.holders.get(&address)
    }

    /// The NIC and private address behind a public address.
    pub fn behind_public(&self, public: Ipv4Addr) -> Option<(&NicId, Ipv4Addr)> {
        self.nics.iter().find_map(|(id, nic)| {
            let found = nic.addresses.iter().find(|a| a.public == Some(public))?;
            Some((id, found.address))
        })
    }

    /// Whether an address lies in the network's own space.
    pub fn is_internal(&self, address: Ipv4Addr) -> bool {
        self.prefixes.iter().any(|p| p.contains(&address))
    }

    /// The subnet of a NIC. A NIC's subnet always exists.
    pub fn subnet_of(&self, nic: &Nic) -> Option<&Subnet> {
        self.subnets.get(&nic.subnet)
    }

    /// Adds a subnet.
    ///
    /// # Errors
    /// When it exists, or its range is not inside the network's space.
    pub fn add_subnet(&mut self, id: SubnetId, subnet: Subnet) -> Result<(), StateError> {
        if self.subnets.contains_key(&id) {
            return Err(exists("subnet", &id));
        }
        if !self.prefixes.iter().any(|p| p.contains(&subnet.prefix)) {
            return Err(StateError::RouteRefused {
                prefix: subnet.prefix,
                reason: "a subnet lies inside its network's address space",
            });
        }
        self.subnets.insert(id, subnet);
        Ok(())
    }

    /// Makes a subnet use a route table, or none.
    ///
    /// # Errors
    /// When either does not exist.
    pub fn associate_route_table(
        &mut self,
        subnet: &SubnetId,
        table: Option<RouteTableId>,
    ) -> Result<(), StateError> {
        if let Some(table) = &table
            && !self.route_tables.contains_key(table)
        {
            return Err(unknown("route table", table));
        }
        self.subnets
            .get_mut(subnet)
            .ok_or_else(|| unknown("subnet", subnet))?
            .route_table = table;
        Ok(())
    }

    /// Adds a NIC with all its addresses, the primary first.
    ///
    /// # Errors
    /// When it exists, has no address, or one of its addresses cannot be assigned.
    pub fn add_nic(&mut self, id: NicId, mut nic: Nic) -> Result<(), StateError> {
        if self.nics.contains_key(&id) {
            return Err(exists("nic", &id));
        }
        let addresses = std::mem::take(&mut nic.addresses);
        self.nics.insert(id.clone(), nic);
        for address in addresses {
            if let Err(error) = self.assign(&id, address, false) {
                self.remove_nic(&id)?;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Removes a NIC and gives its addresses back.
    ///
    /// # Errors
    /// When it does not exist.
    pub fn remove_nic(&mut self, id: &NicId) -> Result<Nic, StateError> {
        let nic = self.nics.remove(id).ok_or_else(|| unknown("nic", id))?;
        self.holders.retain(|_, holder| holder != id);
        Ok(nic)
    }

    /// Gives a NIC an address; with `reassign`, takes it from whoever holds it as a secondary one.
    ///
    /// # Errors
    /// When the address is not one of the NIC's subnet, is reserved, is held, or the NIC is full.
    pub fn assign(
        &mut self,
        id: &NicId,
        new: NicAddress,
        reassign: bool,
    ) -> Result<(), StateError> {
        let address = new.address;
        let nic = self.nics.get(id).ok_or_else(|| unknown("nic", id))?;
        let subnet = self
            .subnets
            .get(&nic.subnet)
            .ok_or_else(|| unknown("subnet", &nic.subnet))?;
        if !self.cloud.takes(subnet.prefix, address) {
            return Err(StateError::NotInSubnet {
                address,
                prefix: subnet.prefix,
            });
        }
        let limit = self.cloud.addresses_per_nic();
        if nic.addresses.len() >= limit {
            let what = "addresses on a network interface";
            return Err(StateError::Limit { what, limit });
        }
        if let Some(holder) = self.holders.get(&address).cloned() {
            if !reassign || holder == *id {
                return Err(StateError::Held { address, holder });
            }
            self.unassign(&holder, address)?;
        }
        if let Some(nic) = self.nics.get_mut(id) {
            nic.addresses.push(new);
        }
        self.holders.insert(address, id.clone());
        Ok(())
    }

    /// Takes a secondary address away from a NIC.
    ///
    /// # Errors
    /// When the NIC does not hold it, or holds it as its primary address.
    pub fn unassign(&mut self, id: &NicId, address: Ipv4Addr) -> Result<NicAddress, StateError> {
        let nic = self.nics.get_mut(id).ok_or_else(|| unknown("nic", id))?;
        match nic.addresses.iter().position(|a| a.address == address) {
            None => Err(unknown("address", &address)),
            Some(0) => Err(StateError::Primary {
                address,
                nic: id.clone(),
            }),
            Some(at) => {
                self.holders.remove(&address);
                Ok(nic.addresses.remove(at))
            }
        }
    }

    /// Sets a NIC's forwarding flag and says what it was.
    ///
    /// # Errors
    /// When the NIC does not exist.
    pub fn set_forwarding(&mut self, id: &NicId, on: bool) -> Result<bool, StateError> {
        let nic = self.nics.get_mut(id).ok_or_else(|| unknown("nic", id))?;
        Ok(std::mem::replace(&mut nic.forwarding, on))
    }

    /// Sets which rules apply to a NIC itself.
    ///
    /// # Errors
    /// When the NIC or a rule set does not exist.
    pub fn set_nic_rules(&mut self, id: &NicId, rules: Vec<RuleSetId>) -> Result<(), StateError> {
        for set in &rules {
            if !self.rule_sets.contains_key(set) {
                return Err(unknown("rule set", set));
            }
        }
        let nic = self.nics.get_mut(id).ok_or_else(|| unknown("nic", id))?;
        nic.rules = rules;
        Ok(())
    }

    /// Writes a whole rule set.
    pub fn put_rule_set(&mut self, id: RuleSetId, rules: Vec<SecurityRule>) {
        self.rule_sets.insert(id, rules);
    }

    /// Adds an empty route table if there is none of that name.
    pub fn add_route_table(&mut self, id: RouteTableId) {
        self.route_tables.entry(id).or_default();
    }

    /// Removes a route table that no subnet uses.
    ///
    /// # Errors
    /// When it does not exist or is in use.
    pub fn remove_route_table(&mut self, id: &RouteTableId) -> Result<(), StateError> {
        let used = |s: &Subnet| s.route_table.as_ref() == Some(id);
        if self.subnets.values().any(used) {
            return Err(exists("association with route table", id));
        }
        let removed = self.route_tables.remove(id);
        removed.map(drop).ok_or_else(|| unknown("route table", id))
    }

    /// Adds a route or replaces the one of that name.
    ///
    /// # Errors
    /// When the table does not exist or is full, or the cloud has no such routes.
    pub fn put_route(
        &mut self,
        table: &RouteTableId,
        name: &str,
        route: Route,
    ) -> Result<(), StateError> {
        self.check_route(&route)?;
        let limit = self.cloud.routes_per_table();
        let routes = self
            .route_tables
            .get_mut(table)
            .ok_or_else(|| unknown("route table", table))?;
        if routes.len() >= limit && !routes.contains_key(name) {
            let what = "routes in a table";
            return Err(StateError::Limit { what, limit });
        }
        routes.insert(name.to_owned(), route);
        Ok(())
    }

    /// Removes a route.
    ///
    /// # Errors
    /// When the table or the route does not exist.
    pub fn remove_route(&mut self, table: &RouteTableId, name: &str) -> Result<Route, StateError> {
        self.route_tables
            .get_mut(table)
            .ok_or_else(|| unknown("route table", table))?
            .remove(name)
            .ok_or_else(|| unknown("route", &name))
    }

    /// The cloud's own rule about which routes may be written at all.
    fn check_route(&self, route: &Route) -> Result<(), StateError> {
        let prefix = route.prefix;
        let refused = |reason| Err(StateError::RouteRefused { prefix, reason });
        let inside = self.prefixes.iter().any(|p| p.contains(&prefix));
        let exact_subnet = self.subnets.values().any(|s| s.prefix == prefix);
        let in_plain_subnet = |s: &Subnet| !s.hybrid && s.prefix.contains(&prefix);
        match self.cloud {
            Cloud::Aws if inside && !exact_subnet => {
                refused("inside the VPC it must equal a whole subnet's CIDR")
            }
            Cloud::Gcp if self.subnets.values().any(in_plain_subnet) => {
                refused("inside a subnet's range only a hybrid subnet takes static routes")
            }
            Cloud::Oci if matches!(route.target, RouteTarget::Internet) && inside => {
                refused("inside the VCN a rule targets a private IP")
            }
            _ => Ok(()),
        }
    }
}

fn unknown(kind: &'static str, name: &impl ToString) -> StateError {
    StateError::Unknown {
        kind,
        name: name.to_string(),
    }
}

fn exists(kind: &'static str, name: &impl ToString) -> StateError {
    StateError::Exists {
        kind,
        name: name.to_string(),
    }
}
