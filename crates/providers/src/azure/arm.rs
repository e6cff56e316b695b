//! One call of Resource Manager: endpoint, token, errors, long-running operations, lists.

use std::net::IpAddr;
use std::time::Duration;

use api::action::ErrorClass;
use api::action::protocol::{ExecutionContext, ProviderProfile};
use serde_json::Value;

use super::errors::ArmError;
use super::id::ArmId;
use super::identity::Identity;
use super::metadata::MetadataService;
use super::resource::Resource;
use crate::executor::Session;
use crate::fault::Fault;
use crate::http::client::{Client, Reply};
use crate::http::{Method, Request, Response, host, origin};

/// Version of the network interface that reads and writes speak.
pub(super) const NETWORK: &str = "2025-07-01";
/// The first version with `moveIpConfigurations` is 2025-09-01; the one recorded from the official client.
pub(super) const MOVE: &str = "2026-03-01";
/// Version of the authorization interface.
pub(super) const AUTHORIZATION: &str = "2022-04-01";

/// Where the public cloud's API is, and what its tokens are for; also those of a lab in its place.
const PUBLIC: &str = "https://management.azure.com";
/// Clouds whose tokens are for their own endpoint.
const SOVEREIGN: [&str; 2] = [
    "https://management.usgovcloudapi.net",
    "https://management.chinacloudapi.cn",
];
/// The pause between looks at an operation when the server names none.
const POLL: Duration = Duration::from_secs(2);
/// The pause when the server says that none is needed.
const SHORTEST: Duration = Duration::from_millis(100);
/// The longest list read, in pages.
const MAX_PAGES: usize = 1000;

/// What became of a change.
#[derive(Debug)]
pub(super) enum Written {
    /// The operation ended well.
    Done,
    /// It was not looked at: somebody else was faster or is at it.
    Raced(Fault),
    /// It may have been carried out, or half.
    Unsure(Fault),
}

impl Written {
    /// Why it is not done.
    pub(super) fn fault(self) -> Option<Fault> {
        match self {
            Self::Done => None,
            Self::Raced(fault) | Self::Unsure(fault) => Some(fault),
        }
    }
}

/// Resource Manager, as one identity.
pub(super) struct Arm<'a> {
    pub(super) client: Client<'a>,
    identity: Identity<'a>,
    endpoint: String,
    profile: ProviderProfile,
}

impl<'a> Arm<'a> {
    /// Prepares; nothing is asked yet.
    ///
    /// # Errors
    /// When the profile's endpoint is not one that a token may be sent to.
    pub(super) fn open(
        session: &'a Session<'a>,
        context: &ExecutionContext,
        deadline: Duration,
    ) -> Result<Self, Fault> {
        let endpoint = match &context.profile.endpoint {
            Some(url) => checked_endpoint(url)?,
            None => PUBLIC.to_owned(),
        };
        Ok(Self {
            client: Client::new(session.api, session.clock, deadline),
            identity: Identity::new(
                &context.profile.auth,
                MetadataService::open(session, deadline),
                audience(&endpoint).to_owned(),
                session.environment.get("AZURE_CLIENT_ID").cloned(),
            ),
            endpoint,
            profile: context.profile.clone(),
        })
    }

    /// Who we are.
    pub(super) fn whoami(&self) -> Result<String, Fault> {
        self.identity.describe()
    }

    /// The group to look for resources in: the profile's, else the machine's.
    pub(super) fn group_of(&self, subscription: &str, group: &str) -> String {
        let subscription = self
            .profile
            .subscription_id
            .as_deref()
            .unwrap_or(subscription);
        let group = self.profile.resource_group.as_deref().unwrap_or(group);
        format!("/subscriptions/{subscription}/resourceGroups/{group}")
    }

    /// Reads a resource; nothing if there is none.
    pub(super) fn get(&self, path: &str, version: &str) -> Result<Option<Resource>, Fault> {
        let request = Request::new(Method::Get, self.url(path, version));
        let response = self.read(&request)?;
        if response.status == 404 {
            return Ok(None);
        }
        let document = expect(&request, &response)?;
        Ok(Some(Resource::new(document, response.header("etag"))))
    }

    /// Reads a resource when no operation on it is in progress any more; nothing if there is none.
    pub(super) fn settled(&self, id: &ArmId) -> Result<Option<Resource>, Fault> {
        loop {
            match self.get(id.as_str(), NETWORK)? {
                Some(resource) if resource.is_changing() => self.await_operation(id)?,
                other => return Ok(other),
            }
        }
    }

