//! The speaker from outside: whole fabrics in memory, on a virtual clock.

mod fabric;
mod raw;
mod restart;
mod rfc7606;
mod sessions;
