//! The BGP speaker and the BFD machine, sans-I/O: bytes and times go in, bytes and events come out.
//!
//! Nothing here knows of sockets, threads or clocks. Time is an argument, randomness as well.

pub mod bfd;
