//! Configurations in the seeds' shape, the same as `examples/two-site-*.yaml`.

mod carrier;

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::cloud::running::AUTHORITY_FILE;
use crate::fabric::Cloud;
use crate::router;
use crate::topology::{Site, TwoSite, WIREGUARD_PORT};

pub use carrier::{Carrier, Mode, PLAIN_TUNNEL};

/// The WireGuard interface of both routers.
pub const TUNNEL: &str = "wg-hybrid";

/// A public key that nobody has the private half of.
pub const NOBODY: &str = "ez7pO0E5KOjBaGvFWD3UYZXP2sAL1BTh2IFxDjzhPVg=";

/// The routers' own addresses on the overlay.
pub fn overlay_address(site: Site) -> Ipv4Addr {
    match site {
        Site::Cloud => Ipv4Addr::new(10, 255, 60, 1),
        Site::Onprem => Ipv4Addr::new(10, 255, 60, 2),
    }
}

/// The interface alone: enough to have a key made, which the other side needs to know.
pub fn interface_only(site: Site) -> String {
    document(site, &[wireguard(site)])
}

/// How the cloud's fabric is made to send packets for the captured address to the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloudCapture {
    /// By a secondary address that somebody else takes care of.
    ByHand,
    /// By a secondary address that the claim asks of the provider.
    SecondaryIp,
    /// By a route that the claim asks of the provider.
    RouteTable,
}

/// Everything, with the other router's public key.
pub fn whole(two_site: &TwoSite, site: Site, peer_key: &str) -> String {
    whole_with(two_site, site, peer_key, CloudCapture::SecondaryIp)
}

/// The same carried by something else.
pub fn over(two_site: &TwoSite, site: Site, peer_key: &str, carrier: Carrier) -> String {
    build(two_site, site, peer_key, CloudCapture::SecondaryIp, carrier)
}

/// The same with another way of capture in the cloud.
pub fn whole_with(two_site: &TwoSite, site: Site, peer_key: &str, capture: CloudCapture) -> String {
    build(two_site, site, peer_key, capture, Carrier::Wireguard)
}

fn build(
    two_site: &TwoSite,
    site: Site,
    peer_key: &str,
    capture: CloudCapture,
    carrier: Carrier,
) -> String {
    let mut resources = Vec::new();
    if carrier.is_encrypted() {
        resources.push(wireguard(site));
        resources.push(peer(two_site, site, peer_key));
    }
    resources.extend(carrier.tunnel(two_site, site));
    resources.push(overlay_peer(site, carrier));
    if site == Site::Cloud {
        resources.push(profile(two_site.cloud));
    }
    resources.push(domain(site));
    resources.push(claim(two_site, site, capture));
    document(site, &resources)
}

/// The same with one more resource that has nothing to do with the overlay.
pub fn with_unrelated(config: &str) -> String {
    let route = resource(
        "net",
        "IPv4Route",
        "unrelated",
        "destination: 198.18.5.0/24\ntype: blackhole",
    );
    format!("{config}{route}")
}

/// The same with the flows spread over several tunnels.
pub fn with_stripes(config: &str, stripes: u8) -> String {
    let port = format!("        listenPort: {WIREGUARD_PORT}\n");
    config.replace(&port, &format!("{port}        stripes: {stripes}\n"))
}

/// The same with packets cut that forbid it.
pub fn with_fragments_forced(config: &str) -> String {
    let option = "        pathMTU:\n          forceFragmentIPv4: true\n";
    config.replace(
        "        underlay:\n",
        &format!("{option}        underlay:\n"),
    )
}

/// The same with a second tunnel on a port that somebody else has taken: half-way through, the host refuses.
pub fn with_impossible(config: &str, taken: u16) -> String {
    let name = "wg-second";
    let spec =
        format!("privateKeyFile: /usr/local/etc/routerd/keys/{name}.key\nlistenPort: {taken}");
    let interface = resource("net", "WireGuardInterface", name, &spec);
    let spec = format!("interface: {name}\npublicKey: {NOBODY}\nallowedIPs:\n  - 198.18.7.0/24");
    let peer = resource("net", "WireGuardPeer", "second", &spec);
    format!("{config}{interface}{peer}")
}