    /// Waits a little for the operation in progress on a resource.
    pub(super) fn await_operation(&self, id: &ArmId) -> Result<(), Fault> {
        self.client
            .pause(POLL, &format!("the operation in progress on {id}"))
    }

    /// All entries of a list, over all its pages.
    pub(super) fn list(&self, path: &str) -> Result<Vec<Resource>, Fault> {
        self.list_version(path, NETWORK)
    }

    /// As [`Self::list`], of another interface version.
    pub(super) fn list_version(&self, path: &str, version: &str) -> Result<Vec<Resource>, Fault> {
        let mut url = self.url(path, version);
        let mut entries = Vec::new();
        for _ in 0..MAX_PAGES {
            let request = Request::new(Method::Get, url);
            let page = expect(&request, &self.read(&request)?)?;
            let values = page.get("value").and_then(Value::as_array);
            entries.extend(
                values
                    .into_iter()
                    .flatten()
                    .map(|value| Resource::new(value.clone(), None)),
            );
            match page.get("nextLink").and_then(Value::as_str) {
                Some(next) if !next.is_empty() => url = self.own_link(next)?,
                _ => return Ok(entries),
            }
        }
        Err(Fault::new(
            ErrorClass::Invalid,
            format!("the list {path} has more than {MAX_PAGES} pages"),
        ))
    }

    /// Creates a resource, or replaces the representation `read` that `body` was made from. Whoever was faster
    /// makes it a lost race.
    pub(super) fn put(
        &self,
        id: &ArmId,
        body: Value,
        read: Option<&Resource>,
    ) -> Result<Written, Fault> {
        let request = Request::new(Method::Put, self.url(id.as_str(), NETWORK)).json(body);
        self.change(match read {
            Some(resource) => guarded(request, resource),
            None => request.header("if-none-match", "*"),
        })
    }

    /// Removes a resource as it was read.
    pub(super) fn delete(&self, id: &ArmId, read: Option<&Resource>) -> Result<Written, Fault> {
        let request = Request::new(Method::Delete, self.url(id.as_str(), NETWORK));
        self.change(match read {
            Some(resource) => guarded(request, resource),
            None => request,
        })
    }

    /// Starts an action of a resource and follows it to its end.
    pub(super) fn post(&self, path: &str, version: &str, body: Value) -> Result<Written, Fault> {
        self.change(Request::new(Method::Post, self.url(path, version)).json(body))
    }

    fn change(&self, request: Request) -> Result<Written, Fault> {
        let response = match self.call(&request)? {
            Reply::Lost(fault) => return Ok(Written::Unsure(fault)),
            Reply::Answered(response) => response,
        };
        if response.is_success() {
            return self.follow(&request, &response);
        }
        let error = ArmError::of(&response);
        let mut fault = error.fault(response.status, &request);
        if let Some(pause) = response.retry_after() {
            fault = fault.retry_after(pause);
        }
        match response.status {
            500..=599 => Ok(Written::Unsure(fault)),
            status if error.is_race(status) => Ok(Written::Raced(fault)),
            _ => Err(fault),
        }
    }

    /// Follows an accepted change to its end: `Azure-AsyncOperation` if there is one, else `Location`. With
    /// neither, or where a narrow role does not let us look at operations, the resource's own provisioning state
    /// tells, which the reading back looks at.
    fn follow(&self, change: &Request, accepted: &Response) -> Result<Written, Fault> {
        let (link, by_status) = match (
            accepted.header("azure-asyncoperation"),
            accepted.header("location"),
        ) {
            (Some(link), _) => (link, true),
            (None, Some(link)) if accepted.status == 202 => (link, false),
            _ => return Ok(Written::Done),
        };
        let poll = Request::new(Method::Get, self.own_link(link)?);
        let pause_of = |answer: &Response| answer.retry_after().unwrap_or(POLL).max(SHORTEST);
        let mut pause = pause_of(accepted);
        loop {
            self.client.pause(
                pause,
                &format!("the end of {} {}", change.method, change.place()),
            )?;
            let response = self.read(&poll)?;
            if matches!(response.status, 403 | 404) {
                return Ok(Written::Done);
            }
            pause = pause_of(&response);
            if !by_status {
                match response.status {
                    202 => continue,
                    _ if response.is_success() => return Ok(Written::Done),
                    _ => return ended(change, response.status, response.json().as_ref()),
                }
            }
            let document = expect(&poll, &response)?;
            match document.get("status").and_then(Value::as_str) {
                Some("Succeeded") => return Ok(Written::Done),
                Some("Failed" | "Canceled") => return ended(change, 200, Some(&document)),
                _ => {}
            }
        }
    }

