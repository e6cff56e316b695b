//! Provider executors: the only programs of routerd that hold cloud credentials and change a cloud.
//!
//! [`executor`] is the frame that all share, [`http`] the one HTTP layer, and each cloud a module:
//! [`azure`]. A further cloud is one module that implements [`executor::Provider`], one binary of three
//! lines, and its row in `tests/conformance`.
//!
//! Nothing here is linked into the daemon, and nothing here decides whether an action is allowed: policy and
//! journal belong to the daemon, which starts the binary, gives it one request and reads one result.

pub mod azure;
pub mod clock;
pub mod executor;
pub mod fault;
pub mod http;
