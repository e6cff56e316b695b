//! Permissions: what is missing is named, before and after trying.

use api::action::Verb;
use api::action::plan::Target;
use api::action::protocol::{Mode, PreflightIntent, PreflightStatus, PreflightVerdict};
use lab::cloud::azure::example::{GROUP, ROUTER};
use lab::cloud::fault::{Effect, Fault};

use crate::world::{World, class, present, succeeded};

fn intents(verbs: &[Verb]) -> Vec<PreflightIntent> {
    let intent = |action: &Verb| PreflightIntent {
        action: *action,
        target: Target {
            nic_ref: None,
            route_table_ref: None,
            address: action
                .takes_address()
                .then(|| "10.77.60.9".parse().expect("address")),
        },
    };
    verbs.iter().map(intent).collect()
}

/// `permission scope` of the checks that came out so.
fn permissions(status: &PreflightStatus, verdict: PreflightVerdict) -> Vec<String> {
    let last = |text: &Option<String>| {
        let text = text.as_deref().unwrap_or_default();
        text.rsplit('/').next().unwrap_or_default().to_owned()
    };
    status
        .checks
        .iter()
        .filter(|check| check.status == verdict && check.permission.is_some())
        .map(|check| {
            format!(
                "{} {}",
                check.permission.as_deref().unwrap_or_default(),
                last(&check.scope)
            )
        })
        .collect()
}

#[test]
fn with_all_permissions_everything_passes() {
    let world = World::new();
    let status = world.preflight(intents(&Verb::ALL));
    assert!(status.passed(), "{status:#?}");
    assert_eq!(status.nic, Some(world.nic_id(ROUTER)));
    assert!(
        status
            .identity
            .is_some_and(|identity| identity.contains("routerd-cloud"))
    );
    assert_eq!(
        permissions(
            &World::new().preflight(intents(&Verb::ALL)),
            PreflightVerdict::Pass
        )
        .len(),
        9
    );
}

/// The story of the first field report: a role on the NIC alone lets it be read, and neither written nor found.
#[test]
fn a_role_on_the_nic_alone_is_not_enough() {
    let world = World::without_roles();
    let nic = world.nic_id(ROUTER);
    world.grant(ROUTER, &nic);
    let mut asked = intents(&[Verb::EnsureForwardingEnabled, Verb::AssignSecondaryIp]);
    let unfound = world.preflight(asked.clone());
    assert!(
        !unfound.passed(),
        "finding the own NIC takes reading the group: {unfound:#?}"
    );
    for intent in &mut asked {
        intent.target.nic_ref = Some(nic.clone());
    }
    let status = world.preflight(asked);
    assert!(!status.passed());
    assert_eq!(
        permissions(&status, PreflightVerdict::Pass),
        [
            "Microsoft.Network/networkInterfaces/read ce-router-nic",
            "Microsoft.Network/networkInterfaces/write ce-router-nic",
        ]
    );
    assert_eq!(
        permissions(&status, PreflightVerdict::Fail),
        [
            "Microsoft.Network/virtualNetworks/subnets/join/action ce-subnet",
            "Microsoft.Network/networkSecurityGroups/join/action ce-nsg",
        ]
    );

    let tried = world.run(Verb::AssignSecondaryIp, Mode::Execute, |spec| {
        spec.target.nic_ref = Some(nic.clone());
    });
    let error = tried.error.clone().expect("an error");
    assert_eq!(class(&tried), "authorization");
    assert_eq!(
        error.permission.as_deref(),
        Some("Microsoft.Network/virtualNetworks/subnets/join/action")
    );
    assert!(error.hint.is_some_and(|hint| hint.contains("not enough")));

    let group = world.azure.borrow().site().group_id();
    world.grant(ROUTER, &group);
    let widened = world.preflight(intents(&[
        Verb::EnsureForwardingEnabled,
        Verb::AssignSecondaryIp,
    ]));
    assert!(widened.passed(), "{widened:#?}");
    succeeded(
        &world.run(Verb::AssignSecondaryIp, Mode::Execute, |_| ()),
        true,
    );
}

