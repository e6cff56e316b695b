//! Event federation without its sockets: what is signed, what a receiver accepts, when a sender tries again,
//! when a subscription fires.
//!
//! Delivery is at least once and handling is idempotent. Time, nonces and jitter are arguments.

pub mod intent;
pub mod outbox;
pub mod receive;
pub mod signature;
pub mod subscription;
pub mod wire;
