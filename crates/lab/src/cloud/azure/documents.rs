//! The first representations, made from what the fabric's table holds.

use serde_json::{Value, json};

use super::site::Site;
use super::store::{Progress, Store};
use crate::fabric::routes::{Route, RouteTarget};
use crate::fabric::security::{Access, Direction, SecurityRule};
use crate::fabric::state::{Nic, NicAddress, Subnet, SubnetId};
use crate::fabric::{FabricState, NicId};

/// Everything in the table as resources.
pub(super) fn of(site: &Site, fabric: &FabricState) -> Store {
    let mut store = Store::default();
    let mut put = |id: &str, body: Value| store.put(id, body, Progress::Settled);
    let network = site.resource_id("virtualNetworks", &site.network);
    let prefixes: Vec<String> = fabric.prefixes().iter().map(ToString::to_string).collect();
    let space = json!({"addressSpace": {"addressPrefixes": prefixes}, "subnets": []});
    put(&network, resource(site, &network, "virtualNetworks", space));
    for (id, subnet) in fabric.subnets() {
        put(&site.subnet_id(id), subnet_body(site, fabric, id, subnet));
    }
    for (id, rules) in fabric.rule_sets() {
        let path = site.rules_id(id);
        let rules: Vec<Value> = rules.iter().map(|rule| rule_body(&path, rule)).collect();
        let properties = json!({"securityRules": rules, "defaultSecurityRules": []});
        put(
            &path,
            resource(site, &path, "networkSecurityGroups", properties),
        );
    }
    for (id, nic) in fabric.nics() {
        put(&site.nic_id(id), nic_body(site, id, nic));
    }
    for (id, table) in fabric.route_tables() {
        let path = site.table_id(id);
        let properties = json!({"disableBgpRoutePropagation": false, "routes": []});
        put(&path, resource(site, &path, "routeTables", properties));
        for (name, route) in table {
            put(
                &format!("{path}/routes/{name}"),
                route_body(&path, name, route),
            );
        }
    }
    store
}

/// A resource of the network provider.
pub(super) fn resource(site: &Site, id: &str, kind: &str, properties: Value) -> Value {
    json!({
        "id": id,
        "name": id.rsplit('/').next().unwrap_or_default(),
        "type": format!("Microsoft.Network/{kind}"),
        "location": site.location,
        "properties": properties,
    })
}

fn subnet_body(site: &Site, fabric: &FabricState, id: &SubnetId, subnet: &Subnet) -> Value {
    let members = fabric.nics().iter().filter(|(_, nic)| nic.subnet == *id);
    let configs: Vec<Value> = members
        .flat_map(|(nic, held)| held.addresses.iter().map(move |address| (nic, address)))
        .map(|(nic, address)| json!({"id": config_id(&site.nic_id(nic), &address.name)}))
        .collect();
    let path = site.subnet_id(id);
    let mut properties = json!({
        "addressPrefix": subnet.prefix.to_string(),
        "ipConfigurations": configs,
        "privateEndpointNetworkPolicies": "Disabled",
        "privateLinkServiceNetworkPolicies": "Enabled",
    });
    if let Some(table) = &subnet.route_table {
        properties["routeTable"] = json!({"id": site.table_id(table)});
    }
    if let Some(rules) = subnet.rules.first() {
        properties["networkSecurityGroup"] = json!({"id": site.rules_id(rules)});
    }
    json!({
        "id": path,
        "name": id.0,
        "type": "Microsoft.Network/virtualNetworks/subnets",
        "properties": properties,
    })
}

