//! The lab's own knobs, below `/lab/`:
//!
//! | method, path | body | what |
//! |---|---|---|
//! | `GET /lab/requests` | – | what was asked so far; `DELETE` forgets it |
//! | `GET /lab/faults` | – | the faults still to strike; `PUT` a list of [`Fault`] replaces them |
//! | `PUT /lab/behaviour` | [`Behaviour`] | how fast it is, and what it offers |
//! | `GET /lab/token` | – | a token of the operator |

use std::time::Duration;

use serde::Deserialize;
use serde_json::json;

use super::{Azure, OPERATOR};
use crate::cloud::fault::Fault;
use crate::cloud::{Request, Response};

/// How a subscription behaves; what is left out stays.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Behaviour {
    operation_millis: Option<u64>,
    token_seconds: Option<u64>,
    page_size: Option<usize>,
    atomic_move: Option<bool>,
}

impl Azure {
    pub(super) fn lab(&mut self, now: Duration, request: &Request) -> Response {
        match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/lab/requests") => Response::json(200, &json!(self.log)),
            ("DELETE", "/lab/requests") => {
                self.clear_log();
                Response::empty(204)
            }
            ("GET", "/lab/faults") => Response::json(200, &json!(self.faults.pending())),
            ("PUT", "/lab/faults") => match serde_json::from_slice::<Vec<Fault>>(&request.body) {
                Ok(faults) => {
                    self.faults.set(faults);
                    Response::empty(204)
                }
                Err(error) => refused(&error.to_string()),
            },
            ("PUT", "/lab/behaviour") => match serde_json::from_slice(&request.body) {
                Ok(behaviour) => {
                    self.behave(&behaviour);
                    Response::empty(204)
                }
                Err(error) => refused(&error.to_string()),
            },
            ("GET", "/lab/token") => Response::json(
                200,
                &json!({"accessToken": self.issue_token(OPERATOR, now)}),
            ),
            _ => Response::json(404, &json!({"error": "there is no such knob"})),
        }
    }

    fn behave(&mut self, wanted: &Behaviour) {
        let site = &mut self.site;
        if let Some(millis) = wanted.operation_millis {
            site.operation_time = Duration::from_millis(millis);
        }
        if let Some(seconds) = wanted.token_seconds {
            site.token_lifetime = Duration::from_secs(seconds);
        }
        if let Some(size) = wanted.page_size {
            site.page_size = size.max(1);
        }
        if let Some(on) = wanted.atomic_move {
            site.atomic_move = on;
        }
    }
}

fn refused(why: &str) -> Response {
    Response::json(400, &json!({"error": why}))
}
