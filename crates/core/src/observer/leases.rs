//! DHCP lease files of dnsmasq and of ISC dhcpd.

use std::net::Ipv4Addr;

use api::time::Timestamp;

/// An address that a DHCP server gave to a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: Ipv4Addr,
    /// The client's hardware address.
    pub mac: [u8; 6],
    /// When it ends; absent: never.
    pub ends: Option<Timestamp>,
}

/// Reads a lease file in either form. What is no lease is passed over: the file belongs to another program and
/// may be caught in the middle of a write. In dhcpd's form a later entry for an address replaces the earlier.
pub fn parse_leases(text: &str) -> Vec<Lease> {
    if text
        .lines()
        .any(|line| line.trim_start().starts_with("lease "))
    {
        dhcpd(text)
    } else {
        dnsmasq(text)
    }
}

/// `EXPIRY MAC ADDRESS NAME CLIENT-ID`, expiry in seconds since the epoch, 0 for ever.
fn dnsmasq(text: &str) -> Vec<Lease> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let expiry: u64 = words.next()?.parse().ok()?;
        let mac = parse_mac(words.next()?)?;
        let address = words.next()?.parse().ok()?;
        let ends = (expiry != 0).then(|| Timestamp::from_millis(expiry.saturating_mul(1000)));
        Some(Lease { address, mac, ends })
    };
    text.lines().filter_map(line).collect()
}

/// `lease ADDRESS { ends W YYYY/MM/DD HH:MM:SS; binding state active; hardware ethernet MAC; }`
fn dhcpd(text: &str) -> Vec<Lease> {
    let mut leases: Vec<Lease> = Vec::new();
    for block in text
        .split("\nlease ")
        .flat_map(|part| part.strip_prefix("lease ").or(Some(part)))
    {
        let Some((head, body)) = block.split_once('{') else {
            continue;
        };
        let Ok(address) = head.trim().parse::<Ipv4Addr>() else {
            continue;
        };
        // An entry without its closing brace is still being written.
        let Some((body, _)) = body.split_once('}') else {
            continue;
        };
        leases.retain(|lease| lease.address != address);
        leases.extend(dhcpd_entry(address, body));
    }
    leases
}

fn dhcpd_entry(address: Ipv4Addr, body: &str) -> Option<Lease> {
    let statements = || body.split(';').map(str::trim);
    let value = |name: &str| {
        statements()
            .find_map(|s| s.strip_prefix(name))
            .map(str::trim)
    };
    if value("binding state ").is_some_and(|state| state != "active") {
        return None;
    }
    let mac = parse_mac(value("hardware ethernet ")?)?;
    let ends = value("ends ")
        .filter(|ends| *ends != "never")
        .map(dhcpd_time);
    match ends {
        Some(None) => None,
        Some(ends) => Some(Lease { address, mac, ends }),
        None => Some(Lease {
            address,
            mac,
            ends: None,
        }),
    }
}

/// `W YYYY/MM/DD HH:MM:SS`, UTC.
fn dhcpd_time(text: &str) -> Option<Timestamp> {
    let mut words = text.split_whitespace().skip(1);
    let (date, time) = (words.next()?.replace('/', "-"), words.next()?);
    format!("{date}T{time}Z").parse().ok()
}

/// Six bytes in hexadecimal with colons between.
pub(crate) fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts.next().filter(|part| (1..=2).contains(&part.len()))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dnsmasq_leases() {
        let text = "1780191055 52:54:00:12:34:56 10.77.60.9 onprem-client ff:01\n0 52:54:00:00:00:01 10.77.60.10 * *\nduid 00:01\n";
        let leases = parse_leases(text);
        assert_eq!(leases.len(), 2);
        assert_eq!(leases[0].address, Ipv4Addr::new(10, 77, 60, 9));
        assert_eq!(
            leases[0].ends,
            Some(Timestamp::from_millis(1_780_191_055_000))
        );
        assert_eq!(leases[1].ends, None);
    }

    #[test]
    fn dhcpd_leases_later_entries_win() {
        let text = "# comment\nlease 10.77.60.9 {\n  ends 0 2026/05/31 01:30:55;\n  binding state active;\n  hardware ethernet 52:54:00:12:34:56;\n}\n\
                    lease 10.77.60.10 {\n  ends never;\n  binding state active;\n  hardware ethernet 52:54:00:12:34:57;\n}\n\
                    lease 10.77.60.9 {\n  binding state free;\n  hardware ethernet 52:54:00:12:34:56;\n}\nlease 10.77.60.11 {\n  hardware";
        let leases = parse_leases(text);
        let expected = Lease {
            address: Ipv4Addr::new(10, 77, 60, 10),
            mac: [0x52, 0x54, 0, 0x12, 0x34, 0x57],
            ends: None,
        };
        assert_eq!(leases, [expected]);
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "(lease |[{};: 0-9a-z./\n]){0,200}") {
            parse_leases(&text);
        }
    }
}
