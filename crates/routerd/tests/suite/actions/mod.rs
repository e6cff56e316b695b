//! Provider actions from the command line down to an executor in its sandbox, and what of it survives a kill.

mod bench;
mod faults;
mod gates;
mod journal;
mod plugins;
mod secrets;
mod story;
