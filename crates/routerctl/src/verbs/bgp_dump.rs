//! `routerctl bgp dump`: the speaker's paths for the tools that read MRT.

use std::path::Path;

use crate::cli::BgpVerb;
use crate::client::Client;
use crate::failure::{Failure, OK};
use crate::terminal::Terminal;

pub(super) fn run(
    verb: &BgpVerb,
    client: &Client,
    terminal: &mut Terminal<'_>,
) -> Result<u8, Failure> {
    let BgpVerb::Dump { mrt } = verb;
    let table = client.get_octets("/v1/bgp/dump")?;
    if mrt == Path::new("-") {
        terminal.out.write_all(&table)?;
        return Ok(OK);
    }
    std::fs::write(mrt, &table).map_err(|source| {
        let message = format!("write {}: {source}", mrt.display());
        std::io::Error::new(source.kind(), message)
    })?;
    writeln!(terminal.out, "{}: {} octets", mrt.display(), table.len())?;
    Ok(OK)
}
