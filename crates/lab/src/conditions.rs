//! What a scenario runs under, beyond its topology.

use serde::{Deserialize, Serialize};

use crate::impair::Wish;

/// Who encrypts and encapsulates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Driver {
    /// The kernel's own tunnels.
    Kernel,
    /// A process with a TUN device.
    UserSpace,
}

impl Driver {
    /// As status has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Kernel => "kernel",
            Self::UserSpace => "user-space",
        }
    }
}

/// Bytes in a MiB.
const MIB: u64 = 1 << 20;
/// MiB that are copied each way.
const COPY: u32 = 100;
/// The same where packets get lost: a TCP stream that loses 1 % at 100 ms carries 1 to 2 Mbit/s.
const COPY_LOSSY: u32 = 1;

/// Conditions of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Conditions {
    /// What the link between the sites is like.
    pub impair: Option<Wish>,
    /// Who has to run the tunnels; whoever the kernel's abilities make it, when it does not matter.
    pub driver: Option<Driver>,
    /// MiB to copy each way in place of the usual.
    pub copy: Option<u32>,
    /// Seconds after which the run ends with a verdict of failure.
    pub limit: Option<u32>,
}

impl Conditions {
    /// Whether the link between the sites loses packets by itself.
    pub fn lossy(&self) -> bool {
        self.impair.is_some_and(|wish| wish.quality.loss > 0.0)
    }

    /// Bytes to copy each way.
    pub fn copy_bytes(&self) -> u64 {
        let usual = if self.lossy() { COPY_LOSSY } else { COPY };
        u64::from(self.copy.unwrap_or(usual)) * MIB
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_is_copied_where_packets_get_lost_unless_told_otherwise() {
        let over = |quality: &str| Conditions {
            impair: Some(Wish {
                quality: quality.parse().expect("a quality"),
                by: None,
            }),
            ..Conditions::default()
        };
        assert_eq!(Conditions::default().copy_bytes(), 100 << 20);
        assert_eq!(over("delay=50ms").copy_bytes(), 100 << 20);
        assert_eq!(over("loss=1%").copy_bytes(), 1 << 20);
        let told = Conditions {
            copy: Some(3),
            ..over("loss=1%")
        };
        assert_eq!(told.copy_bytes(), 3 << 20);
    }
}