/// What the NIC's ip-configurations hang on takes permissions too.
#[test]
fn what_the_nic_hangs_on_is_checked_as_well() {
    let world = World::without_roles();
    let id = |kind: &str, name: &str| world.azure.borrow().site().resource_id(kind, name);
    let nic = world.nic_id(ROUTER);
    for scope in [
        nic.clone(),
        id("virtualNetworks", "ce-vnet"),
        id("networkSecurityGroups", GROUP),
    ] {
        world.grant(ROUTER, &scope);
    }
    let public = id("publicIPAddresses", "router-ip");
    let pool = format!("{}/backendAddressPools/p", id("loadBalancers", "lb"));
    let mut configs = world.shown(&nic).expect("the NIC")["properties"]["ipConfigurations"].take();
    configs[0]["properties"]["publicIPAddress"] = serde_json::json!({"id": public});
    configs[0]["properties"]["applicationSecurityGroups"] =
        serde_json::json!([{"id": id("applicationSecurityGroups", "routers")}]);
    configs[0]["properties"]["loadBalancerBackendAddressPools"] = serde_json::json!([{"id": pool}]);
    let attached = Effect::Race {
        pointer: "/properties/ipConfigurations".to_owned(),
        value: configs,
    };
    world.fault(Fault::next(attached).on("GET", "networkInterfaces/ce-router-nic"));
    let mut asked = intents(&[Verb::EnsureForwardingEnabled]);
    asked[0].target.nic_ref = Some(nic.clone());
    assert_eq!(
        permissions(&world.preflight(asked), PreflightVerdict::Fail),
        [
            "Microsoft.Network/publicIPAddresses/join/action router-ip",
            "Microsoft.Network/applicationSecurityGroups/joinIpConfiguration/action routers",
            "Microsoft.Network/loadBalancers/backendAddressPools/join/action p",
        ]
    );
    let tried = world.run(Verb::EnsureForwardingEnabled, Mode::Execute, |spec| {
        spec.target.nic_ref = Some(nic.clone());
    });
    let error = tried.error.expect("an error");
    assert_eq!(
        error.permission.as_deref(),
        Some("Microsoft.Network/publicIPAddresses/join/action")
    );
    assert_eq!(error.scope, Some(public));
}

#[test]
fn only_the_security_group_is_missing() {
    let world = World::without_roles();
    let azure_id = |kind: &str, name: &str| world.azure.borrow().site().resource_id(kind, name);
    let nic = world.nic_id(ROUTER);
    world.grant(ROUTER, &nic);
    world.grant(ROUTER, &azure_id("virtualNetworks", "ce-vnet"));
    let named =
        |spec: &mut api::action::protocol::ExecuteSpec| spec.target.nic_ref = Some(nic.clone());
    let tried = world.run(Verb::EnsureForwardingEnabled, Mode::Execute, named);
    let error = tried.error.expect("an error");
    assert_eq!(
        error.permission.as_deref(),
        Some("Microsoft.Network/networkSecurityGroups/join/action")
    );
    assert_eq!(error.scope, Some(azure_id("networkSecurityGroups", GROUP)));
    world.grant(ROUTER, &azure_id("networkSecurityGroups", GROUP));
    let done = world.run(Verb::EnsureForwardingEnabled, Mode::Execute, named);
    succeeded(&done, true);
    present(&done);
}

#[test]
fn a_route_without_permission_names_it() {
    let world = World::without_roles();
    let nic = world.nic_id(ROUTER);
    world.grant(ROUTER, &nic);
    let table = world.azure.borrow().site().table_id(&"ce-routes".into());
    let tried = world.run(Verb::EnsureRoute, Mode::Execute, |spec| {
        spec.target.nic_ref = Some(nic.clone());
        spec.target.route_table_ref = Some(table.clone());
    });
    let error = tried.error.expect("an error");
    assert_eq!(
        error.permission.as_deref(),
        Some("Microsoft.Network/routeTables/read")
    );
    assert_eq!(error.scope, Some(table));
}

#[test]
fn forwarding_that_nobody_plans_is_a_warning_and_a_full_nic_a_failure() {
    let world = World::new();
    let status = world.preflight(intents(&[Verb::AssignSecondaryIp]));
    let forwarding = status
        .checks
        .iter()
        .find(|check| check.name == "forwarding");
    assert_eq!(
        forwarding.map(|check| check.status),
        Some(PreflightVerdict::Warn)
    );
    assert!(status.passed());
    let many: Vec<serde_json::Value> = (0..256)
        .map(|number| serde_json::json!({"name": format!("c{number}"), "properties": {"primary": number == 0}}))
        .collect();
    let full = Effect::Race {
        pointer: "/properties/ipConfigurations".to_owned(),
        value: many.into(),
    };
    world.fault(Fault::next(full).on("GET", "networkInterfaces/ce-router-nic"));
    let status = world.preflight(intents(&[Verb::AssignSecondaryIp]));
    let quota = status.checks.iter().find(|check| check.name == "quota");
    assert_eq!(
        quota.map(|check| check.status),
        Some(PreflightVerdict::Fail)
    );
}

#[test]
fn without_an_identity_the_preflight_says_so() {
    let world = World::new();
    world.azure.borrow_mut().site_mut().machines.clear();
    let status = world.preflight(intents(&[Verb::AssignSecondaryIp]));
    assert_eq!(status.identity, None);
    let [check] = &status.checks[..] else {
        panic!("{status:#?}");
    };
    assert_eq!(
        (check.name.as_str(), check.status),
        ("identity", PreflightVerdict::Fail)
    );
    assert!(
        check
            .hint
            .as_deref()
            .is_some_and(|hint| hint.contains("az vm identity assign"))
    );
}
