//! HTTP as values: a request, its response, and the one seam through which both pass.
//!
//! [`client`] adds what every cloud needs (retry, throttling, a deadline), [`wire`] is the real transport.

pub(crate) mod client;
pub(crate) mod wire;

use std::fmt;
use std::time::Duration;

use serde_json::Value;

/// The methods that the clouds' interfaces use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Reads.
    Get,
    /// Creates or replaces.
    Put,
    /// Starts something.
    Post,
    /// Removes.
    Delete,
}

impl Method {
    /// Whether sending it twice does no more than sending it once, whatever became of the first.
    pub(crate) fn is_safe(self) -> bool {
        self == Self::Get
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The absolute URL with its query.
    pub url: String,
    /// Headers; names in lower case.
    pub headers: Vec<(&'static str, String)>,
    /// A JSON body.
    pub body: Option<Value>,
}

impl Request {
    /// A request without headers or body.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self {
            method,
            url: url.into(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn json(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// The URL without its query, for messages.
    pub(crate) fn place(&self) -> &str {
        self.url.split('?').next().unwrap_or(&self.url)
    }
}

/// One response.
#[derive(Debug, Clone)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// Headers; names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as it came.
    pub body: Vec<u8>,
}

impl Response {
    /// The first header of that name (in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON; nothing if it is not JSON.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// `Retry-After` in its seconds form (RFC 9110 §10.2.3); the clouds send no dates.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        let seconds = self.header("retry-after")?.trim().parse().ok()?;
        Some(Duration::from_secs(seconds))
    }
}

/// Why there is no response.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// The request did not reach the server: it was certainly not executed.
    #[error("cannot reach {host}: {reason}")]
    Unreachable {
        /// Where it should have gone.
        host: String,
        /// What the system says.
        reason: String,
    },
    /// The request may have been executed; its answer did not come.
    #[error("no answer from {host}: {reason}")]
    Lost {
        /// Where it went.
        host: String,
        /// What the system says.
        reason: String,
    },
}

/// Carries one request to a server and its response back.
pub trait Transport {
    /// Sends the request and waits at most `timeout` for the whole response.
    ///
    /// # Errors
    /// When no response came; whether the request may have been executed is told apart.
    fn exchange(&self, request: &Request, timeout: Duration) -> Result<Response, TransportError>;
}

/// `scheme://host:port` of a URL; nothing if it has no scheme or host.
pub(crate) fn origin(url: &str) -> Option<&str> {
    let start = url.find("://")? + 3;
    let length = url[start..]
        .find(['/', '?', '#'])
        .unwrap_or(url.len() - start);
    (length > 0).then(|| &url[..start + length])
}

/// The host of a URL without port and brackets.
pub(crate) fn host(url: &str) -> Option<&str> {
    let origin = origin(url)?;
    let authority = &origin[origin.find("://")? + 3..];
    let authority = authority.rsplit('@').next()?;
    if let Some(rest) = authority.strip_prefix('[') {
        return rest.split(']').next();
    }
    authority.split(':').next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origin_and_host_are_cut_out_of_urls() {
        assert_eq!(origin("https://a.b:8/c?d"), Some("https://a.b:8"));
        assert_eq!(origin("http://x"), Some("http://x"));
        assert_eq!(origin("/subscriptions/x"), None);
        assert_eq!(host("https://user@a.b:8/c"), Some("a.b"));
        assert_eq!(host("http://[::1]:80/c"), Some("::1"));
    }
}
