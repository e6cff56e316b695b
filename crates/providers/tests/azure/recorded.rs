//! The executor against the recorded answers that the official clients were given: what it sends must be what
//! they sent, in method, path, query and body.
//!
//! Two things differ on purpose: the interface version, which each client chooses for itself, and `If-Match`,
//! which the official clients leave out.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::time::Duration;

use api::action::Verb;
use api::action::protocol::{ApiVersion, Envelope, ExecuteSpec, ExecutorRequest, Mode};
use providers::azure::Azure;
use providers::clock::Clock;
use providers::executor::{self, Session};
use providers::http::{Request, Response, Transport, TransportError};
use serde_json::{Value, json};

use crate::world::World;

const SDK: &str = include_str!("../../../../tests/wire/azure_mgmt_network_tls.jsonl");
const CLI: &str = include_str!("../../../../tests/wire/azure_cli.jsonl");
const MOVE: &str = include_str!("../../../../tests/wire/azure_move_ip.jsonl");
const IDENTITY: &str = include_str!("../../../../tests/wire/azure_imds_msi.jsonl");

/// A recorded request, or one of ours.
#[derive(Debug, Clone, PartialEq)]
struct Sent {
    method: String,
    path: String,
    query: BTreeMap<String, String>,
    body: Value,
}

fn sent(method: &str, url: &str, body: Value) -> Sent {
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut query: BTreeMap<String, String> = pairs
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    if let Some(version) = query.get_mut("api-version") {
        "any".clone_into(version);
    }
    Sent {
        method: method.to_owned(),
        path: path.to_owned(),
        query,
        body,
    }
}