fn document(site: Site, resources: &[String]) -> String {
    format!(
        "apiVersion: routerd.net/v1alpha1\nkind: Router\nmetadata:\n  name: routerd-{}\n\
         spec:\n  resources:\n{}",
        site.label(),
        resources.concat()
    )
}

fn resource(group: &str, kind: &str, name: &str, spec: &str) -> String {
    let spec: String = spec
        .lines()
        .map(|line| format!("        {line}\n"))
        .collect();
    format!(
        "    - apiVersion: {group}.routerd.net/v1alpha1\n      kind: {kind}\n      metadata:\n\
         \x20       name: {name}\n      spec:\n{spec}"
    )
}

/// The name of the other router's WireGuardPeer and OverlayPeer.
pub fn peer_name(site: Site) -> String {
    format!("{}-main", site.other().label())
}

fn wireguard(site: Site) -> String {
    let spec = format!(
        "privateKeyFile: /usr/local/etc/routerd/keys/{TUNNEL}.key\nlistenPort: {WIREGUARD_PORT}\n\
         addresses:\n  - {}/32",
        overlay_address(site)
    );
    resource("net", "WireGuardInterface", TUNNEL, &spec)
}

fn peer(two_site: &TwoSite, site: Site, key: &str) -> String {
    let other = site.other();
    let mut spec = format!(
        "interface: {TUNNEL}\npublicKey: {key}\nallowedIPs:\n  - {}/32\n  - {}/32",
        overlay_address(other),
        other.client_address()
    );
    if let Some(endpoint) = two_site.endpoint(other) {
        spec.push_str(&format!("\nendpoint: {endpoint}"));
    }
    spec.push_str("\npersistentKeepalive: 25");
    resource("net", "WireGuardPeer", &peer_name(site), &spec)
}

fn overlay_peer(site: Site, carrier: Carrier) -> String {
    let ((_, device), kind) = (carrier.device(), carrier.underlay_type());
    let remote = carrier.address(site.other());
    let spec = format!(
        "role: {}\nnodeID: routerd-{}\nunderlay:\n  type: {kind}\n  interface: {device}\n\
         remote:\n  nodeID: routerd-{}\n  address: {remote}",
        site.label(),
        site.label(),
        site.other().label()
    );
    resource("hybrid", "OverlayPeer", &peer_name(site), &spec)
}

fn profile(cloud: Cloud) -> String {
    profile_named(cloud, &format!("{cloud}-lab"))
}

fn profile_named(cloud: Cloud, name: &str) -> String {
    let (place, forwarding) = match cloud {
        Cloud::Aws => ("region: ap-northeast-1", "disable-source-dest-check"),
        Cloud::Azure => (
            "region: japaneast\nsubscriptionID: 26412fa4-cd3a-4128-9794-72ee01876d84\n\
             resourceGroup: cloudedge-lab",
            "ip-forwarding\n  - route-table",
        ),
        Cloud::Oci => (
            "region: ap-tokyo-1\ncompartmentID: ocid1.compartment.oc1..aaaaaaaacloudedgelab",
            "disable-source-dest-check",
        ),
        Cloud::Gcp => (
            "region: asia-northeast1\nproject: cloudedge-lab",
            "ip-forwarding",
        ),
    };
    let spec = format!(
        "provider: {cloud}\n{place}\ncapabilities:\n  - nic-secondary-ip\n  - {forwarding}\n\
         auth:\n  mode: machine-identity"
    );
    resource("hybrid", "CloudProviderProfile", name, &spec)
}

fn domain(site: Site) -> String {
    let spec = format!(
        "prefix: 10.77.60.0/24\nmode: selective-address\npeerRef: {}",
        peer_name(site)
    );
    resource(
        "hybrid",
        "AddressMobilityDomain",
        "cloudedge-same-subnet",
        &spec,
    )
}

/// The name of a site's claim.
pub fn claim_name(site: Site) -> String {
    format!("{}-client", site.other().label())
}

