//! Virtual networks: free addresses, and the preview that moves ip-configurations.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::dispatch::body;
use super::documents::config_id;
use super::nic::{WRITE, is_reserved};
use super::operation::{Ending, Moving, Work};
use super::store::Progress;
use super::{Answer, Azure, Call, Refusal};
use crate::cloud::Response;
use crate::cloud::json::{list, text};
use crate::fabric::FabricState;

const MOVE: &str = "Microsoft.Network/virtualNetworks/moveIpConfigurations/action";

/// An ip-configuration on its way.
struct Move {
    source: String,
    target: String,
    from: String,
    to: String,
}

impl Azure {
    /// `GET …/virtualNetworks/V/checkIPAddressAvailability?ipAddress=A`.
    pub(super) fn check_address(
        &self,
        fabric: &FabricState,
        call: &Call<'_>,
        path: &str,
    ) -> Answer {
        let network = path.rsplit_once('/').map_or(path, |(network, _)| network);
        self.roles.check(
            &call.principal,
            "Microsoft.Network/virtualNetworks/read",
            network,
        )?;
        let asked = call.request.parameter("ipAddress").unwrap_or_default();
        let address: Ipv4Addr = asked.parse().map_err(|_| {
            Refusal::invalid(
                "InvalidIPAddress",
                format!("'{asked}' is not an IP address."),
            )
        })?;
        let subnet = fabric
            .subnets()
            .values()
            .map(|subnet| subnet.prefix)
            .find(|prefix| prefix.contains(&address))
            .ok_or_else(|| {
                Refusal::invalid(
                    "PrivateIPAddressNotInAnySubnet",
                    format!("{address} is in no subnet."),
                )
            })?;
        let is_free =
            |address: Ipv4Addr| !is_reserved(subnet, address) && self.holder(address).is_none();
        let mut answer = json!({"available": is_free(address), "isPlatformReserved": is_reserved(subnet, address)});
        if !is_free(address) {
            let others: Vec<String> = subnet
                .hosts()
                .filter(|other| is_free(*other))
                .take(5)
                .map(|other| other.to_string())
                .collect();
            answer["availableIPAddresses"] = json!(others);
        }
        Ok(Response::json(200, &answer))
    }

    /// `POST …/virtualNetworks/V/moveIpConfigurations`.
    pub(super) fn move_configs(&mut self, call: &Call<'_>, path: &str) -> Answer {
        let network = path.rsplit_once('/').map_or(path, |(network, _)| network);
        let version = call.request.parameter("api-version").unwrap_or_default();
        if version < "2025-09-01" {
            return Err(Refusal::invalid(
                "NoRegisteredProviderFound",
                format!(
                    "The api-version '{version}' does not support the action moveIpConfigurations."
                ),
            ));
        }
        self.roles.check(&call.principal, MOVE, network)?;
        if !self.site.atomic_move {
            return Err(Refusal::invalid(
                "SubscriptionNotRegisteredForFeature",
                format!(
                    "Subscription {} is not registered for the preview required to carry out the requested \
                     operation.",
                    self.site.subscription_id()
                ),
            ));
        }
        let request = body(call)?;
        let items = list(&request, "/moveIpConfigurationItems");
        let [item] = items else {
            return Err(Refusal::invalid(
                "InvalidRequestFormat",
                "The fabric moves one ip configuration at a time.",
            ));
        };
        let moving = read(item)?;
        self.begin_move(call, &moving)
    }

    fn begin_move(&mut self, call: &Call<'_>, moving: &Move) -> Answer {
        for nic in [&moving.source, &moving.target] {
            self.roles.check(&call.principal, WRITE, nic)?;
            if self.store.get(nic).is_none() {
                return Err(Refusal::not_found(nic));
            }
            self.store.check_change(nic, call.request)?;
        }
        let (source, target) = self.moved(moving)?;
        let before = self.both(moving)?;
        let work = Moving {
            ids: [moving.source.clone(), moving.target.clone()],
            before,
        };
        let operation = self.begin(call, Work::Move(Box::new(work)));
        let progress = Progress::Updating(operation.clone());
        self.store.put(&moving.source, source, progress.clone());
        self.store.put(&moving.target, target, progress);
        Ok(self.accepted(call, Response::empty(202), &operation))
    }

