//! The host as a [`Kernel`]: observation put together from its parts, steps handed to them.

mod apply;
mod batch;
mod clock;
mod last_address;
mod observe;

use netlink_sys::protocols::NETLINK_ROUTE;
use routerd_core::kernel::{KernelError, StepError};
use routerd_core::observed::Query;
use routerd_core::{Kernel, Observed, Step};

use crate::netlink::Socket;
use crate::nft::Nftables;
use crate::path_mtu::PathMtu;
use crate::wireguard::Drivers;

/// The network namespace of the thread that opened it. It must be used from that namespace.
#[derive(Debug)]
pub struct Host {
    wireguard: Drivers,
    route: Socket,
    nftables: Nftables,
    paths: Option<PathMtu>,
    /// Whether what is observed is also what is measured.
    leads: bool,
}

impl Host {
    /// Opens the calling thread's network namespace.
    ///
    /// # Errors
    /// When the kernel offers no netlink.
    pub fn open(wireguard: Drivers) -> Result<Self, KernelError> {
        Ok(Self {
            wireguard,
            route: Socket::open(NETLINK_ROUTE).map_err(failed("open rtnetlink"))?,
            nftables: Nftables::open().map_err(failed("open nftables"))?,
            paths: None,
            leads: false,
        })
    }

    /// Tells what was measured.
    #[must_use]
    pub fn reading(mut self, paths: PathMtu) -> Self {
        self.paths = Some(paths);
        self
    }

    /// Has measured what is asked for in an observation, from then on, and tells what was found.
    #[must_use]
    pub fn measuring(mut self, paths: PathMtu) -> Self {
        self.leads = true;
        self.reading(paths)
    }
}

impl Kernel for Host {
    fn observe(&mut self, query: &Query) -> Result<Observed, KernelError> {
        observe::observe(self, query)
    }

    /// Routes, addresses and neighbours that follow each other go to the kernel together: when one of them is refused, those
    /// behind it in the same batch may still have been done.
    fn apply(&mut self, steps: &[Step]) -> Result<(), StepError> {
        apply::apply(self, steps)
    }
}

fn failed<E: std::fmt::Display>(operation: impl Into<String>) -> impl FnOnce(E) -> KernelError {
    let operation = operation.into();
    move |error| KernelError {
        operation,
        reason: error.to_string(),
    }
}
