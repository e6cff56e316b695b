//! What is asked of the lab rather than of a cloud, below `/lab/`, and alike for every cloud:
//!
//! | method, path | body | what |
//! |---|---|---|
//! | `GET /lab/requests` | – | what was asked so far; `DELETE` forgets it |
//! | `GET /lab/faults` | – | the faults still to strike; `PUT` a list of [`Fault`] replaces them |
//! | `PUT /lab/behaviour` | the cloud's own | how fast it is, and what it offers |
//! | `GET /lab/token` | – | a token of the operator |

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::fault::{Fault, Faults};
use super::{Cloud, Request, Response};

/// Requests kept.
const LOG: usize = 10_000;

/// A request that was answered, for tests and demonstrations. It carries no token.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Exchange {
    /// Who asked, if that could be told.
    pub principal: Option<String>,
    /// The method.
    pub method: String,
    /// The path.
    pub path: String,
    /// The query.
    pub query: BTreeMap<String, String>,
    /// `If-Match`.
    pub if_match: Option<String>,
    /// The body, if it was JSON.
    pub body: Option<Value>,
    /// The status of the answer, lost ones included; nothing if the request was not looked at.
    pub status: Option<u16>,
}

/// The part of a cloud's state that the lab keeps for itself.
#[derive(Debug, Default)]
pub struct Knobs {
    /// What goes wrong.
    pub faults: Faults,
    log: Vec<Exchange>,
}

impl Knobs {
    /// What was asked, oldest first.
    pub fn log(&self) -> &[Exchange] {
        &self.log
    }

    /// Forgets what was asked.
    pub fn clear_log(&mut self) {
        self.log.clear();
    }

    /// Remembers a request.
    pub fn note(&mut self, request: &Request, principal: Option<String>, status: Option<u16>) {
        if self.log.len() < LOG {
            self.log.push(Exchange {
                principal,
                method: request.method.clone(),
                path: request.path.clone(),
                query: request.query.clone(),
                if_match: request.header("if-match").map(str::to_owned),
                body: serde_json::from_slice(&request.body).ok(),
                status,
            });
        }
    }
}

/// Answers a request below `/lab/`.
pub(super) fn answer<C: Cloud>(cloud: &mut C, now: Duration, request: &Request) -> Response {
    match (request.method.as_str(), request.path.as_str()) {
        ("GET", "/lab/requests") => Response::json(200, &json!(cloud.knobs().log)),
        ("DELETE", "/lab/requests") => {
            cloud.knobs().clear_log();
            Response::empty(204)
        }
        ("GET", "/lab/faults") => Response::json(200, &json!(cloud.knobs().faults.pending())),
        ("PUT", "/lab/faults") => {
            let faults = serde_json::from_slice::<Vec<Fault>>(&request.body);
            turned(faults.map(|faults| cloud.knobs().faults.set(faults)))
        }
        ("PUT", "/lab/behaviour") => turned(cloud.behave(&request.body)),
        ("GET", "/lab/token") => {
            Response::json(200, &json!({"accessToken": cloud.operator_token(now)}))
        }
        _ => Response::json(404, &json!({"error": "there is no such knob"})),
    }
}

fn turned(done: Result<(), serde_json::Error>) -> Response {
    match done {
        Ok(()) => Response::empty(204),
        Err(error) => Response::json(400, &json!({"error": error.to_string()})),
    }
}
