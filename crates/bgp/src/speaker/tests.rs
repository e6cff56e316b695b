//! In place when the module is complete.
