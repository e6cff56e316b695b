//! Tokens for Resource Manager: of the machine's managed identity, or of a command.

use std::cell::RefCell;
use std::io::Read;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use api::action::ErrorClass;
use api::action::protocol::ProviderAuth;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::metadata::{self, MetadataService};
use crate::fault::Fault;

/// How long a command may take to print a token: `az` takes seconds on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where tokens come from, and the one in use. A token is never printed.
pub(super) struct Identity<'a> {
    source: Source<'a>,
    token: RefCell<Option<String>>,
}

enum Source<'a> {
    Managed {
        service: MetadataService<'a>,
        /// The token's audience.
        resource: String,
        /// Which user-assigned identity; absent: the system-assigned one, or the only one.
        client_id: Option<String>,
    },
    Command(Vec<String>),
}

impl<'a> Identity<'a> {
    /// `client_id` picks a user-assigned identity.
    pub(super) fn new(
        auth: &ProviderAuth,
        service: MetadataService<'a>,
        resource: String,
        client_id: Option<String>,
    ) -> Self {
        let source = match auth {
            ProviderAuth::MachineIdentity {} => Source::Managed {
                service,
                resource,
                client_id,
            },
            ProviderAuth::ExternalCommand { command } => Source::Command(command.clone()),
        };
        Self {
            source,
            token: RefCell::new(None),
        }
    }

    /// The token in use, or a first one.
    pub(super) fn token(&self) -> Result<String, Fault> {
        if let Some(token) = self.token.borrow().as_ref() {
            return Ok(token.clone());
        }
        let token = self.fetch()?;
        *self.token.borrow_mut() = Some(token.clone());
        Ok(token)
    }

    /// Forgets the token in use: the server says that it is no good.
    pub(super) fn discard(&self) {
        *self.token.borrow_mut() = None;
    }

    /// Who the token says we are, for people. Its signature is the server's business.
    pub(super) fn describe(&self) -> Result<String, Fault> {
        let token = self.token()?;
        let claims = token
            .split('.')
            .nth(1)
            .and_then(|part| URL_SAFE_NO_PAD.decode(part.trim_end_matches('=')).ok())
            .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
            .unwrap_or(Value::Null);
        let claim = |name: &str| claims.get(name).and_then(Value::as_str);
        let object = claim("oid").unwrap_or("unknown");
        Ok(match claim("xms_mirid").or(claim("appid")) {
            Some(name) => format!("{name} (object id {object})"),
            None => format!("object id {object}"),
        })
    }

    fn fetch(&self) -> Result<String, Fault> {
        match &self.source {
            Source::Managed {
                service,
                resource,
                client_id,
            } => managed(service, resource, client_id.as_deref()),
            Source::Command(command) => from_command(command),
        }
    }
}

fn managed(
    service: &MetadataService<'_>,
    resource: &str,
    client_id: Option<&str>,
) -> Result<String, Fault> {
    let mut query = format!(
        "api-version=2018-02-01&resource={}",
        metadata::escape(resource)
    );
    if let Some(id) = client_id {
        query.push_str(&format!("&client_id={}", metadata::escape(id)));
    }
    let answer = service.get("/metadata/identity/oauth2/token", &query)?;
    if answer.is_success()
        && let Some(token) = answer.json().as_ref().and_then(token_in)
    {
        return Ok(token);
    }
    let said = answer
        .json()
        .and_then(|body| Some(body.get("error_description")?.as_str()?.to_owned()))
        .unwrap_or_default();
    Err(Fault::new(
        ErrorClass::Authentication,
        format!("the metadata service gives no token (status {}): {said}", answer.status),
    )
    .hint(
        "assign a managed identity to this machine: az vm identity assign; with several user-assigned ones \
         set AZURE_CLIENT_ID in the plugin's env",
    ))
}

fn from_command(command: &[String]) -> Result<String, Fault> {
    let refused = |why: String| {
        Fault::new(ErrorClass::Authentication, why)
            .hint("auth.command must print a token, or JSON with `accessToken`")
    };
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| refused("auth.command is empty".to_owned()))?;
    let printed = run(program, arguments).map_err(refused)?;
    let text = String::from_utf8_lossy(&printed).trim().to_owned();
    let token = match serde_json::from_str::<Value>(&text) {
        Ok(document) => token_in(&document),
        Err(_) => (!text.is_empty() && !text.contains(char::is_whitespace)).then_some(text),
    };
    token.ok_or_else(|| refused(format!("{program} printed no token")))
}

/// What a program prints, unless it fails or takes too long.
fn run(program: &str, arguments: &[String]) -> Result<Vec<u8>, String> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("start {program}: {error}"))?;
    let (done, printed) = mpsc::channel();
    if let Some(mut output) = child.stdout.take() {
        // Left behind when the program hangs: whoever holds the pipe may outlive the program itself.
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let read = output.read_to_end(&mut text).map(|_| text);
            done.send(read)
        });
    }
    let printed = printed.recv_timeout(PATIENCE);
    if printed.is_err() {
        // It may have ended in between; what counts is that it is not there any more.
        let _ = child.kill();
    }
    let status = child
        .wait()
        .map_err(|error| format!("wait for {program}: {error}"))?;
    match printed {
        Err(_) => Err(format!(
            "{program} took longer than {} s",
            PATIENCE.as_secs()
        )),
        Ok(Err(error)) => Err(format!("read from {program}: {error}")),
        Ok(Ok(_)) if !status.success() => Err(format!("{program} ended with {status}")),
        Ok(Ok(text)) => Ok(text),
    }
}

fn token_in(document: &Value) -> Option<String> {
    ["access_token", "accessToken"]
        .into_iter()
        .find_map(|name| document.get(name)?.as_str())
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(script: &str) -> Result<String, Fault> {
        from_command(&["sh".to_owned(), "-c".to_owned(), script.to_owned()])
    }

    #[test]
    fn a_command_prints_a_token_or_a_document_with_one() {
        assert_eq!(command("echo secret").ok().as_deref(), Some("secret"));
        let document = command(r#"echo '{"accessToken": "secret", "tokenType": "Bearer"}'"#);
        assert_eq!(document.ok().as_deref(), Some("secret"));
    }

    #[test]
    fn a_command_that_prints_none_is_not_believed_and_not_repeated() {
        for script in ["true", "echo two words", "echo '{}'", "echo secret; exit 3"] {
            let fault = command(script).expect_err(script);
            assert_eq!(fault.class(), ErrorClass::Authentication);
            assert!(!fault.to_string().contains("secret"), "{fault}");
        }
        let missing = from_command(&["/nowhere/az".to_owned()]).expect_err("nothing to start");
        assert!(missing.to_string().contains("/nowhere/az"), "{missing}");
    }
}
