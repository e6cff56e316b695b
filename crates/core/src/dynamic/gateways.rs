//! What no part may say of the host that it reaches: that one of the host's own gateways is somewhere else.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::Part;
use crate::Observed;

/// The addresses that routes of this host lead through.
pub fn gateways(observed: &Observed) -> BTreeSet<Ipv4Addr> {
    let routes = observed.routes.iter();
    routes.filter_map(|route| route.target.gateway()).collect()
}

impl Part {
    /// Why this part cannot count on a host with these gateways: sites that share a subnet often share the address of
    /// its gateway too, and whoever follows a claim of it sends the way out of the site to the other one.
    pub fn barred(&self, gateways: &BTreeSet<Ipv4Addr>) -> Option<String> {
        let claims = self.resources.iter();
        let claims = claims.filter(|resource| resource.kind == "RemoteAddressClaim");
        let mut claimed = claims.filter_map(|claim| claim.spec["address"].as_str()?.parse().ok());
        let address = claimed.find(|claimed: &Ipv4Net| gateways.contains(&claimed.addr()))?;
        let address = address.addr();
        Some(format!("{address} is a gateway of this host"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use api::plugin::{Metadata, ResourceDocument};

    use super::*;

    fn claim(kind: &str, address: &str) -> Part {
        let resource = ResourceDocument {
            api_version: "hybrid.routerd.net/v1alpha1".to_owned(),
            kind: kind.to_owned(),
            metadata: Metadata {
                name: "one".to_owned(),
                labels: BTreeMap::new(),
                annotations: BTreeMap::new(),
            },
            spec: serde_json::json!({ "address": address }),
        };
        Part {
            resources: vec![resource],
            ..Part::default()
        }
    }

    #[test]
    fn a_gateway_is_nobodys_client() {
        let gateways = BTreeSet::from([Ipv4Addr::new(10, 77, 60, 1)]);
        let barred = |kind, address| claim(kind, address).barred(&gateways);
        let why = Some("10.77.60.1 is a gateway of this host".to_owned());
        assert_eq!(barred("RemoteAddressClaim", "10.77.60.1/32"), why);
        assert_eq!(barred("RemoteAddressClaim", "10.77.60.9/32"), None);
        assert_eq!(barred("RemoteAddressClaim", "nonsense"), None);
        assert_eq!(barred("IPv4StaticAddress", "10.77.60.1/32"), None);
    }
}
