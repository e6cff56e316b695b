//! The speaker from outside: whole fabrics in memory, on a virtual clock.

mod decision;
mod fabric;
mod paths;
mod raw;
mod reflection;
mod restart;
mod rfc7606;
mod sessions;