fn rule_body(group: &str, rule: &SecurityRule) -> Value {
    let remote = rule.remote.to_string();
    let (source, destination) = match rule.direction {
        Direction::Inbound => (remote, "*".to_owned()),
        Direction::Outbound => ("*".to_owned(), remote),
    };
    let protocol = match rule.protocol {
        None => "*",
        Some(1) => "Icmp",
        Some(6) => "Tcp",
        Some(17) => "Udp",
        Some(50) => "Esp",
        Some(_) => "Ah",
    };
    json!({
        "id": format!("{group}/securityRules/{}", rule.name),
        "name": rule.name,
        "type": "Microsoft.Network/networkSecurityGroups/securityRules",
        "properties": {
            "priority": rule.priority,
            "direction": if rule.direction == Direction::Inbound { "Inbound" } else { "Outbound" },
            "access": if rule.access == Access::Allow { "Allow" } else { "Deny" },
            "protocol": protocol,
            "sourceAddressPrefix": source,
            "sourcePortRange": "*",
            "destinationAddressPrefix": destination,
            "destinationPortRange": rule.ports.map_or("*".to_owned(), |(a, b)| format!("{a}-{b}")),
        },
    })
}

fn nic_body(site: &Site, id: &NicId, nic: &Nic) -> Value {
    let path = site.nic_id(id);
    let configs: Vec<Value> = nic
        .addresses
        .iter()
        .enumerate()
        .map(|(at, address)| config_body(site, &path, nic, address, at == 0))
        .collect();
    let mut properties = json!({
        "resourceGuid": format!("00000000-0000-0000-0002-{}", mac(nic.mac).replace('-', "").to_lowercase()),
        "ipConfigurations": configs,
        "dnsSettings": {"dnsServers": [], "appliedDnsServers": []},
        "macAddress": mac(nic.mac),
        "enableAcceleratedNetworking": false,
        "vnetEncryptionSupported": false,
        "enableIPForwarding": nic.forwarding,
        "disableTcpStateTracking": false,
        "primary": true,
        "hostedWorkloads": [],
        "tapConfigurations": [],
        "nicType": "Standard",
        "auxiliaryMode": "None",
        "auxiliarySku": "None",
    });
    if let Some(rules) = nic.rules.first() {
        properties["networkSecurityGroup"] = json!({"id": site.rules_id(rules)});
    }
    if let Some(machine) = site.machines.get(id) {
        properties["virtualMachine"] = json!({"id": site.machine_id(&machine.name)});
    }
    resource(site, &path, "networkInterfaces", properties)
}

fn config_body(site: &Site, nic_id: &str, nic: &Nic, address: &NicAddress, first: bool) -> Value {
    let mut properties = json!({
        "privateIPAddress": address.address.to_string(),
        "privateIPAllocationMethod": if first { "Dynamic" } else { "Static" },
        "privateIPAddressVersion": "IPv4",
        "primary": first,
        "subnet": {"id": site.subnet_id(&nic.subnet)},
    });
    if address.public.is_some() {
        let name = format!(
            "{}-{}",
            nic_id.rsplit('/').next().unwrap_or_default(),
            address.name
        );
        properties["publicIPAddress"] = json!({"id": site.resource_id("publicIPAddresses", &name)});
    }
    json!({
        "name": address.name,
        "id": config_id(nic_id, &address.name),
        "type": "Microsoft.Network/networkInterfaces/ipConfigurations",
        "properties": properties,
    })
}

fn route_body(table: &str, name: &str, route: &Route) -> Value {
    let mut properties =
        json!({"addressPrefix": route.prefix.to_string(), "hasBgpOverride": false});
    let (kind, address) = match &route.target {
        RouteTarget::Address(address) => ("VirtualAppliance", Some(*address)),
        RouteTarget::Internet => ("Internet", None),
        RouteTarget::Nothing => ("None", None),
        RouteTarget::Local | RouteTarget::Nic(_) => ("VnetLocal", None),
    };
    properties["nextHopType"] = json!(kind);
    if let Some(address) = address {
        properties["nextHopIpAddress"] = json!(address.to_string());
    }
    json!({
        "name": name,
        "id": format!("{table}/routes/{name}"),
        "type": "Microsoft.Network/routeTables/routes",
        "properties": properties,
    })
}

/// The id of an ip-configuration.
pub(super) fn config_id(nic: &str, name: &str) -> String {
    format!("{nic}/ipConfigurations/{name}")
}

/// `00-0D-3A-1B-C7-21`.
pub(super) fn mac(bytes: [u8; 6]) -> String {
    let parts: Vec<String> = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    parts.join("-")
}