fn claim(two_site: &TwoSite, site: Site, capture: CloudCapture) -> String {
    let interface = two_site.capture_interface(site);
    let capture = match site {
        Site::Cloud => cloud_capture(two_site, interface, capture),
        Site::Onprem => {
            format!("  type: proxy-arp\n  interface: {interface}\n  gratuitousARP: true")
        }
    };
    let spec = format!(
        "domainRef: cloudedge-same-subnet\naddress: {}/32\nownerSide: {}\ncapture:\n{capture}\n\
         \x20 activeWhen:\n    type: single-router\ndelivery:\n  peerRef: {}\n  mode: route",
        site.other().client_address(),
        site.other().label(),
        peer_name(site)
    );
    resource("hybrid", "RemoteAddressClaim", &claim_name(site), &spec)
}

fn cloud_capture(two_site: &TwoSite, interface: &str, capture: CloudCapture) -> String {
    let provider = format!("  providerRef: {}-lab", two_site.cloud);
    let address = format!("  interface: {interface}\n  configureOSAddress: false");
    match capture {
        CloudCapture::ByHand => format!("  type: provider-secondary-ip\n{address}"),
        CloudCapture::SecondaryIp => format!(
            "  type: provider-secondary-ip\n{provider}\n  providerMode: nic-secondary-ip\n\
             \x20 nicRef: {}\n{address}",
            two_site.nic_ref()
        ),
        CloudCapture::RouteTable => {
            format!("  type: route-table\n{provider}\n  interface: {interface}")
        }
    }
}

/// Whether a person has to approve what is changed in the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approval {
    /// A person.
    Needed,
    /// The policy is enough.
    NotNeeded,
}

/// The same with the cloud's executor, and a policy that lets it change what the scenario is about.
pub fn with_executor(config: &str, two_site: &TwoSite, approval: Approval) -> String {
    let cloud = two_site.cloud;
    let spec = format!(
        "executable: {}\ntimeout: 120s\nenv:\n  AZURE_CONFIG_DIR: /var/lib/routerd/azure\n\
         \x20 SSL_CERT_FILE: {AUTHORITY_FILE}\ncapabilities: [execute.providerAction]",
        router::installed(&format!("{cloud}-provider-executor")).display()
    );
    let plugin = resource("plugin", "Plugin", &format!("{cloud}-executor"), &spec);
    let spec = format!(
        "enabled: true\ndryRunOnly: false\nrequireApproval: {}\nallowedProviders: [{cloud}]\n\
         allowedActions: [ensure-forwarding-enabled, assign-secondary-ip, ensure-route]\n\
         allowedCIDRs: [10.77.60.0/24]\nmaxActionsPerRun: 4\nallowUndo: true",
        approval == Approval::Needed
    );
    let policy = resource(
        "hybrid",
        "ProviderActionPolicy",
        &format!("{cloud}-live-mutation"),
        &spec,
    );
    format!("{config}{plugin}{policy}")
}

/// Where the secret of the event group is.
pub const EVENT_SECRET: &str = "/usr/local/etc/routerd/keys/events.secret";
/// How long a silent client counts as present: short, for the lab has no time.
pub const LEASE_TTL: Duration = Duration::from_secs(4);

/// Everything, with clients of the on-prem site claimed in the cloud as they are observed, and no claim of a
/// person's for them.
pub fn federated(two_site: &TwoSite, site: Site, peer_key: &str) -> String {
    let mut resources = vec![
        wireguard(site),
        federated_peer(two_site, site, peer_key),
        overlay_peer(site, Carrier::Wireguard),
        domain(site),
        event_group(site),
        event_peer(site),
    ];
    match site {
        Site::Cloud => {
            resources.push(profile_named(two_site.cloud, "example-provider"));
            resources.extend(consumer());
        }
        Site::Onprem => {
            resources.push(claim(two_site, site, CloudCapture::ByHand));
            resources.push(pool());
        }
    }
    let config = document(site, &resources);
    match site {
        Site::Cloud => with_executor(&config, two_site, Approval::NotNeeded),
        Site::Onprem => config,
    }
}

/// Only the on-prem site delivers to an address that is written down.
fn federated_peer(two_site: &TwoSite, site: Site, key: &str) -> String {
    let whole = peer(two_site, site, key);
    let observed = format!("          - {}/32\n", Site::Onprem.client_address());
    whole.replace(&observed, "")
}

