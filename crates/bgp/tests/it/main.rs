//! The speaker from outside: whole fabrics in memory, on a virtual clock.

mod fabric;
mod restart;
mod sessions;
