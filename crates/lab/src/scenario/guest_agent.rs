use super::trial::Trial;
use anyhow::Result;
pub(super) fn run(trial: &mut Trial<'_>) -> Result<()> {
    let _ = trial;
    Ok(())
}
