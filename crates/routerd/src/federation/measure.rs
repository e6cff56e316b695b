//! Two nodes in one process, for `make bench NAME=events`: the code that runs between two machines, over the
//! loopback interface. Absolute figures mean nothing on a shared machine; ratios within one run do.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use api::ResourceId;
use api::event::Event;
use async_nats::jetstream::context::Context;
use futures_util::StreamExt;
use hyper::body::Bytes;
use routerd_core::Effective;
use routerd_core::federation::intent::{
    Auth, Federation, GroupIntent, NatsIntent, PeerIntent, Retention, Transport,
};
use routerd_core::federation::receive::{Batch, Outcome};
use routerd_core::federation::wire::{Address, Head};
use tokio::sync::watch;

use super::answer::event_id;
use super::exchange::{Exchange, Taken};
use super::{Running, Shared, now, start};

type Failure = Box<dyn std::error::Error + Send + Sync>;

const GROUP: &str = "bench";
/// How long anything may take before the measurement is given up.
const PATIENCE: Duration = Duration::from_secs(120);
/// Events of one transaction of the sender, as an observer that sees many clients at once would store them.
const CHUNK: usize = 500;

/// What carries the events.
#[derive(Debug, Clone, Copy)]
pub enum Carrier {
    /// HTTP/2.
    Direct,
    /// A NATS server with JetStream at this address.
    Nats(SocketAddr),
}

/// How fast events went.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Events a second, from the sender's store into the receiver's.
    pub per_second: f64,
    /// Median of the time of a lone event, in milliseconds.
    pub p50: f64,
    /// The time that one lone event in a hundred exceeds, in milliseconds.
    pub p99: f64,
}

/// Sends `events` events as fast as they go, then `lone` events one at a time.
///
/// # Errors
/// When a node cannot start or the events do not arrive in time.
pub fn end_to_end(carrier: Carrier, events: usize, lone: usize) -> Result<Sample> {
    let (sender, receiver) = (Node::new("sender")?, Node::new("receiver")?);
    let address = free_port()?;
    let (transport, endpoint) = match carrier {
        Carrier::Direct => (Transport::Direct, Some(address)),
        Carrier::Nats(server) => {
            let servers = vec![server];
            let nats = NatsIntent {
                servers,
                credentials: None,
            };
            (Transport::Nats(nats), None)
        }
    };
    let listen = endpoint;
    let there = receiver.start(transport.clone(), listen, &sender, None)?;
    let here = sender.start(transport, None, &receiver, endpoint)?;
    let (news, heard) = mpsc::channel();
    receiver.shared.store.on_new(move || {
        // Nobody listens any more once the last one was heard.
        let _ = news.send(Instant::now());
    });

    // One event first, so that connections are there.
    sender.append(1)?;
    receiver.wait_for(1)?;
    let began = Instant::now();
    sender.append(events)?;
    receiver.wait_for(1 + events as u64)?;
    let per_second = events as f64 / began.elapsed().as_secs_f64();

    let mut times = Vec::with_capacity(lone);
    while heard.try_recv().is_ok() {}
    for _ in 0..lone {
        let began = Instant::now();
        sender.append(1)?;
        let at = heard
            .recv_timeout(PATIENCE)
            .context("a lone event did not arrive")?;
        times.push(at.duration_since(began).as_secs_f64() * 1_000.0);
    }
    here.0.stop();
    there.0.stop();
    Ok(Sample {
        per_second,
        p50: quantile(&mut times, 0.5),
        p99: quantile(&mut times, 0.99),
    })
}

