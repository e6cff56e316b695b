//! The Azure executor against the lab's Azure, in one process and on a virtual clock, and as a process that is
//! killed.

mod cases;
mod faults;
mod killed;
mod preflight;
mod process;
mod recorded;
mod verbs;
mod world;
