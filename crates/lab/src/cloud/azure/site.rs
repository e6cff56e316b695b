//! What a subscription looks like and how it behaves.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cloud::throttle::Rate;
use crate::fabric::NicId;
use crate::fabric::state::{RouteTableId, RuleSetId, SubnetId};

/// A virtual machine with a system-assigned identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: String,
    /// Object id of its identity.
    pub principal: String,
    /// Client id of its identity.
    pub client_id: String,
}

/// One subscription with one resource group and one virtual network.
#[derive(Debug, Clone)]
pub struct Site {
    /// Subscription id.
    pub subscription: String,
    /// Directory id.
    pub tenant: String,
    /// Resource group.
    pub group: String,
    /// Region.
    pub location: String,
    /// Name of the virtual network.
    pub network: String,
    /// The machines, by the NIC that they have.
    pub machines: BTreeMap<NicId, Machine>,
    /// What time it is in tokens when the cloud's clock begins, in seconds since 1970.
    pub epoch: u64,
    /// How long a change takes until it reaches the packets.
    pub operation_time: Duration,
    /// How long a token lives.
    pub token_lifetime: Duration,
    /// Entries on a page of a list.
    pub page_size: usize,
    /// Whether the subscription has the preview of `moveIpConfigurations`.
    pub atomic_move: bool,
    /// Limit of reads of one principal.
    pub reads: Rate,
    /// Limit of writes and, separately, of deletions.
    pub writes: Rate,
}

impl Site {
    /// A site in japaneast whose every NIC belongs to a machine of the same name.
    pub fn new(group: &str, network: &str, nics: impl IntoIterator<Item = NicId>) -> Self {
        let machine = |(number, nic): (usize, NicId)| {
            let machine = Machine {
                name: nic.0.trim_end_matches("-nic").to_owned(),
                principal: format!("00000000-0000-0000-00a1-{:012x}", number + 1),
                client_id: format!("00000000-0000-0000-00c1-{:012x}", number + 1),
            };
            (nic, machine)
        };
        Self {
            subscription: "00000000-0000-0000-0000-000000000001".to_owned(),
            tenant: "00000000-0000-0000-0000-00000000000a".to_owned(),
            group: group.to_owned(),
            location: "japaneast".to_owned(),
            network: network.to_owned(),
            machines: nics.into_iter().enumerate().map(machine).collect(),
            // 2026-01-01T00:00:00Z
            epoch: 1_767_225_600,
            operation_time: Duration::ZERO,
            token_lifetime: Duration::from_secs(86_400),
            page_size: 100,
            atomic_move: false,
            reads: Rate {
                burst: 250.0,
                per_second: 25.0,
            },
            writes: Rate {
                burst: 200.0,
                per_second: 10.0,
            },
        }
    }

    /// `/subscriptions/S`.
    pub fn subscription_id(&self) -> String {
        format!("/subscriptions/{}", self.subscription)
    }

    /// `/subscriptions/S/resourceGroups/G`.
    pub fn group_id(&self) -> String {
        format!("{}/resourceGroups/{}", self.subscription_id(), self.group)
    }

    /// The resource id of something of the network provider.
    pub fn resource_id(&self, kind: &str, name: &str) -> String {
        format!(
            "{}/providers/Microsoft.Network/{kind}/{name}",
            self.group_id()
        )
    }

    /// The resource id of a NIC.
    pub fn nic_id(&self, nic: &NicId) -> String {
        self.resource_id("networkInterfaces", &nic.0)
    }

    /// The resource id of a subnet.
    pub fn subnet_id(&self, subnet: &SubnetId) -> String {
        format!(
            "{}/subnets/{}",
            self.resource_id("virtualNetworks", &self.network),
            subnet.0
        )
    }

    /// The resource id of a route table.
    pub fn table_id(&self, table: &RouteTableId) -> String {
        self.resource_id("routeTables", &table.0)
    }

    /// The resource id of a network security group.
    pub fn rules_id(&self, rules: &RuleSetId) -> String {
        self.resource_id("networkSecurityGroups", &rules.0)
    }

    /// The resource id of a machine.
    pub fn machine_id(&self, name: &str) -> String {
        format!(
            "{}/providers/Microsoft.Compute/virtualMachines/{name}",
            self.group_id()
        )
    }
}
