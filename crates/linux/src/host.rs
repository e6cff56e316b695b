//! The host as a [`Kernel`]: observation put together from its parts, steps handed to them.

use std::path::PathBuf;

use routerd_core::kernel::{KernelError, StepError};
use routerd_core::observed::Query;
use routerd_core::{Kernel, Observed, Step};

/// The network namespace that this process is in.
#[derive(Debug)]
pub struct Host {
    /// The program that is started as `PROGRAM tunnel wireguard --interface NAME` for user-space tunnels.
    pub tunnel_program: PathBuf,
}

impl Kernel for Host {
    fn observe(&mut self, query: &Query) -> Result<Observed, KernelError> {
        let _ = query;
        Ok(Observed::default())
    }

    fn apply(&mut self, steps: &[Step]) -> Result<(), StepError> {
        let _ = steps;
        Ok(())
    }
}
