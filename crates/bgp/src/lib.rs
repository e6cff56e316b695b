//! The BGP speaker and the BFD machine, sans-I/O: bytes and times go in, bytes and events come out.
//!
//! Nothing here knows of sockets, threads or clocks. Time is an argument ([`Moment`]), randomness as well.

pub mod bfd;

use std::time::Duration;

/// A point in time: how long ago an arbitrary fixed moment was. Never goes back.
pub type Moment = Duration;
