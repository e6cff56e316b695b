//! NOTIFICATION (RFC 4271, section 4.5), cease subcodes (RFC 4486), shutdown communication (RFC 9003).

use super::{Kind, message};
use crate::io::Notice;

/// A NOTIFICATION as on the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notification {
    pub(crate) code: u8,
    pub(crate) subcode: u8,
    pub(crate) data: Vec<u8>,
}

/// Longest shutdown communication (RFC 9003, section 2).
const MAX_COMMUNICATION: usize = 255;

impl Notification {
    pub(crate) const MAX_PREFIXES: u8 = 1;
    pub(crate) const ADMIN_SHUTDOWN: u8 = 2;
    pub(crate) const PEER_DECONFIGURED: u8 = 3;
    pub(crate) const ADMIN_RESET: u8 = 4;
    pub(crate) const REJECTED: u8 = 5;
    pub(crate) const OTHER_CHANGE: u8 = 6;
    pub(crate) const COLLISION: u8 = 7;
    pub(crate) const OUT_OF_RESOURCES: u8 = 8;
    pub(crate) const BFD_DOWN: u8 = 10;

    pub(crate) fn new(code: u8, subcode: u8, data: Vec<u8>) -> Self {
        Self {
            code,
            subcode,
            data,
        }
    }

    /// Hold timer expired.
    pub(crate) fn hold() -> Self {
        Self::new(4, 0, Vec::new())
    }

    /// A message of this kind does not belong into this state (RFC 6608).
    pub(crate) fn fsm(subcode: u8) -> Self {
        Self::new(5, subcode, Vec::new())
    }

    /// Cease without words.
    pub(crate) fn cease(subcode: u8) -> Self {
        Self::new(6, subcode, Vec::new())
    }

    /// Cease with words for the operator on the other side, cut to what fits.
    pub(crate) fn cease_saying(subcode: u8, text: &str) -> Self {
        let mut end = text.len().min(MAX_COMMUNICATION);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut data = vec![u8::try_from(end).unwrap_or(0)];
        data.extend_from_slice(&text.as_bytes()[..end]);
        Self::new(6, subcode, data)
    }

    /// As it went over the wire, but for data that is no words.
    pub(crate) fn of(notice: &Notice) -> Self {
        let Notice {
            code,
            subcode,
            text,
        } = notice;
        match text.is_empty() {
            true => Self::new(*code, *subcode, Vec::new()),
            false => Self {
                code: *code,
                ..Self::cease_saying(*subcode, text)
            },
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        message(out, Kind::Notification, |out| {
            out.extend_from_slice(&[self.code, self.subcode]);
            out.extend_from_slice(&self.data);
        });
    }

    /// From a message body, which [`super::frame`] saw to be long enough.
    pub(crate) fn decode(body: &[u8]) -> Self {
        match body {
            [code, subcode, data @ ..] => Self::new(*code, *subcode, data.to_vec()),
            _ => Self::new(0, 0, Vec::new()),
        }
    }

    /// What it says, for people.
    pub(crate) fn notice(&self) -> Notice {
        Notice {
            code: self.code,
            subcode: self.subcode,
            text: self.communication().unwrap_or_default(),
        }
    }

    /// The words in an administrative shutdown or reset; what is no UTF-8 is replaced.
    fn communication(&self) -> Option<String> {
        let worded = self.code == 6
            && matches!(
                self.subcode,
                Self::ADMIN_SHUTDOWN | Self::ADMIN_RESET | Self::REJECTED | Self::OTHER_CHANGE
            );
        let (&length, text) = self.data.split_first().filter(|_| worded)?;
        let text = text.get(..usize::from(length))?;
        Some(String::from_utf8_lossy(text).into_owned())
    }
}

impl std::fmt::Display for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match (self.code, self.subcode) {
            (1, _) => "message header error",
            (2, 2) => "bad peer AS",
            (2, 3) => "bad BGP identifier",
            (2, 6) => "unacceptable hold time",
            (2, 7) => "unsupported capability",
            (2, _) => "OPEN message error",
            (3, _) => "UPDATE message error",
            (4, _) => "hold timer expired",
            (5, _) => "unexpected message",
            (6, 1) => "maximum number of prefixes reached",
            (6, 2) => "administrative shutdown",
            (6, 3) => "peer de-configured",
            (6, 4) => "administrative reset",
            (6, 5) => "connection rejected",
            (6, 6) => "other configuration change",
            (6, 7) => "connection collision resolution",
            (6, 8) => "out of resources",
            (6, 9) => "hard reset",
            (6, 10) => "BFD down",
            (6, _) => "cease",
            (7, _) => "ROUTE-REFRESH message error",
            _ => "unknown error",
        };
        write!(f, "NOTIFICATION {}/{} {name}", self.code, self.subcode)?;
        if !self.text.is_empty() {
            write!(f, ": {}", self.text)?;
        }
        Ok(())
    }
}
