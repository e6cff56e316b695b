//! What the process of the sessions and the daemon say to each other: a JSON value a line. The process begins.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use bgp::bfd::{Settings, Transition};
use serde::{Deserialize, Serialize};

use super::{Ends, Overview};

/// To be raised when one side would not understand the other: then the daemon has the process [leave](Ask::Leave), and
/// starts one of its own kind.
pub(super) const VERSION: u32 = 1;

/// From the daemon.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Ask {
    /// Run exactly these sessions.
    Sessions {
        sessions: Vec<(Ends, Settings)>,
        /// For how long if nobody is there to ask for them.
        keep: Duration,
    },
    /// How does it stand?
    Overview,
    /// End every session in a way that its peer does not take for a failure, and then the process. The same in all
    /// versions.
    Leave,
}

/// From the process.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Tell {
    /// The first line.
    Hello(Hello),
    /// A session changed its state.
    Changed {
        ends: Ends,
        transition: Transition,
        /// How long ago.
        age: Duration,
    },
    /// The intervals of a session are so many times longer than asked for.
    Patience { ends: Ends, factor: u32 },
    /// A session could not be begun.
    Failed { ends: Ends, reason: String },
    /// The answer to [`Ask::Overview`].
    Overview(Box<Overview>),
}

/// Who speaks, and what runs already.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub(super) version: u32,
    pub(super) sessions: Vec<Standing>,
}

/// A session that runs already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its ends.
    pub ends: Ends,
    /// What was asked of it.
    pub settings: Settings,
    /// Whether it is up.
    pub up: bool,
}

/// Writes a value and the end of its line in one go.
pub(super) fn write(mut stream: &UnixStream, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line)
}

/// Maps as lists of pairs: keys of JSON are texts.
pub(super) mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<K: Serialize, V: Serialize, S: Serializer>(
        map: &BTreeMap<K, V>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(crate) fn deserialize<'de, K, V, D>(deserializer: D) -> Result<BTreeMap<K, V>, D::Error>
    where
        K: Deserialize<'de> + Ord,
        V: Deserialize<'de>,
        D: Deserializer<'de>,
    {
        let pairs = Vec::<(K, V)>::deserialize(deserializer)?;
        Ok(pairs.into_iter().collect())
    }
}
