//! What the checks found, and what they found broken.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::IpAddr;

use api::doctor::{Check, CheckStatus};
use api::{IfName, MobileAddress};

use super::scene::Scene;
use crate::key::PublicKey;

/// A check: one line in the list.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) area: &'static str,
    /// Also the name of its page.
    pub(super) code: &'static str,
    pub(super) run: fn(&Scene<'_>, &mut Findings),
}

/// Something that others depend on.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thing {
    /// An interface can carry packets.
    Link(IfName),
    /// Any session of a tunnel can come up.
    Sessions(IfName),
    /// The session with one peer can come up.
    Session(IfName, PublicKey),
    /// BGP peers can connect to this host.
    Listener,
    /// The session with a BGP peer can come up.
    Peer(IpAddr),
    /// It is known where an address is captured.
    Capture(MobileAddress),
    /// Packets for an address find their way out.
    Delivery(MobileAddress),
    /// An nft table, by family and name, is named already.
    Table(String, String),
}

/// Everything found so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    area: &'static str,
    code: &'static str,
    checks: Vec<Check>,
    broken: BTreeSet<Thing>,
}

impl Findings {
    /// From now on the findings are those of this check.
    pub(super) fn begin(&mut self, check: &Entry) {
        self.area = check.area;
        self.code = check.code;
    }

    /// As it should be.
    pub(super) fn pass(&mut self, subject: impl Display, detail: impl Into<String>) {
        self.add(CheckStatus::Pass, subject, detail.into(), None);
    }

    /// Could not or need not be checked.
    pub(super) fn skip(&mut self, subject: impl Display, detail: impl Into<String>) {
        self.add(CheckStatus::Skip, subject, detail.into(), None);
    }

    /// Wrong, but traffic flows.
    pub(super) fn warn(
        &mut self,
        subject: impl Display,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let remedy = Some(remedy.into());
        self.add(CheckStatus::Warn, subject, detail.into(), remedy);
    }

    /// Wrong: traffic fails.
    pub(super) fn fail(
        &mut self,
        subject: impl Display,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        let remedy = Some(remedy.into());
        self.add(CheckStatus::Fail, subject, detail.into(), remedy);
    }

    fn add(
        &mut self,
        status: CheckStatus,
        subject: impl Display,
        detail: String,
        remedy: Option<String>,
    ) {
        self.checks.push(Check {
            area: self.area.to_owned(),
            code: self.code.to_owned(),
            subject: subject.to_string(),
            status,
            detail,
            remedy,
            doc: format!("docs/doctor/{}.md", self.code),
        });
    }

    /// Checks below leave alone what needs this.
    pub(super) fn breaks(&mut self, thing: Thing) {
        self.broken.insert(thing);
    }

    /// Whether a check above found this broken.
    pub(super) fn is_broken(&self, thing: &Thing) -> bool {
        self.broken.contains(thing)
    }

    /// Whether a link cannot carry packets.
    pub(super) fn is_link_broken(&self, ifname: &IfName) -> bool {
        self.is_broken(&Thing::Link(ifname.clone()))
    }

    pub(super) fn into_checks(self) -> Vec<Check> {
        self.checks
    }
}

/// How many failures of one check about one group are written out.
const SHOWN: usize = 5;

/// The results of one check for many alike: failures are written out up to a number, successes are one line.
#[derive(Debug, Default)]
pub(super) struct Tally {
    passed: Vec<(String, String)>,
    failed: usize,
}

impl Tally {
    /// One of them is as it should be.
    pub(super) fn pass(&mut self, subject: impl Display, detail: impl Into<String>) {
        self.passed.push((subject.to_string(), detail.into()));
    }

    /// One of them fails.
    pub(super) fn fail(
        &mut self,
        findings: &mut Findings,
        subject: impl Display,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.failed += 1;
        if self.failed <= SHOWN {
            findings.fail(subject, detail, remedy);
        }
    }

    /// Says the rest about the group.
    pub(super) fn finish(self, findings: &mut Findings, group: impl Display) {
        if self.failed > SHOWN {
            let more = self.failed - SHOWN;
            let all = "routerctl doctor -o json";
            findings.fail(&group, format!("and {more} more like these"), all);
        }
        match self.passed.as_slice() {
            [] => {}
            [(subject, detail)] => findings.pass(subject, detail.as_str()),
            [(_, first), rest @ ..] => {
                findings.pass(group, format!("{first} and {} more", rest.len()));
            }
        }
    }
}
