//! Scenarios: what is done in a lab, and what has to hold.

mod azure_executor;
mod breaks;
mod daemon_restart;
mod fabric_rules;
mod faulty;
mod federation_claim;
mod guest_agent;
mod host_firewall;
mod losses;
mod low_pmtu;
mod operator;
mod provider_outage;
mod secrecy;
mod striped;
mod trial;
mod two_site;

pub use trial::Trial;

use anyhow::{Context, Result};

use crate::fabric::Cloud;
use crate::topology::{Entry, TwoSite, two_site as sites};

/// A scenario.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its id: stable.
    pub id: &'static str,
    /// What it shows, in a line.
    pub summary: &'static str,
    /// What it runs in.
    pub parameters: TwoSite,
    /// What is done.
    pub run: fn(&mut Trial<'_>) -> Result<()>,
}

/// All of them.
pub const ALL: &[Scenario] = &[
    Scenario {
        id: "two-site-azure",
        summary: "one subnet over Azure and on-prem: ping, ssh, 100 MiB, both ways",
        parameters: sites(Cloud::Azure, false),
        run: two_site::run,
    },
    Scenario {
        id: "two-site-aws",
        summary: "the same over AWS and on-prem behind NAT",
        parameters: sites(Cloud::Aws, true),
        run: two_site::run,
    },
    Scenario {
        id: "two-site-oci",
        summary: "the same over OCI and on-prem",
        parameters: sites(Cloud::Oci, false),
        run: two_site::run,
    },
    Scenario {
        id: "two-site-gcp",
        summary: "the same over GCP and on-prem behind NAT",
        parameters: sites(Cloud::Gcp, true),
        run: two_site::run,
    },
    Scenario {
        id: "two-site-low-pmtu",
        summary: "an underlay that carries less, and changes: the limit exact, senders told",
        parameters: crate::topology::wide_two_site(Cloud::Oci),
        run: low_pmtu::run,
    },
    Scenario {
        id: "two-site-striped",
        summary: "flows over four tunnels, each with its share; and back to one",
        parameters: sites(Cloud::Oci, false),
        run: striped::run,
    },
    Scenario {
        id: "two-site-guest-agent",
        summary: "an agent puts the captured address on the OS again and again",
        parameters: sites(Cloud::Azure, false),
        run: guest_agent::run,
    },
    Scenario {
        id: "two-site-host-firewall",
        summary: "a stock image rejects what is forwarded; doctor names the rule and the fix",
        parameters: sites(Cloud::Oci, false),
        run: host_firewall::run,
    },
    Scenario {
        id: "two-site-doctor",
        summary: "one fault after the other; doctor names each first",
        parameters: sites(Cloud::Azure, false),
        run: faulty::run,
    },
    Scenario {
        id: "daemon-restart",
        summary: "kill -9, restart, apply, failed apply under 1 kHz; drift repaired",
        parameters: sites(Cloud::Azure, false),
        run: daemon_restart::run,
    },
    Scenario {
        id: "azure-executor",
        summary: "preflight, approve, execute, traffic, rollback: the cloud as it was before",
        parameters: sites(Cloud::Azure, false),
        run: azure_executor::run,
    },
    Scenario {
        id: "provider-outage",
        summary: "the cloud's API is away, a move stops half-way; no packet notices, all is completed",
        parameters: sites(Cloud::Azure, false),
        run: provider_outage::run,
    },
    Scenario {
        id: "federation-claim",
        summary: "an observed client becomes a delivered address; flapping costs nothing",
        parameters: sites(Cloud::Azure, false),
        run: federation_claim::run,
    },
    Scenario {
        id: "lab-faults",
        summary: "every fault of `lab break` does what it says, and is undone",
        parameters: sites(Cloud::Azure, false),
        run: breaks::run,
    },
];

/// The scenario of that id.
///
/// # Errors
/// When there is none; the message lists those that there are.
pub fn find(id: &str) -> Result<&'static Scenario> {
    ALL.iter().find(|s| s.id == id).with_context(|| {
        let ids: Vec<_> = ALL.iter().map(|s| s.id).collect();
        format!("no scenario `{id}`; there are {}", ids.join(", "))
    })
}

/// A topology as a scenario that only brings it up.
pub fn of_topology(entry: &Entry) -> Scenario {
    Scenario {
        id: entry.id,
        summary: entry.summary,
        parameters: entry.parameters,
        run: |trial| trial.start_routers(),
    }
}
