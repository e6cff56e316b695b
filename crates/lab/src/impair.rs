//! A run over a link that is worse than a cable: delayed, uneven, lossy, out of order, from before the first
//! handshake to the end. The kernel's netem does it where the kernel has it, the lab's own underlay elsewhere.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fabric::quality::LinkQuality;
use crate::fabric::underlay::Attachment;
use crate::lab::Lab;
use crate::node::Node;

/// The link: what the sites say to each other crosses it, what they say to a cloud's API does not.
const LINK: &str = "onprem-uplink";
/// Turns what arrives at a device into something that leaves one: netem holds back only that.
const MIRROR: &str = "lab-ingress";
/// Packets that netem holds back at a time: a second at 100 kHz. Beyond it would lose more than it was told to.
const LIMIT: &str = "100000";

/// Who impairs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum By {
    /// The kernel's netem, on the device at the end of the link, in both directions.
    Netem,
    /// The lab's own underlay.
    Fabric,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Wish {
    /// What the link shall be like.
    pub quality: LinkQuality,
    /// By whom; netem if the kernel has it, when it does not matter.
    pub by: Option<By>,
}

/// An impaired link.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Impaired {
    quality: LinkQuality,
    by: By,
}

/// What a report says about it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Account {
    /// Which link, both directions alike.
    pub link: &'static str,
    /// Who did it.
    pub by: By,
    /// Average delay of each direction in milliseconds.
    pub delay_ms: f64,
    /// How much more or less than that.
    pub jitter_ms: f64,
    /// Loss of each direction in percent.
    pub loss_percent: f64,
    /// Packets of each direction that were not delayed, in percent.
    pub reorder_percent: f64,
    /// How many packets the link has lost in all; absent where the run did not get as far as to ask.
    pub lost_packets: Option<u64>,
}

impl Impaired {
    /// Impairs the link between the sites.
    ///
    /// # Errors
    /// When there is no such link, or netem is asked for and the kernel has none.
    pub fn lay(lab: &Lab, wish: &Wish) -> Result<Self> {
        let quality = wish.quality;
        let netem = match wish.by {
            Some(By::Fabric) => false,
            asked => {
                let laid = lay_netem(lab, &quality);
                match laid {
                    Err(error) if asked.is_some() => return Err(error),
                    laid => laid.is_ok(),
                }
            }
        };
        if netem {
            let by = By::Netem;
            return Ok(Self { quality, by });
        }
        if !lab.engine().set_quality(LINK, quality) {
            bail!("the topology has no link {LINK} to impair");
        }
        let by = By::Fabric;
        Ok(Self { quality, by })
    }

    /// What the link is like.
    pub fn quality(&self) -> &LinkQuality {
        &self.quality
    }

    /// How many packets the link has lost so far, both directions together.
    ///
    /// # Errors
    /// When netem does not say.
    pub fn lost(&self, lab: &Lab) -> Result<u64> {
        match self.by {
            By::Fabric => Ok(lab.engine().lost(LINK)),
            By::Netem => {
                let (node, _) = end(lab)?;
                let shown = tc(node, &["-s", "-j", "qdisc", "show"])?;
                dropped(&shown).context("read netem's counters")
            }
        }
    }

    /// For the report, with how many packets were lost once that is known.
    pub fn account(&self, lost_packets: Option<u64>) -> Account {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        Account {
            link: LINK,
            by: self.by,
            delay_ms: ms(self.quality.delay),
            jitter_ms: ms(self.quality.jitter),
            loss_percent: self.quality.loss * 100.0,
            reorder_percent: self.quality.reorder * 100.0,
            lost_packets,
        }
    }
}

/// The node and the device at the end of the link.
fn end(lab: &Lab) -> Result<(&Node, String)> {
    let underlay = lab.engine().underlay();
    let link = underlay.links.get(LINK);
    let attachment = link.map(|link| &link.attachment);
    let Some(Attachment::Port(port)) = attachment else {
        bail!("the topology has no link {LINK} with a device at its end");
    };
    let (node, interface) = port.split_once('/').context("a port is NODE/INTERFACE")?;
    Ok((lab.node(node)?, interface.to_owned()))
}

