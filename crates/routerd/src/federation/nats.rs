//! The same messages by way of NATS JetStream: one stream a group, one subject a recipient, one durable consumer a
//! node. NATS keeps a message until its recipient has stored it, so sender and recipient need not be up together.
//! It is not trusted: signatures are checked at the end as with any other transport.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::Context;
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::jetstream::{self, AckKind, Message};
use async_nats::{ConnectOptions, HeaderMap};
use futures_util::StreamExt;
use hyper::body::Bytes;
use routerd_core::federation::intent::NatsIntent;
use routerd_core::federation::receive::{MAX_BODY, Refusal};
use routerd_core::federation::wire::Head;

use super::Shared;
use super::courier::Sent;
use super::exchange::{Exchange, Taken};

/// How long to wait for a connection, and for NATS to say that it has a message.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait before a server that was lost is looked for again.
const PAUSE: Duration = Duration::from_secs(1);
/// When a message comes again that this node could not store.
const AGAIN_SOON: Duration = Duration::from_secs(1);
/// When a message comes again whose signature did not fit: its sender may be new and its key on the way.
const AGAIN_LATER: Duration = Duration::from_secs(30);
/// How often a message comes before it is given up.
const MAX_DELIVERIES: i64 = 50;
/// How long NATS waits for us before it hands a message out again.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// Messages that are handed out and not settled.
const IN_FLIGHT: i64 = 64;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The names that a group has in NATS.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Names {
    stream: String,
    all: String,
    prefix: String,
}

impl Names {
    fn of(group: &str) -> Self {
        let group = token(group);
        Self {
            stream: format!("routerd-{group}"),
            all: format!("routerd.events.{group}.*"),
            prefix: format!("routerd.events.{group}"),
        }
    }

    fn subject(&self, recipient: &str) -> String {
        format!("{}.{}", self.prefix, token(recipient))
    }
}

/// A name as one token of a subject: the dot separates tokens there.
fn token(name: &str) -> String {
    name.replace('.', "%2E")
}

/// Hands messages for one peer to NATS.
pub(super) struct Publisher {
    nats: NatsIntent,
    names: Names,
    subject: String,
    /// How long NATS keeps a message that nobody takes.
    max_age: Duration,
    context: Option<Context>,
}

impl Publisher {
    /// Nothing is opened yet.
    pub(super) fn new(nats: NatsIntent, group: &str, peer: &str, max_age: Duration) -> Self {
        let names = Names::of(group);
        Self {
            nats,
            subject: names.subject(peer),
            names,
            max_age,
            context: None,
        }
    }

    /// Hands one batch over; done when NATS has stored it.
    pub(super) async fn send(&mut self, head: &Head, body: Bytes) -> Sent {
        match tokio::time::timeout(TIMEOUT, self.publish(head, body)).await {
            Ok(Ok(())) => Sent::Kept,
            Ok(Err(error)) => self.lost(error.to_string()),
            Err(_) => self.lost(format!("no answer within {} s", TIMEOUT.as_secs())),
        }
    }

    fn lost(&mut self, error: String) -> Sent {
        self.context = None;
        Sent::Unavailable {
            retry_after: None,
            error: format!("NATS: {error}"),
        }
    }

    async fn publish(&mut self, head: &Head, body: Bytes) -> Result<(), Failure> {
        let context = match self.context.take() {
            Some(context) => context,
            None => {
                let context = connect(&self.nats).await?;
                ensure_stream(&context, &self.names, self.max_age).await?;
                context
            }
        };
        let mut fields = HeaderMap::new();
        for (name, value) in Head::NAMES.iter().zip(head.values()) {
            fields.insert(*name, value);
        }
        let publish = context.publish_with_headers(self.subject.clone(), fields, body);
        publish.await?.await?;
        self.context = Some(context);
        Ok(())
    }
}

/// Receives the messages for this node for as long as it is not dropped.
pub(super) async fn receive(shared: Arc<Shared>, group: String, nats: NatsIntent) {
    let resource = format!("EventGroup/{group}");
    let exchange = Arc::new(Exchange::new(Arc::clone(&shared), group.clone()));
    loop {
        let ended = receive_until_lost(&shared, &exchange, &group, &nats).await;
        let why = ended.map_or_else(
            |error| format!("NATS: {error}"),
            |()| "NATS: lost".to_owned(),
        );
        shared.trouble(resource.clone(), Some(why));
        tokio::time::sleep(PAUSE).await;
    }
}

