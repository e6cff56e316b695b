//! The underlay: one router in the middle, a link to every site. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use ipnet::Ipv4Net;
use serde::Serialize;

use super::quality::LinkQuality;

/// What is done to a link from outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Impairment {
    /// The cable is out: the attached device sees no carrier, nothing passes.
    pub cut: bool,
    /// Nothing passes, and nobody sees why.
    pub blackhole: bool,
    /// What is too large is lost, whether it may be cut or not, and nobody is told.
    pub silent: bool,
    /// Added to each direction.
    pub delay: Duration,
    /// Share of the packets lost in each direction, 0 to 1.
    pub loss: f64,
}

/// What an underlay link leads to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attachment {
    /// A cloud's internet gateway, by fabric.
    Fabric(String),
    /// A device of an on-prem node, by port name.
    Port(String),
}

/// A link.
#[derive(Debug, Clone, Serialize)]
pub struct Link {
    /// What it leads to.
    pub attachment: Attachment,
    /// Destinations behind it.
    pub prefixes: Vec<Ipv4Net>,
    /// The underlay router's own address on it.
    pub router: Ipv4Addr,
    /// The largest packet it carries, IP header included.
    pub mtu: u16,
    /// What it is like while nothing is done to it.
    pub quality: LinkQuality,
    /// What is done to it.
    pub impairment: Impairment,
}

impl Link {
    /// What it is like now: what is done to it comes on top of its quality.
    pub fn now(&self) -> Treatment {
        let quality = LinkQuality {
            loss: 1.0 - (1.0 - self.quality.loss) * (1.0 - self.impairment.loss),
            ..self.quality
        };
        Treatment {
            quality,
            ..Treatment::from(self.impairment)
        }
    }
}

/// What happens to each packet on a link or at a port.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Treatment {
    /// The cable is out.
    pub cut: bool,
    /// Nothing passes.
    pub blackhole: bool,
    /// Added to what each packet takes, those that overtake included.
    pub delay: Duration,
    /// What happens to those that do pass.
    pub quality: LinkQuality,
}

impl From<Impairment> for Treatment {
    fn from(impairment: Impairment) -> Self {
        Self {
            cut: impairment.cut,
            blackhole: impairment.blackhole,
            delay: impairment.delay,
            quality: LinkQuality {
                loss: impairment.loss,
                ..LinkQuality::default()
            },
        }
    }
}

/// All links by name.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Underlay {
    /// By name: the site's.
    pub links: BTreeMap<String, Link>,
}

impl Underlay {
    /// The link with the longest prefix for a destination.
    pub fn route(&self, destination: Ipv4Addr) -> Option<(&str, &Link)> {
        let length = |link: &Link| {
            let hits = link.prefixes.iter().filter(|p| p.contains(&destination));
            hits.map(Ipv4Net::prefix_len).max()
        };
        self.links
            .iter()
            .filter_map(|(name, link)| Some((length(link)?, name.as_str(), link)))
            .max_by_key(|(length, _, _)| *length)
            .map(|(_, name, link)| (name, link))
    }

    /// The link that something is attached to.
    pub fn of(&self, attachment: &Attachment) -> Option<(&str, &Link)> {
        self.links
            .iter()
            .find(|(_, link)| link.attachment == *attachment)
            .map(|(name, link)| (name.as_str(), link))
    }
}
