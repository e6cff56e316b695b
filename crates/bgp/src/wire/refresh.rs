//! ROUTE-REFRESH (RFC 2918) and its borders (RFC 7313).

use super::{Kind, message};
use crate::types::Family;

/// What a ROUTE-REFRESH says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// Send everything once more.
    Request,
    /// What follows is everything: begin.
    Begin,
    /// And end.
    End,
}

pub(crate) fn encode(out: &mut Vec<u8>, family: Family, refresh: Refresh) {
    message(out, Kind::RouteRefresh, |out| {
        let mut body = family.wire();
        body[2] = match refresh {
            Refresh::Request => 0,
            Refresh::Begin => 1,
            Refresh::End => 2,
        };
        out.extend_from_slice(&body);
    });
}

/// `None`: to be ignored, because family or subtype is unknown. Longer bodies (outbound filters) count as requests.
pub(crate) fn decode(body: &[u8]) -> Option<(Family, Refresh)> {
    let [afi_high, afi_low, subtype, safi, ..] = *body else {
        return None;
    };
    let family = Family::from_wire(u16::from_be_bytes([afi_high, afi_low]), safi)?;
    let refresh = match subtype {
        0 => Refresh::Request,
        1 => Refresh::Begin,
        2 => Refresh::End,
        _ => return None,
    };
    Some((family, refresh))
}
