//! Cloud APIs in front of a fabric's state table.
//!
//! Each cloud is a pure function from a request to a reply over its own control-plane state and the fabric's
//! [`FabricState`]: [`azure`]. No sockets, no clock: time is an argument, so that tests drive a cloud without
//! either. [`serve`] puts one behind HTTP(S), [`running`] into a lab, [`api`] on loopback alone; [`fault`] makes it
//! misbehave on demand, [`knobs`] are for the lab's own questions, [`throttle`] limits it.
//!
//! A further cloud is a module that implements [`Cloud`] and [`api::Alone`].

pub mod api;
pub mod azure;
pub mod fault;
mod json;
pub mod knobs;
pub mod running;
pub mod serve;
pub mod throttle;
pub mod tls;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::fabric::{FabricState, NicId};
use knobs::Knobs;

/// One request as the wire brought it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `PUT` …
    pub method: String,
    /// `scheme://host:port` under which the caller reached us: links in answers begin with it.
    pub base: String,
    /// The path, percent-decoded.
    pub path: String,
    /// Query parameters, decoded.
    pub query: BTreeMap<String, String>,
    /// Headers; names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
    /// The NIC that the request came from, where that is known: metadata services answer by it.
    pub from: Option<NicId>,
}

impl Request {
    /// A header by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// A query parameter.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str)
    }
}

/// One response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers beside `content-length`; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// A JSON document.
    pub fn json(status: u16, document: &serde_json::Value) -> Self {
        Self {
            status,
            headers: vec![(
                "content-type".to_owned(),
                "application/json; charset=utf-8".to_owned(),
            )],
            body: document.to_string().into_bytes(),
        }
    }

    /// Nothing but a status.
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// What the server does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// Waits this long before it answers.
    pub after: Duration,
    /// The answer; nothing: the connection is closed without one.
    pub response: Option<Response>,
}

impl From<Response> for Reply {
    fn from(response: Response) -> Self {
        Self {
            after: Duration::ZERO,
            response: Some(response),
        }
    }
}

/// A cloud's API.
pub trait Cloud {
    /// Answers a request. `now` counts from an origin of the caller's choice and never goes back.
    fn handle(&mut self, fabric: &mut FabricState, now: Duration, request: &Request) -> Reply;

    /// Ends what has become due without a request: operations in progress reach the fabric's packets.
    fn advance(&mut self, fabric: &mut FabricState, now: Duration);

    /// What the lab keeps for itself: faults, and what was asked.
    fn knobs(&mut self) -> &mut Knobs;

    /// Changes how the cloud behaves, as this JSON document says.
    ///
    /// # Errors
    /// When it does not make sense.
    fn behave(&mut self, wanted: &[u8]) -> Result<(), serde_json::Error>;

    /// A token of somebody who may do everything.
    fn operator_token(&mut self, now: Duration) -> String;
}
