//! ROUTE-REFRESH (RFC 2918) and its borders (RFC 7313).

use super::{Kind, Notification, message};
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

/// `None`: to be ignored, because family or subtype is unknown. Longer requests (outbound filters) count as requests;
/// borders have a length of their own (RFC 7313, section 5).
pub(crate) fn decode(body: &[u8]) -> Result<Option<(Family, Refresh)>, Notification> {
    let [afi_high, afi_low, subtype, safi, ref rest @ ..] = *body else {
        return Ok(None);
    };
    let refresh = match subtype {
        0 => Refresh::Request,
        1 | 2 if !rest.is_empty() => {
            let mut whole = Vec::new();
            message(&mut whole, Kind::RouteRefresh, |out| {
                out.extend_from_slice(body)
            });
            return Err(Notification::new(7, 1, whole));
        }
        1 => Refresh::Begin,
        2 => Refresh::End,
        _ => return Ok(None),
    };
    let family = Family::from_wire(u16::from_be_bytes([afi_high, afi_low]), safi);
    Ok(family.map(|family| (family, refresh)))
}