    fn both(&self, moving: &Move) -> Result<[Value; 2], Refusal> {
        let body_of = |id: &str| {
            let document = self.store.get(id).ok_or_else(|| Refusal::not_found(id))?;
            Ok(document.body.clone())
        };
        Ok([body_of(&moving.source)?, body_of(&moving.target)?])
    }

    /// Both representations after a move.
    fn moved(&self, moving: &Move) -> Result<(Value, Value), Refusal> {
        let [mut source, mut target] = self.both(moving)?;
        let named = |config: &Value, name: &str| {
            text(config, "/name").is_some_and(|own| own.eq_ignore_ascii_case(name))
        };
        let configs = configs_of(&mut source);
        let at = configs
            .iter()
            .position(|config| named(config, &moving.from))
            .ok_or_else(|| Refusal::not_found(&config_id(&moving.source, &moving.from)))?;
        if configs[at].pointer("/properties/primary") == Some(&Value::Bool(true)) {
            return Err(Refusal::invalid(
                "IpConfigDeleteNotSupported",
                format!(
                    "IP Configuration {} is primary and cannot be moved.",
                    moving.from
                ),
            ));
        }
        let mut config = configs.remove(at);
        let there = configs_of(&mut target);
        if there.iter().any(|other| named(other, &moving.to)) {
            return Err(Refusal::invalid(
                "InvalidRequestFormat",
                format!("The ip configuration {} is there already.", moving.to),
            ));
        }
        config["name"] = json!(moving.to);
        config["id"] = json!(config_id(&moving.target, &moving.to));
        there.push(config);
        Ok((source, target))
    }

    /// A move that loses the address between its halves.
    pub(super) fn half_a_move(
        &mut self,
        fabric: &mut FabricState,
        moving: &Moving,
    ) -> Result<(), (String, String)> {
        let [source, _] = &moving.ids;
        self.apply_nic(fabric, source)?;
        Err((
            "InternalServerError".to_owned(),
            "An error occurred while the ip configuration was moved.".to_owned(),
        ))
    }

    /// What a move that has ended leaves behind: of one that failed, what was before; of half a one, the
    /// target as it was.
    pub(super) fn end_move(&mut self, moving: &Moving, ending: &Ending, well: bool) {
        let [source, target] = &moving.ids;
        let [source_before, target_before] = &moving.before;
        if well {
            self.store.set_progress(source, Progress::Settled);
            self.store.set_progress(target, Progress::Settled);
            return;
        }
        if *ending == Ending::Half {
            self.store.set_progress(source, Progress::Failed);
        } else {
            self.store
                .put(source, source_before.clone(), Progress::Settled);
        }
        self.store
            .put(target, target_before.clone(), Progress::Settled);
    }
}

fn configs_of(nic: &mut Value) -> &mut Vec<Value> {
    let configs = &mut nic["properties"]["ipConfigurations"];
    if !configs.is_array() {
        *configs = json!([]);
    }
    match configs {
        Value::Array(configs) => configs,
        _ => unreachable!("made an array just before"),
    }
}

fn read(item: &Value) -> Result<Move, Refusal> {
    let split = |pointer: &str| {
        let id = text(item, pointer).unwrap_or_default();
        id.split_once("/ipConfigurations/")
            .map(|(nic, name)| (nic.to_owned(), name.to_owned()))
            .ok_or_else(|| {
                Refusal::invalid(
                    "InvalidRequestFormat",
                    format!("'{id}' is not the id of an ip configuration."),
                )
            })
    };
    let (source, from) = split("/sourceIpConfiguration/id")?;
    let (target, to) = split("/targetIpConfiguration/id")?;
    Ok(Move {
        source,
        target,
        from,
        to,
    })
}