fn lay_netem(lab: &Lab, quality: &LinkQuality) -> Result<()> {
    let (node, interface) = end(lab)?;
    let netem = netem(quality);
    let netem: Vec<&str> = netem.iter().map(String::as_str).collect();
    let laid = both_directions(node, &interface, &netem);
    if laid.is_err() {
        // What was laid of it goes again: half an impairment is none.
        for argv in [
            &["tc", "qdisc", "del", "dev", &interface, "root"][..],
            &["tc", "qdisc", "del", "dev", &interface, "ingress"],
            &["ip", "link", "del", MIRROR],
        ] {
            node.ask_kernel(argv)?;
        }
    }
    laid.context("impair by netem")
}

fn both_directions(node: &Node, interface: &str, netem: &[&str]) -> Result<()> {
    let root = |device| [&["qdisc", "add", "dev", device, "root"], netem].concat();
    tc(node, &root(interface))?;
    done(node, &["ip", "link", "add", MIRROR, "type", "ifb"])?;
    done(node, &["ip", "link", "set", MIRROR, "up"])?;
    tc(node, &root(MIRROR))?;
    tc(node, &["qdisc", "add", "dev", interface, "ingress"])?;
    let all = ["protocol", "ip", "u32", "match", "u32", "0", "0"];
    let redirect = ["action", "mirred", "egress", "redirect", "dev", MIRROR];
    let filter = ["filter", "add", "dev", interface, "parent", "ffff:"];
    tc(node, &[&filter[..], &all, &redirect].concat())?;
    Ok(())
}

fn netem(quality: &LinkQuality) -> Vec<String> {
    let us = |time: Duration| format!("{}us", time.as_micros());
    let percent = |share: f64| format!("{}%", share * 100.0);
    let mut words = vec!["netem".to_owned(), "limit".to_owned(), LIMIT.to_owned()];
    if !quality.delay.is_zero() {
        words.extend(["delay".to_owned(), us(quality.delay), us(quality.jitter)]);
    }
    if quality.loss > 0.0 {
        words.extend(["loss".to_owned(), percent(quality.loss)]);
    }
    if quality.reorder > 0.0 {
        words.extend(["reorder".to_owned(), percent(quality.reorder)]);
    }
    words
}

fn tc(node: &Node, arguments: &[&str]) -> Result<String> {
    done(node, &[&["tc"], arguments].concat())
}

fn done(node: &Node, argv: &[&str]) -> Result<String> {
    let outcome = node.ask_kernel(argv)?;
    if !outcome.success() {
        let words = argv.join(" ");
        bail!("{}: {words}: {}", node.name(), outcome.complaint());
    }
    Ok(outcome.stdout)
}

/// What all netems of a node have dropped, of what `tc -s -j qdisc show` says.
fn dropped(shown: &str) -> Result<u64> {
    let all: Vec<Value> = serde_json::from_str(shown)?;
    let drops = all
        .iter()
        .filter(|qdisc| qdisc["kind"] == "netem")
        .map(|qdisc| qdisc["drops"].as_u64());
    let drops: Option<Vec<u64>> = drops.collect();
    let drops = drops.filter(|drops| !drops.is_empty());
    Ok(drops.context("no netem with a counter")?.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netem_is_told_what_was_asked_for() {
        let said = |text: &str| netem(&text.parse().expect("a quality")).join(" ");
        let all = "delay=50ms,jitter=20ms,loss=1%,reorder=2%";
        let expected = "netem limit 100000 delay 50000us 20000us loss 1% reorder 2%";
        assert_eq!(said(all), expected);
        assert_eq!(said("loss=0.5%"), "netem limit 100000 loss 0.5%");
    }

    #[test]
    fn losses_of_both_directions_are_added_and_none_is_made_up() {
        let shown = r#"[{"kind":"netem","handle":"8001:","root":true,"drops":31},
            {"kind":"ingress","handle":"ffff:","drops":5},{"kind":"netem","drops":11}]"#;
        assert_eq!(dropped(shown).expect("read"), 42);
        assert!(dropped(r#"[{"kind":"noqueue","drops":0}]"#).is_err());
        assert!(dropped(r#"[{"kind":"netem"}]"#).is_err());
    }
}