async fn receive_until_lost(
    shared: &Arc<Shared>,
    exchange: &Arc<Exchange>,
    group: &str,
    nats: &NatsIntent,
) -> Result<(), Failure> {
    let consumer = tokio::time::timeout(TIMEOUT, consume(shared, group, nats)).await??;
    shared.trouble(format!("EventGroup/{group}"), None);
    let mut messages = consumer.messages().await?;
    while let Some(message) = messages.next().await {
        let message = message?;
        let kind = take(exchange, &message).await;
        message.ack_with(kind).await?;
    }
    Ok(())
}

async fn consume(
    shared: &Arc<Shared>,
    group: &str,
    nats: &NatsIntent,
) -> Result<PullConsumer, Failure> {
    let intent = shared.intent();
    let own = intent.groups.get(group).ok_or("the group was removed")?;
    let names = Names::of(group);
    let context = connect(nats).await?;
    let max_age = Duration::from_millis(own.retention.max_age);
    let stream = ensure_stream(&context, &names, max_age).await?;
    let durable = token(&own.node);
    let wanted = pull::Config {
        durable_name: Some(durable.clone()),
        filter_subject: names.subject(&own.node),
        ack_policy: AckPolicy::Explicit,
        ack_wait: ACK_WAIT,
        max_deliver: MAX_DELIVERIES,
        max_ack_pending: IN_FLIGHT,
        ..pull::Config::default()
    };
    Ok(stream.get_or_create_consumer(&durable, wanted).await?)
}

/// Takes one message; what is stored is on the disk when NATS is told to forget it.
async fn take(exchange: &Arc<Exchange>, message: &Message) -> AckKind {
    let taken = if message.payload.len() > MAX_BODY {
        exchange.refuse(Refusal::TooLarge)
    } else {
        let fields = message.headers.clone().unwrap_or_default();
        let (exchange, body) = (Arc::clone(exchange), message.payload.clone());
        let taken = tokio::task::spawn_blocking(move || {
            let head = Head::read(|name| fields.get(name).map(|value| value.as_str()));
            exchange.take(head, &body)
        });
        taken
            .await
            .unwrap_or_else(|error| Taken::Failed(error.to_string()))
    };
    match taken {
        Taken::Stored(..) => AckKind::Ack,
        Taken::Refused(Refusal::Signature) => AckKind::Nak(Some(AGAIN_LATER)),
        Taken::Refused(Refusal::Busy) => AckKind::Nak(Some(AGAIN_SOON)),
        Taken::Refused(_) => AckKind::Term,
        Taken::Failed(error) => {
            tracing::warn!("cannot take a message: {error}");
            AckKind::Nak(Some(AGAIN_SOON))
        }
    }
}

async fn connect(nats: &NatsIntent) -> Result<Context, Failure> {
    let options = match &nats.credentials {
        None => ConnectOptions::new(),
        Some(path) => credentials(path)?,
    };
    let client = options
        .name("routerd")
        .connection_timeout(TIMEOUT)
        .ignore_discovered_servers()
        .connect(
            nats.servers
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>(),
        )
        .await?;
    Ok(jetstream::new(client))
}

/// `USER:PASSWORD`, or a token.
fn credentials(path: &Path) -> Result<ConnectOptions, Failure> {
    let text =
        std::fs::read_to_string(path).map_err(|e| format!("read {}: {e}", path.display()))?;
    let line = text.lines().next().unwrap_or_default().trim();
    Ok(match line.split_once(':') {
        Some((user, password)) => {
            ConnectOptions::with_user_and_password(user.to_owned(), password.to_owned())
        }
        None => ConnectOptions::with_token(line.to_owned()),
    })
}

async fn ensure_stream(
    context: &Context,
    names: &Names,
    max_age: Duration,
) -> Result<jetstream::stream::Stream, Failure> {
    let wanted = Config {
        name: names.stream.clone(),
        subjects: vec![names.all.clone()],
        max_age,
        storage: StorageType::File,
        ..Config::default()
    };
    Ok(context.get_or_create_stream(wanted).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_dots_stay_one_token() {
        let names = Names::of("cloud.edge");
        assert_eq!(names.stream, "routerd-cloud%2Eedge");
        assert_eq!(
            names.subject("aws.a"),
            "routerd.events.cloud%2Eedge.aws%2Ea"
        );
    }
}