/// What a receiver needs for one event of a batch of 100, in microseconds, while it holds `stored` events: the
/// median over `rounds` batches.
///
/// # Errors
/// When a message is refused or cannot be stored.
pub fn receive_cost(stored: usize, rounds: usize) -> Result<f64> {
    const BATCH: usize = 100;
    let (sender, receiver) = (Node::new("sender")?, Node::new("receiver")?);
    receiver
        .shared
        .set_intent(receiver.intent(Transport::Direct, None, &sender, None)?);
    let foreign = |count| -> Result<Vec<Event>> { (0..count).map(|_| sender.event()).collect() };
    for _ in 0..stored / CHUNK {
        receiver.shared.store.append(now(), foreign(CHUNK)?)?;
    }
    let exchange = Exchange::new(Arc::clone(&receiver.shared), GROUP.to_owned());
    let signer = sender.shared.node_key.signer()?;
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let body = serde_json::to_vec(&Batch {
            events: foreign(BATCH)?,
        })?;
        let address = Address {
            group: GROUP,
            sender: "sender",
            recipient: "receiver",
        };
        let head = Head::sign(&signer, &address, now(), event_id(now())?, &body);
        let began = Instant::now();
        let taken = exchange.take(Ok(head), &body);
        times.push(began.elapsed().as_secs_f64() * 1_000_000.0 / BATCH as f64);
        ensure!(matches!(taken, Taken::Stored(200, _)), "{taken:?}");
    }
    Ok(quantile(&mut times, 0.5))
}

/// NATS JetStream alone, as `nats bench` drives it: one publisher that keeps many messages under way, one pull
/// consumer that acknowledges each; messages of an event's size.
///
/// # Errors
/// When the server does not answer.
pub fn plain_nats(server: SocketAddr, messages: usize, lone: usize) -> Result<Sample> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start runtime")?;
    let done = runtime.block_on(async {
        let measured = nats_alone(server, messages, lone);
        tokio::time::timeout(PATIENCE, measured).await
    });
    done.context("NATS is too slow")?
        .map_err(|error| anyhow::anyhow!("NATS: {error}"))
}

async fn nats_alone(server: SocketAddr, messages: usize, lone: usize) -> Result<Sample, Failure> {
    use async_nats::jetstream::{self, consumer::pull, stream};
    let context = jetstream::new(async_nats::connect(server.to_string()).await?);
    let wanted = stream::Config {
        name: "plain".to_owned(),
        subjects: vec!["plain".to_owned()],
        ..stream::Config::default()
    };
    let stream = context.get_or_create_stream(wanted).await?;
    let consumer = stream.get_or_create_consumer(
        "plain",
        pull::Config {
            durable_name: Some("plain".to_owned()),
            ..pull::Config::default()
        },
    );
    let mut incoming = consumer.await?.messages().await?;
    let payload = Bytes::from(vec![b'x'; 300]);

    let began = Instant::now();
    let publish = publish(&context, &payload, messages);
    let consume = async {
        for _ in 0..messages {
            let message = incoming.next().await.ok_or("the consumer ended")??;
            message.ack().await?;
        }
        Ok::<_, Failure>(())
    };
    tokio::try_join!(publish, consume)?;
    let per_second = messages as f64 / began.elapsed().as_secs_f64();

    let mut times = Vec::with_capacity(lone);
    for _ in 0..lone {
        let began = Instant::now();
        let acked = context.publish("plain", payload.clone()).await?;
        let message = incoming.next().await.ok_or("the consumer ended")??;
        times.push(began.elapsed().as_secs_f64() * 1_000.0);
        message.ack().await?;
        acked.await?;
    }
    Ok(Sample {
        per_second,
        p50: quantile(&mut times, 0.5),
        p99: quantile(&mut times, 0.99),
    })
}

/// Publishes with many messages under way; done when NATS has acknowledged all.
async fn publish(context: &Context, payload: &Bytes, mut left: usize) -> Result<(), Failure> {
    const UNDER_WAY: usize = 500;
    while left > 0 {
        let mut acks = Vec::with_capacity(UNDER_WAY);
        for _ in 0..left.min(UNDER_WAY) {
            acks.push(context.publish("plain", payload.clone()).await?);
        }
        left -= acks.len();
        for ack in acks {
            ack.await?;
        }
    }
    Ok(())
}

/// A node with a store of its own.
struct Node {
    name: &'static str,
    shared: Arc<Shared>,
    folder: Folder,
}

