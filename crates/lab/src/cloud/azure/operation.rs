//! Long-running changes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::store::Progress;
use super::{Answer, Azure, Call, Refusal};
use crate::cloud::Response;
use crate::fabric::FabricState;

/// What becomes of an operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Ending {
    /// It has its effect.
    #[default]
    Well,
    /// It has none.
    Failed { code: String, message: String },
    /// It has the first half of its effect; only a move has halves.
    Half,
}

/// What an operation changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Work {
    /// This NIC.
    Nic(String),
    /// An address goes from one NIC to another.
    Move(Box<Moving>),
    /// This route is written.
    Route(String),
    /// This route is removed.
    RemoveRoute(String),
}

/// Two NICs, the source first, and what they were before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Moving {
    pub(super) ids: [String; 2],
    pub(super) before: [Value; 2],
}

#[derive(Debug, Clone)]
pub(super) struct Operation {
    pub(super) id: String,
    work: Work,
    ending: Ending,
    due: Duration,
    /// Nothing while it is in progress.
    end: Option<Result<(), (String, String)>>,
}

#[derive(Debug, Default)]
pub(super) struct Operations {
    all: BTreeMap<String, Operation>,
}

impl Operations {
    /// Those that end now.
    pub(super) fn due(&self, now: Duration) -> Vec<Operation> {
        let mut due: Vec<Operation> = self
            .all
            .values()
            .filter(|operation| operation.end.is_none() && operation.due <= now)
            .cloned()
            .collect();
        due.sort_by_key(|operation| operation.due);
        due
    }
}

impl Azure {
    /// Begins a change; it ends on its own.
    pub(super) fn begin(&mut self, call: &Call<'_>, work: Work) -> String {
        let id = format!(
            "00000000-0000-0000-0003-{:012x}",
            self.operations.all.len() + 1
        );
        let operation = Operation {
            id: id.clone(),
            work,
            ending: call.ending.clone(),
            due: call.now + self.site.operation_time,
            end: None,
        };
        self.operations.all.insert(id.clone(), operation);
        id
    }

    /// The answer that a change has been begun.
    pub(super) fn accepted(
        &self,
        call: &Call<'_>,
        response: Response,
        operation: &str,
    ) -> Response {
        let link = |kind: &str| {
            let version = call.request.parameter("api-version").unwrap_or_default();
            format!(
                "{}{}/providers/Microsoft.Network/locations/{}/{kind}/{operation}?api-version={version}",
                call.request.base,
                self.site.subscription_id(),
                self.site.location,
            )
        };
        let response = response
            .header("azure-asyncoperation", link("operations"))
            .header("retry-after", self.retry_after());
        if call.request.method == "PUT" {
            response
        } else {
            response.header("location", link("operationResults"))
        }
    }

    /// Half of what an operation takes, in whole seconds as the header has them: Azure's clients take 0 for no
    /// answer, and wait for half a minute.
    fn retry_after(&self) -> String {
        let time = self.site.operation_time;
        let seconds = if time.is_zero() {
            0
        } else {
            (time.as_secs() / 2).clamp(1, 10)
        };
        seconds.to_string()
    }

    /// An operation has come to its end: its effect reaches the table, or not.
    pub(super) fn finish(&mut self, fabric: &mut FabricState, operation: &Operation) {
        let end = match (&operation.ending, &operation.work) {
            (Ending::Failed { code, message }, _) => Err((code.clone(), message.clone())),
            (Ending::Half, Work::Move(moving)) => self.half_a_move(fabric, moving),
            (_, Work::Nic(id)) => self.apply_nic(fabric, id),
            (_, Work::Move(moving)) => moving
                .ids
                .iter()
                .try_for_each(|id| self.apply_nic(fabric, id)),
            (_, Work::Route(id)) => self.apply_route(fabric, id),
            (_, Work::RemoveRoute(id)) => self.apply_removal(fabric, id),
        };
        let progress = if end.is_ok() {
            Progress::Settled
        } else {
            Progress::Failed
        };
        match &operation.work {
            Work::RemoveRoute(id) if end.is_ok() => self.store.remove(id),
            Work::Nic(id) | Work::Route(id) | Work::RemoveRoute(id) => {
                self.store.set_progress(id, progress);
            }
            Work::Move(moving) => self.end_move(moving, &operation.ending, end.is_ok()),
        }
        if let Some(entry) = self.operations.all.get_mut(&operation.id) {
            entry.end = Some(end);
        }
    }

    /// `…/locations/L/operations/ID`.
    pub(super) fn operation_status(&self, id: &str) -> Answer {
        let operation = self.operation(id)?;
        Ok(match &operation.end {
            None => Response::json(200, &json!({"status": "InProgress"}))
                .header("retry-after", self.retry_after()),
            Some(Ok(())) => Response::json(200, &json!({"status": "Succeeded"})),
            Some(Err((code, message))) => Response::json(
                200,
                &json!({"status": "Failed", "error": {"code": code, "message": message, "details": []}}),
            ),
        })
    }

    /// `…/locations/L/operationResults/ID`.
    pub(super) fn operation_result(&self, call: &Call<'_>, id: &str) -> Answer {
        let operation = self.operation(id)?;
        match &operation.end {
            None => Ok(self.accepted(call, Response::empty(202), id)),
            Some(Err((code, message))) => Err(Refusal::new(500, code, message.as_str())),
            Some(Ok(())) => Ok(match &operation.work {
                Work::RemoveRoute(_) => Response::empty(204),
                Work::Move(_) => Response::empty(200),
                Work::Nic(id) | Work::Route(id) => match self.store.render(id) {
                    Some(document) => Response::json(200, &document),
                    None => Response::empty(204),
                },
            }),
        }
    }

    fn operation(&self, id: &str) -> Result<&Operation, Refusal> {
        self.operations.all.get(id).ok_or_else(|| {
            Refusal::new(
                404,
                "OperationNotFound",
                format!("The operation {id} was not found."),
            )
        })
    }
}
