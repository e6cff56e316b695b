//! Where something is reached over the network.

use std::net::SocketAddr;

use super::{Complaint, TextField};

impl TextField for SocketAddr {
    const FORMAT: &'static str = "endpoint";
    const WHAT: &'static str = "an endpoint (ADDRESS:PORT)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let complaint = Complaint::not::<Self>("bad-endpoint", text);
        let endpoint: Self = match text.parse() {
            Ok(endpoint) => endpoint,
            Err(_) if text.parse::<std::net::Ipv4Addr>().is_ok() => {
                return Err(complaint.hint(format!("add the UDP port: `{text}:51820`")));
            }
            Err(_) if text.parse::<std::net::Ipv6Addr>().is_ok() => {
                return Err(
                    complaint.hint(format!("add brackets and the UDP port: `[{text}]:51820`"))
                );
            }
            Err(_) if is_host_and_port(text) => {
                return Err(Complaint {
                    id: "endpoint-is-a-name",
                    message: format!("`{text}` names a host, and routerd does not resolve names"),
                    hint: Some("write its address: ADDRESS:PORT".to_owned()),
                });
            }
            Err(_) => return Err(complaint),
        };
        let ip = endpoint.ip();
        if endpoint.port() == 0 {
            Err(complaint.hint("port 0 cannot be reached"))
        } else if ip.is_unspecified() || ip.is_multicast() {
            Err(complaint.hint("the address is unspecified or multicast"))
        } else {
            Ok(endpoint)
        }
    }
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let label = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
        port.parse::<u16>().is_ok()
            && host.starts_with(|c: char| c.is_ascii_alphanumeric())
            && host.contains(|c: char| c.is_ascii_alphabetic())
            && host.chars().all(label)
    })
}

/// The base URL of a provider's API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HttpUrl(pub(crate) String);

impl TextField for HttpUrl {
    const FORMAT: &'static str = "http-url";
    const WHAT: &'static str = "a URL (https://HOST/…)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let complaint = || Complaint::not::<Self>("bad-url", text);
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"))
            .ok_or_else(|| complaint().hint("it begins with `https://` or `http://`"))?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(Complaint {
                id: "bad-url",
                message: "a URL with a user or password in it".to_owned(),
                hint: Some("credentials never stand in the configuration".to_owned()),
            });
        }
        let plain = |c: char| c.is_ascii_graphic();
        if authority.is_empty() || authority.starts_with(':') || !rest.chars().all(plain) {
            return Err(complaint());
        }
        Ok(Self(text.to_owned()))
    }
}
