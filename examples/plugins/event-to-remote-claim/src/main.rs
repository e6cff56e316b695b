//! One request on standard input, one result on standard output.

use anyhow::{Context, Result};

fn main() -> Result<()> {
    let request = serde_json::from_reader(std::io::stdin().lock()).context("read the request")?;
    serde_json::to_writer(
        std::io::stdout().lock(),
        &event_to_remote_claim::run(&request),
    )
    .context("write the result")
}
