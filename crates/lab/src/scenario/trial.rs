//! A scenario while it runs: its lab, its daemons, and what was found so far.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::Scenario;
use crate::cloud::running::Running;
use crate::conditions::{Conditions, Driver};
use crate::config::{self, Approval, Carrier, CloudCapture, TUNNEL};
use crate::eventually::eventually;
use crate::impair::Impaired;
use crate::lab::Lab;
use crate::node::Node;
use crate::probe::ping::ping;
use crate::report::Report;
use crate::router::{self, Daemon};
use crate::topology::{Site, TwoSite};
use crate::voice::Voice;

/// How long a change may take to show on a busy machine.
pub(super) const SOON: Duration = Duration::from_secs(10);

/// A running scenario.
#[derive(Debug)]
pub struct Trial<'a> {
    lab: Arc<Lab>,
    two_site: TwoSite,
    voice: &'a Voice,
    conditions: Conditions,
    impaired: Option<Impaired>,
    report: Arc<Mutex<Report>>,
    daemons: BTreeMap<Site, Daemon>,
    keys: BTreeMap<Site, String>,
}

impl<'a> Trial<'a> {
    /// Nothing has happened yet.
    pub fn new(
        lab: Arc<Lab>,
        scenario: &Scenario,
        voice: &'a Voice,
        conditions: Conditions,
    ) -> Self {
        Self {
            lab,
            two_site: scenario.parameters,
            voice,
            conditions,
            impaired: None,
            report: Arc::new(Mutex::new(Report::new(scenario.id))),
            daemons: BTreeMap::new(),
            keys: BTreeMap::new(),
        }
    }

    /// Carries the scenario out over the link that its conditions ask for. One that could not be carried out, or
    /// that looked at nothing, has failed.
    pub fn carry_out(&mut self, scenario: &Scenario) {
        let outcome = self.impair().and_then(|()| (scenario.run)(self));
        if let Err(error) = outcome.and_then(|()| self.account()) {
            self.found("carried-out", false, format!("{error:#}"));
        }
        if self.report().assertions.is_empty() {
            self.found("carried-out", false, "nothing was looked at".to_owned());
        }
    }

    fn impair(&mut self) -> Result<()> {
        if let Some(wish) = &self.conditions.impair {
            self.doing(&format!(
                "impairing the link between the sites: {}",
                wish.quality
            ));
            let impaired = Impaired::lay(&self.lab, wish)?;
            self.report().impairment = Some(impaired.account(None));
            self.impaired = Some(impaired);
        }
        Ok(())
    }

    /// What the link did over the whole run.
    fn account(&mut self) -> Result<()> {
        if let Some(impaired) = self.impaired {
            let lost = impaired.lost(&self.lab)?;
            self.report().impairment = Some(impaired.account(Some(lost)));
        }
        Ok(())
    }

    /// What was found so far, also for who watches from outside.
    pub fn findings(&self) -> Arc<Mutex<Report>> {
        Arc::clone(&self.report)
    }

    fn report(&self) -> MutexGuard<'_, Report> {
        self.report.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the scenario runs under.
    pub(super) fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// The link between the sites, if it is impaired.
    pub(super) fn impaired(&self) -> Option<&Impaired> {
        self.impaired.as_ref()
    }

    /// The lab.
    pub(super) fn lab(&self) -> &Lab {
        &self.lab
    }

    /// The topology's parameters.
    pub(super) fn two_site(&self) -> &TwoSite {
        &self.two_site
    }

    /// What is being done now.
    pub(super) fn doing(&self, what: &str) {
        self.lab.set_phase(what);
        self.voice.doing(what);
    }

    /// A line of the story.
    pub(super) fn tell(&self, line: &str) {
        self.voice.tell(line);
    }

    /// A number for the record.
    pub(super) fn measure(&mut self, name: &str, value: f64) {
        let rounded = (value * 1000.0).round() / 1000.0;
        self.report().measures.insert(name.to_owned(), rounded);
    }

    /// Something that was looked at.
    pub(super) fn found(&mut self, id: &str, passed: bool, detail: String) {
        let mark = if passed { "pass" } else { "FAIL" };
        self.voice.say(&format!("  {mark}  {id:34} {detail}"));
        self.report().add(id, passed, detail);
    }

    /// Looks at something; an error is a failure with its message.
    pub(super) fn check(
        &mut self,
        id: &str,
        look: impl FnOnce(&Self) -> Result<(bool, String)>,
    ) -> bool {
        let (passed, detail) = look(self).unwrap_or_else(|e| (false, format!("{e:#}")));
        self.found(id, passed, detail);
        passed
    }

    /// A site's client.
    pub(super) fn client(&self, site: Site) -> Result<&Node> {
        self.lab.node(&site.client())
    }

    /// A site's router.
    pub(super) fn router(&self, site: Site) -> Result<&Node> {
        self.lab.node(&site.router())
    }

    /// A site's whole configuration.
    pub(super) fn configuration(&self, site: Site) -> Result<String> {
        let key = self.keys.get(&site.other());
        let key = key.context("the other router has no key yet")?;
        Ok(config::whole(&self.two_site, site, key))
    }

    /// A site's configuration with another way of capture in the cloud, and there with the cloud's executor.
    pub(super) fn configuration_with(&self, site: Site, capture: CloudCapture) -> Result<String> {
        let key = self.keys.get(&site.other());
        let key = key.context("the other router has no key yet")?;
        let config = config::whole_with(&self.two_site, site, key, capture);
        Ok(match site {
            Site::Cloud => config::with_executor(&config, &self.two_site, Approval::Needed),
            Site::Onprem => config,
        })
    }

    /// The API in front of the cloud's fabric.
    pub(super) fn cloud(&self) -> Result<&Running> {
        self.lab.cloud(&self.two_site.fabric())
    }