fn event_node(site: Site) -> String {
    format!("routerd-{}", site.label())
}

fn event_group(site: Site) -> String {
    let spec = format!(
        "nodeName: {}\nlisten:\n  address: {}\nauth:\n  mode: hmac\n  secretFile: {EVENT_SECRET}",
        event_node(site),
        overlay_address(site)
    );
    resource("federation", "EventGroup", "cloudedge", &spec)
}

fn event_peer(site: Site) -> String {
    let other = site.other();
    let mut spec = format!("groupRef: cloudedge\nnodeName: {}", event_node(other));
    if site == Site::Onprem {
        spec.push_str(&format!("\nendpoint: {}:65433", overlay_address(other)));
    }
    resource("federation", "EventPeer", &event_node(other), &spec)
}

fn consumer() -> [String; 2] {
    let plugin = format!(
        "executable: {}\ncapabilities: [observe.events, propose.dynamicConfig]",
        router::installed("event-to-remote-claim").display()
    );
    let subscription = "groupRef: cloudedge\nmatch:\n  types: [routerd.client.ipv4.observed]\n\
                        trigger:\n  pluginRef: event-to-remote-claim";
    [
        resource("plugin", "Plugin", "event-to-remote-claim", &plugin),
        resource(
            "federation",
            "EventSubscription",
            "onprem-clients",
            subscription,
        ),
    ]
}

fn pool() -> String {
    let spec = format!(
        "prefix: 10.77.60.0/24\ngroupRef: cloudedge\nmembers:\n  - nodeRef: {}\n    role: onprem\n\
         \x20   ownershipDiscovery:\n      mode: onprem-l2\n      scanInterval: 1s\n      leaseTTL: {}s",
        event_node(Site::Onprem),
        LEASE_TTL.as_secs()
    );
    resource("mobility", "MobilityPool", "cloudedge", &spec)
}

#[cfg(test)]
mod tests {
    use api::control::{Config, SourceFile};

    use super::*;
    use crate::topology;

    #[test]
    fn every_topology_has_configurations_without_surprises() {
        let key = "KTfySYEfSlCi6YhZz5WKuPOWGjQ0CVUp5hs6/c9F0Fc=";
        for entry in topology::ALL {
            for site in Site::BOTH {
                let config = whole(&entry.parameters, site, key);
                // The interface stands alone until the keys are exchanged.
                let texts = [
                    (interface_only(site), &["tunnel-without-peer"][..]),
                    (with_unrelated(&config), &[]),
                    (with_impossible(&config, 51999), &[]),
                    (federated(&entry.parameters, site, key), &[]),
                    (with_stripes(&config, 4), &[]),
                    (config, &[]),
                    (
                        with_fragments_forced(&whole(&entry.parameters, site, key)),
                        &[],
                    ),
                ];
                let two_site = &entry.parameters;
                // What is imported by hand names the profile in the plan, not in the configuration.
                let captures = [
                    (CloudCapture::ByHand, &["unused-resource"][..]),
                    (CloudCapture::SecondaryIp, &[]),
                    (CloudCapture::RouteTable, &[]),
                ];
                let executors = captures
                    .into_iter()
                    .filter(|_| two_site.cloud == Cloud::Azure && site == Site::Cloud)
                    .map(|(capture, expected)| {
                        let config = whole_with(two_site, site, key, capture);
                        (with_executor(&config, two_site, Approval::Needed), expected)
                    });
                let carried =
                    Carrier::ALL.map(|carrier| (over(two_site, site, key, carrier), &[][..]));
                for (text, expected) in texts.into_iter().chain(executors).chain(carried) {
                    let name = format!("{}-{}.yaml", entry.id, site.label());
                    let files = vec![SourceFile { name, text }];
                    let loaded = routerd_core::config::load(&Config { files });
                    let found: Vec<_> = loaded.diagnostics.iter().map(|d| d.id.as_str()).collect();
                    assert_eq!(found, expected, "{}", entry.id);
                }
            }
        }
    }
}