    /// A read: a lost answer has been tried again already.
    fn read(&self, request: &Request) -> Result<Response, Fault> {
        match self.call(request)? {
            Reply::Answered(response) => Ok(response),
            Reply::Lost(fault) => Err(fault),
        }
    }

    /// Sends with a token; with a new one, once, if the server refuses the token.
    fn call(&self, request: &Request) -> Result<Reply, Fault> {
        let reply = self.send(request)?;
        match &reply {
            Reply::Answered(response) if response.status == 401 => {
                self.identity.discard();
                self.send(request)
            }
            _ => Ok(reply),
        }
    }

    fn send(&self, request: &Request) -> Result<Reply, Fault> {
        let bearer = format!("Bearer {}", self.identity.token()?);
        self.client
            .send(&request.clone().header("authorization", bearer))
    }

    fn url(&self, path: &str, version: &str) -> String {
        format!("{}{path}?api-version={version}", self.endpoint)
    }

    /// A link from an answer, which may point nowhere but to the endpoint: the token travels with it.
    fn own_link(&self, link: &str) -> Result<String, Fault> {
        if origin(link).is_some_and(|o| o.eq_ignore_ascii_case(&self.endpoint)) {
            return Ok(link.to_owned());
        }
        Err(Fault::new(
            ErrorClass::Invalid,
            format!("an answer links to {link}, which is not {}", self.endpoint),
        ))
    }
}

/// A change of nothing but what was read.
fn guarded(request: Request, read: &Resource) -> Request {
    match read.etag() {
        Some(etag) => request.header("if-match", etag),
        None => request,
    }
}

/// An operation that did not end well. What it left behind has to be looked at.
fn ended(change: &Request, status: u16, document: Option<&Value>) -> Result<Written, Fault> {
    let error = ArmError::read(document);
    // An operation reports its error inside a 200; its code alone says what kind it is.
    let status = if status == 200 { 500 } else { status };
    Ok(Written::Unsure(
        error
            .fault(status, change)
            .context("the operation ended without success"),
    ))
}

fn expect(request: &Request, response: &Response) -> Result<Value, Fault> {
    if !response.is_success() {
        return Err(ArmError::of(response).fault(response.status, request));
    }
    response.json().ok_or_else(|| {
        Fault::new(
            ErrorClass::Transient,
            format!("{} {} answered no JSON", request.method, request.place()),
        )
    })
}

/// What a token for an endpoint must be for.
fn audience(endpoint: &str) -> &str {
    SOVEREIGN
        .into_iter()
        .find(|own| endpoint.eq_ignore_ascii_case(own))
        .unwrap_or(PUBLIC)
}

/// The endpoint without a trailing slash. A token goes in the clear only to this machine or its host.
fn checked_endpoint(url: &str) -> Result<String, Fault> {
    let url = url.trim_end_matches('/');
    let invalid = |why: &str| {
        Err(Fault::new(
            ErrorClass::Invalid,
            format!("the profile's endpoint `{url}` {why}"),
        )
        .hint("use https://HOST[:PORT]; http:// is accepted for loopback and link-local addresses only"))
    };
    if origin(url) != Some(url) {
        return invalid("is not of the form https://HOST[:PORT]");
    }
    let local = || match host(url).unwrap_or_default().parse() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.is_loopback(),
        Err(_) => host(url) == Some("localhost"),
    };
    match url.split_once("://").map(|(scheme, _)| scheme) {
        Some("https") => Ok(url.to_owned()),
        Some("http") if local() => Ok(url.to_owned()),
        Some("http") => invalid("would send the token in the clear"),
        _ => invalid("is neither https nor http"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_for_the_cloud_that_they_are_sent_to() {
        assert_eq!(audience("https://localhost:8443"), PUBLIC);
        assert_eq!(
            audience("https://management.usgovcloudapi.net"),
            "https://management.usgovcloudapi.net"
        );
    }

    #[test]
    fn tokens_travel_in_the_clear_to_this_machine_only() {
        for good in [
            "https://arm.example",
            "http://127.0.0.1:80",
            "http://169.254.169.254/",
            "http://[::1]:1",
        ] {
            assert!(checked_endpoint(good).is_ok(), "{good}");
        }
        for bad in [
            "http://arm.example",
            "http://10.0.0.1",
            "ftp://x",
            "arm.example",
            "https://x/path",
        ] {
            assert!(checked_endpoint(bad).is_err(), "{bad}");
        }
    }
}
