//! Configurations: golden cases and properties.

mod golden;
mod properties;
mod scale;