impl Node {
    fn new(name: &'static str) -> Result<Self> {
        let folder = Folder::new()?;
        let shared = Shared::open(&folder.0.join("routerd.db"), Arc::default())?;
        Ok(Self {
            name,
            shared,
            folder,
        })
    }

    fn intent(
        &self,
        transport: Transport,
        listen: Option<SocketAddr>,
        other: &Self,
        endpoint: Option<SocketAddr>,
    ) -> Result<Federation> {
        let group = GroupIntent {
            owner: ResourceId::new("EventGroup", GROUP),
            node: self.name.to_owned(),
            listen,
            retention: Retention {
                max_events: 10_000_000,
                max_age: 86_400_000,
            },
            replay_window: 300_000,
            auth: Auth::NodeKey,
            transport,
        };
        let peer = PeerIntent {
            owner: ResourceId::new("EventPeer", other.name),
            group: GROUP.to_owned(),
            node: other.name.to_owned(),
            endpoint,
            filter: Default::default(),
            keys: other
                .shared
                .node_key
                .signer()?
                .public_key()
                .into_iter()
                .collect(),
        };
        Ok(Federation {
            groups: BTreeMap::from([(GROUP.to_owned(), group)]),
            peers: BTreeMap::from([(other.name.to_owned(), peer)]),
            ..Federation::default()
        })
    }

    /// Runs it as a daemon would.
    fn start(
        &self,
        transport: Transport,
        listen: Option<SocketAddr>,
        other: &Self,
        endpoint: Option<SocketAddr>,
    ) -> Result<(Running, watch::Sender<Arc<Effective>>)> {
        let effective = Effective {
            federation: self.intent(transport, listen, other, endpoint)?,
            ..Effective::default()
        };
        let (sender, follower) = watch::channel(Arc::new(effective));
        Ok((start(Arc::clone(&self.shared), follower)?, sender))
    }

    fn event(&self) -> Result<Event> {
        let now = now();
        Ok(Event {
            id: event_id(now)?,
            group: GROUP.to_owned(),
            source_node: self.name.to_owned(),
            kind: "routerd.client.ipv4.observed".to_owned(),
            subject: "10.88.60.9/32".to_owned(),
            dedupe_key: None,
            payload: BTreeMap::from([
                ("address".to_owned(), "10.88.60.9/32".to_owned()),
                ("domain".to_owned(), "cloudedge-same-subnet".to_owned()),
            ]),
            observed_at: now,
            expires_at: now.plus_millis(3_600_000),
        })
    }

    fn append(&self, mut count: usize) -> Result<()> {
        while count > 0 {
            let chunk = count.min(CHUNK);
            let events = (0..chunk)
                .map(|_| self.event())
                .collect::<Result<Vec<_>>>()?;
            let outcomes = self.shared.store.append(now(), events)?;
            ensure!(
                outcomes.iter().all(|o| *o == Outcome::Accepted),
                "{outcomes:?}"
            );
            count -= chunk;
        }
        Ok(())
    }

    fn wait_for(&self, count: u64) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while self.shared.store.count(GROUP)? < count {
            if Instant::now() > deadline {
                bail!(
                    "{}: {count} events did not arrive: {:?}",
                    self.name,
                    self.shared.troubles()
                );
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // A folder that stays costs space in a temporary directory, nothing more.
        let _ = std::fs::remove_dir_all(&self.folder.0);
    }
}

/// A folder of one node.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let name = format!("routerd-measure-{}", event_id(now())?);
        let path = Path::new(&std::env::temp_dir()).join(name);
        std::fs::create_dir(&path).with_context(|| format!("make {}", path.display()))?;
        Ok(Self(path))
    }
}

fn free_port() -> Result<SocketAddr> {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").context("find a port")?;
    socket.local_addr().context("find a port")
}

fn quantile(values: &mut [f64], at: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = (values.len() as f64 * at) as usize;
    values
        .get(index.min(values.len().saturating_sub(1)))
        .copied()
        .unwrap_or_default()
}
