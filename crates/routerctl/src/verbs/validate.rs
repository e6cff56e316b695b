//! `routerctl validate`: reads and compiles the configuration here, without a daemon.

use api::control::Validation;
use routerd_core::config;

use crate::cli::Validate;
use crate::failure::{Failure, INVALID, OK};
use crate::input;
use crate::output::print;
use crate::terminal::Terminal;

pub(super) fn run(options: &Validate, terminal: &mut Terminal<'_>) -> Result<u8, Failure> {
    let config = input::read(&options.files.files, &mut terminal.input)?;
    let loaded = config::load(&config);
    let validation = Validation {
        diagnostics: loaded.diagnostics,
        resources: loaded.resources,
    };
    print(terminal, options.show.output, &validation, table)?;
    Ok(match errors(&validation) {
        0 => OK,
        _ => INVALID,
    })
}

fn table(validation: &Validation, terminal: &mut Terminal<'_>) -> Result<(), Failure> {
    for diagnostic in &validation.diagnostics {
        writeln!(terminal.out, "{diagnostic}\n")?;
    }
    let errors = errors(validation);
    let warnings = validation.diagnostics.len() - errors;
    let verdict = if errors == 0 { "valid" } else { "not valid" };
    let resources = count(validation.resources, "resource");
    let (errors, warnings) = (count(errors, "error"), count(warnings, "warning"));
    writeln!(terminal.out, "{verdict}: {resources}, {errors}, {warnings}")?;
    Ok(())
}

fn errors(validation: &Validation) -> usize {
    let found = validation.diagnostics.iter();
    found.filter(|diagnostic| diagnostic.is_error()).count()
}

/// `1 change`, `2 changes`.
pub(super) fn count(number: usize, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {what}{ending}")
}
