//! Azure's error documents.

use std::time::Duration;

use serde_json::json;

use crate::cloud::Response;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) code: String,
    pub(super) message: String,
    details: Option<(String, String)>,
    retry_after: Option<Duration>,
}

impl Refusal {
    pub(super) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            details: None,
            retry_after: None,
        }
    }

    pub(super) fn throttled(seconds: u64) -> Self {
        Self {
            retry_after: Some(Duration::from_secs(seconds)),
            ..Self::new(
                429,
                "SubscriptionRequestsThrottled",
                format!(
                    "Number of requests exceeded the limit. Please try again after '{seconds}' seconds."
                ),
            )
        }
    }

    pub(super) fn not_found(id: &str) -> Self {
        let (name, kind) = {
            let mut parts = id.rsplit('/');
            let name = parts.next().unwrap_or_default();
            (name, parts.next().unwrap_or_default())
        };
        Self::new(
            404,
            "ResourceNotFound",
            format!("The Resource 'Microsoft.Network/{kind}/{name}' was not found."),
        )
    }

    pub(super) fn invalid(code: &str, message: impl Into<String>) -> Self {
        Self::new(400, code, message)
    }

    /// The tag in `If-Match` is not the resource's.
    pub(super) fn stale(given: &str, current: &str) -> Self {
        Self {
            details: Some((
                "PreconditionFailedEtagMismatch".to_owned(),
                format!(
                    "Etag provided in if-match header {given} does not match etag {current} of resource"
                ),
            )),
            ..Self::new(412, "PreconditionFailed", "Precondition failed.")
        }
    }

    pub(super) fn busy(operation: &str) -> Self {
        Self::new(
            409,
            "AnotherOperationInProgress",
            format!(
                "Another operation on this or dependent resource is in progress. To retrieve status of the \
                 operation use uri: {operation}."
            ),
        )
    }

    pub(super) fn response(&self) -> Response {
        let details: Vec<_> = self
            .details
            .iter()
            .map(|(code, message)| json!({"code": code, "message": message}))
            .collect();
        let mut error = json!({"code": self.code, "message": self.message});
        if !details.is_empty() {
            error["details"] = json!(details);
        }
        let response = Response::json(self.status, &json!({"error": error}));
        match self.retry_after {
            Some(pause) => response.header("retry-after", pause.as_secs().to_string()),
            None if self.status == 401 => response.header(
                "www-authenticate",
                "Bearer authorization_uri=\"https://login.microsoftonline.com/\", error=\"invalid_token\"",
            ),
            None => response,
        }
    }
}