/// A recorded exchange: the request, and the body of its answer.
fn recording(file: &str, label: &str, method: &str) -> (Sent, Value) {
    let line = file
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a recording"))
        .find(|line| line["label"] == label && line["method"] == method)
        .unwrap_or_else(|| panic!("no recording of {method} {label}"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let body = |text: String| serde_json::from_str(&text).unwrap_or(Value::Null);
    let request = sent(method, &text(&line["path"]), body(text(&line["body"])));
    (request, body(text(&line["resp"][2])))
}

/// Serves documents; what is written is there from then on.
struct Replay {
    documents: RefCell<BTreeMap<String, Value>>,
    requests: RefCell<Vec<Sent>>,
}

impl Replay {
    fn new(documents: Vec<Value>) -> Self {
        let id = |document: &Value| document["id"].as_str().expect("an id").to_owned();
        Self {
            documents: RefCell::new(documents.into_iter().map(|one| (id(&one), one)).collect()),
            requests: RefCell::default(),
        }
    }

    fn writes(&self) -> Vec<Sent> {
        let requests = self.requests.borrow();
        requests
            .iter()
            .filter(|one| one.method != "GET")
            .cloned()
            .collect()
    }

    fn run(&self, verb: Verb, change: impl Fn(&mut ExecuteSpec)) {
        let mut spec = World::new().spec(verb, Mode::Execute);
        change(&mut spec);
        let request = ExecutorRequest::ExecuteActionRequest(Envelope {
            api_version: ApiVersion::V1Alpha1,
            spec,
        });
        let session = Session {
            api: self,
            metadata: self,
            clock: self,
            environment: BTreeMap::new(),
        };
        executor::answer::<Azure>(&request, &session);
    }

    fn answer(&self, asked: &Sent) -> (u16, Value) {
        let mut documents = self.documents.borrow_mut();
        let table = asked
            .path
            .rsplit_once("/routes/")
            .map(|(table, _)| table.to_owned());
        match asked.method.as_str() {
            "GET" if asked.path.ends_with("/networkInterfaces") => {
                let nics: Vec<&Value> = documents.values().collect();
                (200, json!({"value": nics}))
            }
            "GET" => match documents.get(&asked.path) {
                Some(document) => (200, document.clone()),
                None => (
                    404,
                    json!({"error": {"code": "ResourceNotFound", "message": ""}}),
                ),
            },
            "PUT" => {
                let mut document = asked.body.clone();
                document["id"] = json!(asked.path);
                documents.insert(asked.path.clone(), document.clone());
                (201, document)
            }
            "DELETE" => {
                documents.remove(&asked.path);
                if let Some(table) = table.and_then(|table| documents.get_mut(&table)) {
                    table["properties"]["routes"] = json!([]);
                }
                (204, Value::Null)
            }
            _ => (
                400,
                json!({"error": {"code": "Recorded", "message": "enough"}}),
            ),
        }
    }
}

impl Transport for Replay {
    fn exchange(&self, request: &Request, _: Duration) -> Result<Response, TransportError> {
        let place = request.url.find("://").map_or(0, |at| at + 3);
        let slash = request.url[place..]
            .find('/')
            .map_or(request.url.len(), |at| place + at);
        let body = request.body.clone().unwrap_or(Value::Null);
        let asked = sent(request.method.as_str(), &request.url[slash..], body);
        self.requests.borrow_mut().push(asked.clone());
        let (status, body) = if asked.path.starts_with("/metadata/") {
            (200, json!({"access_token": "T"}))
        } else {
            self.answer(&asked)
        };
        Ok(Response {
            status,
            headers: vec![("etag".to_owned(), "W/\"e1\"".to_owned())],
            body: body.to_string().into_bytes(),
        })
    }
}

impl Clock for Replay {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }

    fn sleep(&self, _: Duration) {}

    fn jitter(&self) -> f64 {
        0.0
    }
}

fn nic_ref(nic: &Value) -> Option<String> {
    nic["id"].as_str().map(str::to_owned)
}

/// The command line client sends the type of an ip-configuration back, the library does not; Azure ignores it.
fn without_types(mut sent: Sent) -> Sent {
    let configs = sent.body.pointer_mut("/properties/ipConfigurations");
    for config in configs.and_then(Value::as_array_mut).into_iter().flatten() {
        config.as_object_mut().map(|config| config.remove("type"));
    }
    sent
}

#[test]
fn forwarding_is_written_as_the_official_clients_write_it() {
    for (file, read, write) in [
        (SDK, "GET nic", "PUT nic enableIPForwarding"),
        (CLI, "nic show", "nic update ip-forwarding"),
    ] {
        let (_, nic) = recording(file, read, "GET");
        let (expected, _) = recording(file, write, "PUT");
        let replay = Replay::new(vec![nic.clone()]);
        replay.run(Verb::EnsureForwardingEnabled, |spec| {
            spec.target.nic_ref = nic_ref(&nic)
        });
        assert_eq!(replay.writes(), [without_types(expected)], "{write}");
    }
}

#[test]
fn an_address_is_added_as_the_official_clients_add_it() {
    for (file, read, write, name, forwarding) in [
        (
            SDK,
            "GET nic",
            "PUT nic add ipconfig",
            "mob-10-0-0-50",
            true,
        ),
        (CLI, "nic show", "ip-config create", "mob", false),
    ] {
        let (_, mut nic) = recording(file, read, "GET");
        nic["properties"]["enableIPForwarding"] = json!(forwarding);
        let (expected, _) = recording(file, write, "PUT");
        let replay = Replay::new(vec![nic.clone()]);
        replay.run(Verb::AssignSecondaryIp, |spec| {
            spec.target.nic_ref = nic_ref(&nic);
            spec.target.address = Some("10.0.0.50".parse().expect("address"));
            spec.parameters.name = Some(name.to_owned());
        });
        assert_eq!(replay.writes(), [without_types(expected)], "{write}");
    }
}

/// A route table without routes, as the recorded requests name it.
fn table(route: &Sent) -> Value {
    let (table, _) = route.path.split_once("/routes/").expect("a route");
    json!({"id": table, "properties": {"routes": []}})
}

#[test]
fn a_route_is_written_as_the_official_clients_write_it() {
    for (file, label) in [(SDK, "PUT route"), (CLI, "route create")] {
        let (mut expected, _) = recording(file, label, "PUT");
        // The command line client repeats the name, which stands in the path.
        expected
            .body
            .as_object_mut()
            .map(|body| body.remove("name"));
        let table = table(&expected);
        let replay = Replay::new(vec![table.clone()]);
        replay.run(Verb::EnsureRoute, |spec| {
            spec.target.route_table_ref = nic_ref(&table);
            spec.target.address = Some("10.9.9.9".parse().expect("address"));
            spec.parameters.next_hop = Some("10.0.0.4".parse().expect("address"));
            spec.parameters.name = Some("mob".to_owned());
        });
        assert_eq!(replay.writes(), [expected], "{label}");
    }
}

#[test]
fn a_route_is_removed_as_the_official_clients_remove_it() {
    for (file, label) in [(SDK, "DELETE route"), (CLI, "route delete")] {
        let (expected, _) = recording(file, label, "DELETE");
        let mut table = table(&expected);
        let mut route = recording(SDK, "PUT route", "PUT").0.body;
        route["id"] = json!(expected.path);
        route["name"] = json!("mob");
        table["properties"]["routes"] = json!([route]);
        let replay = Replay::new(vec![table.clone(), route]);
        replay.run(Verb::RemoveRoute, |spec| {
            spec.target.route_table_ref = nic_ref(&table);
            spec.target.address = Some("10.9.9.9".parse().expect("address"));
            spec.parameters.next_hop = Some("10.0.0.4".parse().expect("address"));
        });
        assert_eq!(replay.writes(), [expected], "{label}");
    }
}

#[test]
fn an_address_is_moved_as_the_official_client_moves_it() {
    let (expected, _) = recording(MOVE, "VirtualNetworks_MoveIpConfigurations", "POST");
    let nic = |name: &str, configs: Value| {
        let group = "/subscriptions/sub/resourceGroups/rg/providers/Microsoft.Network";
        json!({
            "id": format!("{group}/networkInterfaces/{name}"),
            "properties": {"ipConfigurations": configs},
        })
    };
    let config = |name: &str, address: &str, primary: bool| {
        let subnet = "/subscriptions/sub/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/vnet/subnets/s";
        json!({"name": name, "properties": {
            "privateIPAddress": address, "primary": primary, "subnet": {"id": subnet},
        }})
    };
    let source = nic(
        "nic1",
        json!([
            config("c", "10.0.0.4", true),
            config("mob", "10.0.0.50", false)
        ]),
    );
    let target = nic("nic2", json!([config("c", "10.0.0.5", true)]));
    let replay = Replay::new(vec![source, target.clone()]);
    replay.run(Verb::AssignSecondaryIp, |spec| {
        spec.target.nic_ref = nic_ref(&target);
        spec.target.address = Some("10.0.0.50".parse().expect("address"));
        spec.parameters.name = Some("mob".to_owned());
        spec.parameters.allow_reassignment = true;
    });
    assert_eq!(replay.writes().first(), Some(&expected));
}

#[test]
fn a_token_is_asked_for_as_the_official_client_asks() {
    let (expected, _) = recording(IDENTITY, "system-assigned", "GET");
    let replay = Replay::new(Vec::new());
    replay.run(Verb::EnsureForwardingEnabled, |spec| {
        spec.target.nic_ref = Some(
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n"
                .to_owned(),
        );
    });
    assert_eq!(replay.requests.borrow().first(), Some(&expected));
}
