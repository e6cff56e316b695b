//! Why a verb failed, in the words of the action protocol.

use std::fmt;
use std::time::Duration;

use api::action::ErrorClass;
use api::action::protocol::ActionError;

/// A failure as the result will carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(ActionError);

impl Fault {
    /// A failure of this class; `detail` says what was seen, as a lowercase fragment.
    pub fn new(class: ErrorClass, detail: impl Into<String>) -> Self {
        Self(ActionError {
            class,
            detail: detail.into(),
            hint: None,
            permission: None,
            scope: None,
            retry_after_seconds: None,
        })
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Names the permission that is missing and what it is missing on.
    #[must_use]
    pub(crate) fn missing(mut self, permission: &str, scope: &str) -> Self {
        self.0.permission = Some(permission.to_owned());
        self.0.scope = Some(scope.to_owned());
        self
    }

    /// Says how long the cloud asks to wait.
    #[must_use]
    pub(crate) fn retry_after(mut self, pause: Duration) -> Self {
        self.0.retry_after_seconds = Some(pause.as_secs().max(1));
        self
    }

    /// How long the cloud asks to wait; nothing if it does not say.
    pub(crate) fn pause(&self) -> Duration {
        Duration::from_secs(self.0.retry_after_seconds.unwrap_or_default())
    }

    /// Puts a fragment in front of the detail.
    #[must_use]
    pub(crate) fn context(mut self, what: impl fmt::Display) -> Self {
        self.0.detail = format!("{what}: {}", self.0.detail);
        self
    }

    /// Which kind of failure.
    pub fn class(&self) -> ErrorClass {
        self.0.class
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.detail)
    }
}

impl std::error::Error for Fault {}

impl From<Fault> for ActionError {
    fn from(fault: Fault) -> Self {
        fault.0
    }
}