    /// A site's configuration that has clients claimed as they are observed.
    pub(super) fn federated(&self, site: Site) -> Result<String> {
        let key = self.keys.get(&site.other());
        let key = key.context("the other router has no key yet")?;
        Ok(config::federated(&self.two_site, site, key))
    }

    /// The same with something else to carry the packets.
    pub(super) fn configuration_over(&self, site: Site, carrier: Carrier) -> Result<String> {
        let key = self.keys.get(&site.other());
        let key = key.context("the other router has no key yet")?;
        Ok(config::over(&self.two_site, site, key, carrier))
    }

    /// Ends the daemon of a site as a crash would.
    pub(super) fn crash(&mut self, site: Site) -> Result<()> {
        let daemon = self.daemons.remove(&site);
        daemon.context("no daemon runs there")?.crash()
    }

    /// Starts the daemon of a site again.
    pub(super) fn restart(&mut self, site: Site) -> Result<()> {
        let daemon = Daemon::start(self.router(site)?)?;
        self.daemons.insert(site, daemon);
        Ok(())
    }

    /// What a person does: start both daemons with just their WireGuard interface, read the public keys
    /// that were made, write each into the other's configuration, apply.
    pub(crate) fn start_routers(&mut self) -> Result<()> {
        self.start_routers_with(Self::configuration)
    }

    /// The same with other configurations.
    pub(super) fn start_routers_with(
        &mut self,
        configuration: impl Fn(&Self, Site) -> Result<String> + Sync,
    ) -> Result<()> {
        self.doing("starting routerd on both routers; each makes its key");
        let started = self.on_both(|trial, site| {
            let node = trial.router(site)?;
            let daemon = Daemon::start(node)?;
            router::apply(node, &config::interface_only(site))?;
            let key = router::fact(node, "WireGuardInterface", TUNNEL, "publicKey", SOON)?;
            Ok((daemon, key))
        })?;
        for (site, (daemon, key)) in started {
            self.tell(&format!("{}: public key {key}", site.router()));
            self.daemons.insert(site, daemon);
            self.keys.insert(site, key);
        }
        self.doing("exchanging public keys, applying both configurations");
        self.on_both(|trial, site| {
            let config = configuration(trial, site)?;
            router::apply(trial.router(site)?, &config)?;
            Ok(())
        })?;
        self.look_at_driver()
    }

    /// Notes which driver runs the tunnels. Where one is asked for, status must name it at both ends, and the kernel
    /// must say the same of the device: a run does not fall back in silence.
    fn look_at_driver(&mut self) -> Result<()> {
        for site in Site::BOTH {
            let node = self.router(site)?;
            let driver = router::fact(node, "WireGuardInterface", TUNNEL, "driver", SOON)?;
            if let Some(wanted) = self.conditions.driver {
                let link = node.expect(&["ip", "-d", "-o", "link", "show", "dev", TUNNEL])?;
                let kinds = [("wireguard", Driver::Kernel), ("tun", Driver::UserSpace)];
                let kind = kinds
                    .iter()
                    .find(|(word, _)| link.split_whitespace().any(|w| w == *word));
                let held = driver == wanted.word() && kind.is_some_and(|(_, of)| *of == wanted);
                let kind = kind.map_or("unknown", |(word, _)| word);
                let detail = format!("driver {driver}, device of kind {kind}");
                self.found(&format!("driver/{}", site.router()), held, detail);
            }
            self.report().driver.wireguard = Some(driver);
        }
        Ok(())
    }

    /// Waits until the clients reach each other.
    pub(super) fn wait_for_traffic(&self, limit: Duration) -> Result<()> {
        for site in Site::BOTH {
            let to = site.other().client_address();
            let node = self.client(site)?;
            eventually(&format!("{} reaches {to}", site.client()), limit, || {
                let ping = ping(node, to, 1)?;
                if !ping.complete() {
                    bail!("{}; {}", ping.summary, self.state());
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Waits for something about the whole lab.
    pub(super) fn eventually<T>(
        &self,
        what: &str,
        mut look: impl FnMut(&Self) -> Result<T>,
    ) -> Result<T> {
        eventually(what, SOON, || look(self))
    }

    /// What to know about a lab where traffic does not flow.
    pub(super) fn state(&self) -> String {
        let drops = self.lab.engine().drops().report();
        let mut words = Vec::new();
        for (place, reasons) in drops {
            for (reason, count) in reasons {
                words.push(format!(
                    "{place} {reason} {} ({})",
                    count.packets, count.last
                ));
            }
        }
        for site in Site::BOTH {
            let tunnel = self
                .router(site)
                .and_then(|node| node.expect(&["wg", "show"]));
            let tunnel = tunnel.unwrap_or_else(|e| format!("{e:#}"));
            let lines: Vec<&str> = tunnel.lines().map(str::trim).collect();
            words.push(format!("{}: {}", site.router(), lines.join(", ")));
        }
        words.join("; ")
    }

    /// Does something for both sites at the same time.
    pub(super) fn on_both<T: Send>(
        &self,
        work: impl Fn(&Self, Site) -> Result<T> + Sync,
    ) -> Result<BTreeMap<Site, T>> {
        let work = &work;
        let outcomes = std::thread::scope(|scope| {
            let threads = Site::BOTH.map(|site| (site, scope.spawn(move || work(self, site))));
            threads.map(|(site, thread)| (site, thread.join()))
        });
        let mut all = BTreeMap::new();
        for (site, outcome) in outcomes {
            let Ok(outcome) = outcome else {
                bail!("{}: panicked", site.label());
            };
            all.insert(site, outcome?);
        }
        Ok(all)
    }
}
