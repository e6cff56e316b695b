//! How providers name a NIC, and which addresses of a subnet they keep for themselves.

use api::{Diagnostic, MobileAddress};

use crate::config::draft::{Domain, Provider, Resource};
use crate::config::sink::Sink;
use crate::kinds::field::Cloud;

/// Checks that a NIC is named in its provider's form and belongs to the profile's account.
pub(super) fn check(nic: &str, provider: &Provider, resource: &Resource<'_>, sink: &mut Sink<'_>) {
    let (form, fits) = match provider.cloud {
        Cloud::Azure => (
            "/subscriptions/S/resourceGroups/G/providers/Microsoft.Network/networkInterfaces/N",
            azure_subscription(nic).is_some(),
        ),
        Cloud::Aws => ("eni-0123456789abcdef0", is_eni(nic)),
        Cloud::Oci => ("ocid1.vnic.oc1.REGION.…", is_vnic(nic)),
        Cloud::Gcp => ("projects/P/zones/Z/instances/I/nic0", is_gcp_nic(nic)),
    };
    if !fits {
        let message = format!("this does not name a NIC of {}", provider.cloud);
        let found = Diagnostic::error("bad-nic-ref", message).hint(format!("the form is `{form}`"));
        resource.report(sink, "capture.nicRef", found);
        return;
    }
    if let (Some(subscription), Some(own)) = (azure_subscription(nic), &provider.subscription)
        && !subscription.eq_ignore_ascii_case(own)
    {
        let message = format!("the NIC is in another subscription than {}", provider.id);
        let found = Diagnostic::warning("nic-of-other-account", message)
            .hint("write the NIC of this router, or the subscription that it is in");
        resource.report(sink, "capture.nicRef", found);
    }
}

/// The subscription of an ARM id of a network interface; such ids are compared without regard to case.
fn azure_subscription(nic: &str) -> Option<&str> {
    let parts: Vec<&str> = nic.strip_prefix('/')?.split('/').collect();
    let [
        subscriptions,
        subscription,
        groups,
        group,
        providers,
        network,
        interfaces,
        name,
    ] = parts[..]
    else {
        return None;
    };
    let words = [
        (subscriptions, "subscriptions"),
        (groups, "resourceGroups"),
        (providers, "providers"),
        (network, "Microsoft.Network"),
        (interfaces, "networkInterfaces"),
    ];
    let named = !subscription.is_empty() && !group.is_empty() && !name.is_empty();
    let spelled = words
        .iter()
        .all(|(written, word)| written.eq_ignore_ascii_case(word));
    (named && spelled).then_some(subscription)
}

fn is_eni(nic: &str) -> bool {
    let hexadecimal = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    nic.strip_prefix("eni-")
        .is_some_and(|id| matches!(id.len(), 8 | 17) && id.chars().all(hexadecimal))
}

/// `ocid1.vnic.REALM.REGION[.FUTURE].UNIQUE`
fn is_vnic(nic: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    nic.strip_prefix("ocid1.vnic.").is_some_and(|rest| {
        let parts: Vec<&str> = rest.split('.').collect();
        let unique = parts.last().is_some_and(|unique| !unique.is_empty());
        (3..=4).contains(&parts.len()) && unique && rest.chars().all(|c| legal(c) || c == '.')
    })
}

/// `[https://…/compute/v1/]projects/P/zones/Z/instances/I[/nicN]`
fn is_gcp_nic(nic: &str) -> bool {
    let path = match nic.strip_prefix("https://") {
        Some(rest) => rest.split_once("/compute/v1/").map_or("", |(_, path)| path),
        None => nic,
    };
    let parts: Vec<&str> = path.split('/').collect();
    let (instance, nic_ok) = match &parts[..] {
        [instance @ .., nic] if instance.len() == 6 => (instance, is_nic_name(nic)),
        instance => (instance, true),
    };
    let [projects, project, zones, zone, instances, name] = instance else {
        return false;
    };
    let words = [*projects, *zones, *instances] == ["projects", "zones", "instances"];
    words && nic_ok && [project, zone, name].iter().all(|part| !part.is_empty())
}

fn is_nic_name(name: &str) -> bool {
    name.strip_prefix("nic")
        .is_some_and(|n| n.parse::<u8>().is_ok())
}

/// Warns of an address that the provider keeps for itself, if the domain is one subnet of it.
pub(super) fn check_reserved(
    address: MobileAddress,
    domain: &Domain,
    provider: &Provider,
    resource: &Resource<'_>,
    sink: &mut Sink<'_>,
) {
    let (first, last, words) = match provider.cloud {
        Cloud::Aws | Cloud::Azure => (4, 1, "the first four addresses and the last"),
        Cloud::Oci => (2, 1, "the first two addresses and the last"),
        Cloud::Gcp => (2, 2, "the first two addresses and the last two"),
    };
    let host = u32::from(address.addr());
    let from_start = host - u32::from(domain.prefix.network());
    let from_end = u32::from(domain.prefix.broadcast()) - host;
    if from_start < first || from_end < last {
        let message = format!(
            "{} keeps {words} of a subnet and will not assign {}",
            provider.cloud,
            address.addr()
        );
        let found = Diagnostic::warning("address-reserved-by-provider", message).hint(format!(
            "this matters if {} is one subnet over there",
            domain.prefix
        ));
        resource.report(sink, "address", found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn azure_ids_ignore_case() {
        let id = "/subscriptions/26412fa4/resourceGroups/cloudedge-lab/providers/Microsoft.Network/networkInterfaces/ce-router-nic";
        assert_eq!(azure_subscription(id), Some("26412fa4"));
        assert_eq!(azure_subscription(&id.to_uppercase()), Some("26412FA4"));
        assert_eq!(azure_subscription("ce-router-nic"), None);
        assert_eq!(azure_subscription(&id.replace("ce-router-nic", "")), None);
        assert_eq!(
            azure_subscription(&format!("{id}/ipConfigurations/x")),
            None
        );
    }

    #[test]
    fn other_clouds_have_their_own_forms() {
        assert!(is_eni("eni-0a1b2c3d4e5f60718") && is_eni("eni-0a1b2c3d"));
        assert!(!is_eni("eni-0A1B2C3D") && !is_eni("i-0a1b2c3d"));
        assert!(is_vnic("ocid1.vnic.oc1.ap-tokyo-1.abxhiljr"));
        assert!(
            !is_vnic("ocid1.instance.oc1.ap-tokyo-1.abxhiljr") && !is_vnic("ocid1.vnic.oc1...")
        );
        assert!(is_gcp_nic(
            "projects/p/zones/asia-northeast1-a/instances/router/nic0"
        ));
        assert!(is_gcp_nic(
            "projects/p/zones/asia-northeast1-a/instances/router"
        ));
        assert!(is_gcp_nic(
            "https://www.googleapis.com/compute/v1/projects/p/zones/z/instances/r"
        ));
        assert!(!is_gcp_nic("router") && !is_gcp_nic("projects/p/zones//instances/r"));
    }
}
