//! `azure-provider-executor`: changes Azure's network with the machine's managed identity.

use std::process::ExitCode;

use providers::azure::Azure;
use providers::executor;

fn main() -> ExitCode {
    executor::main::<Azure>()
}
