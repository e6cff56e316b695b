//! Two nodes and what may happen between them, on a clock of their own.

mod faults;
mod refusals;
mod site;
mod transports;
