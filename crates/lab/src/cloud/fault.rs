//! Misbehaviour on demand.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Request;

/// What goes wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "type",
    rename_all = "kebab-case",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum Effect {
    /// The answer comes late.
    Latency {
        /// By so many milliseconds.
        millis: u64,
    },
    /// 429; the request is not looked at.
    Throttle {
        /// `Retry-After`.
        retry_after_seconds: u64,
    },
    /// This error; the request is not looked at.
    Refuse {
        /// The status code.
        status: u16,
        /// The cloud's error code.
        code: String,
        /// The cloud's message.
        message: String,
    },
    /// The connection is closed before the request is looked at.
    Drop,
    /// The request is carried out and the connection closed without an answer.
    LoseAnswer,
    /// The asynchronous operation that the request starts ends without success and without effect.
    FailOperation {
        /// The cloud's error code.
        code: String,
        /// The cloud's message.
        message: String,
    },
    /// A move loses the address half-way: taken from the source, not given to the target.
    HalfMove,
    /// Another writer changes a member of the target just before the request is looked at.
    Race {
        /// JSON pointer of the member; created if it is not there.
        pointer: String,
        /// Its new value.
        value: Value,
    },
    /// Every token issued so far expires now.
    ExpireTokens,
}

/// A fault waiting for its request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// Only requests of this method.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Only requests whose path contains this, without regard to case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Lets so many matching requests pass first.
    #[serde(default)]
    pub skip: u32,
    /// Strikes so often; absent: once.
    #[serde(default = "once")]
    pub times: u32,
    /// What goes wrong.
    pub effect: Effect,
}

fn once() -> u32 {
    1
}

impl Fault {
    /// Strikes the next request.
    pub fn next(effect: Effect) -> Self {
        Self {
            method: None,
            path: None,
            skip: 0,
            times: 1,
            effect,
        }
    }

    /// Strikes requests of this method whose path contains `path` only.
    #[must_use]
    pub fn on(mut self, method: &str, path: &str) -> Self {
        self.method = Some(method.to_owned());
        self.path = Some(path.to_owned());
        self
    }

    /// Lets so many matching requests pass first.
    #[must_use]
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// Strikes so often.
    #[must_use]
    pub fn times(mut self, times: u32) -> Self {
        self.times = times;
        self
    }

    fn is_about(&self, request: &Request) -> bool {
        let method = self.method.as_ref();
        let path = self.path.as_ref();
        method.is_none_or(|method| method.eq_ignore_ascii_case(&request.method))
            && path.is_none_or(|part| {
                request
                    .path
                    .to_ascii_lowercase()
                    .contains(&part.to_ascii_lowercase())
            })
    }
}

/// The faults in force, in the order in which they were ordered.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// Orders a fault.
    pub fn add(&mut self, fault: Fault) {
        self.0.push(fault);
    }

    /// Replaces all.
    pub fn set(&mut self, faults: Vec<Fault>) {
        self.0 = faults;
    }

    /// Those still to strike.
    pub fn pending(&self) -> &[Fault] {
        &self.0
    }

    /// What strikes this request.
    pub fn strike(&mut self, request: &Request) -> Vec<Effect> {
        let mut effects = Vec::new();
        for fault in self.0.iter_mut().filter(|fault| fault.is_about(request)) {
            if fault.skip > 0 {
                fault.skip -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                effects.push(fault.effect.clone());
            }
        }
        self.0.retain(|fault| fault.times > 0);
        effects
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_waits_for_its_request_and_strikes_as_often_as_ordered() {
        let put = Request {
            method: "PUT".to_owned(),
            path: "/x/NIC1".to_owned(),
            ..Request::default()
        };
        let get = Request {
            method: "GET".to_owned(),
            ..put.clone()
        };
        let mut faults = Faults::default();
        faults.add(
            Fault::next(Effect::Drop)
                .on("PUT", "nic1")
                .after(1)
                .times(2),
        );
        let mut struck = |request| !faults.strike(request).is_empty();
        assert_eq!(
            [&put, &get, &put, &put, &put].map(&mut struck),
            [false, false, true, true, false]
        );
    }
}
