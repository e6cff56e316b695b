//! What all sessions have: times, passwords, distance, BFD.

use std::borrow::Cow;
use std::num::NonZeroU8;
use std::time::Duration;

use api::{Diagnostic, ResourceId};
use bgp::{AddPath, GracefulRestart, Timers};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};

use crate::config::draft::{Draft, Resource};
use crate::config::sink::Sink;
use crate::effective::{BfdIntent, Hops, Password, PasswordSource};
use crate::kinds::field::{
    AbsolutePath, Complaint, KERNEL_INTERFACE, Reference, Span, Text, TextField,
};

/// Times of a session. What is not written comes from the profile.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct SessionTimers {
    /// A set of times.
    profile: Option<TimerProfile>,
    /// How long a silent peer counts as alive, in whole seconds, at least 3s.
    hold_time: Option<Text<Span>>,
    /// The time between two signs of life, in whole seconds. At most a third of the hold time.
    keepalive_time: Option<Text<Span>>,
    /// The time between two attempts to connect.
    connect_retry_time: Option<Text<Span>>,
}

/// A set of times: hold, keepalive and retry.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum TimerProfile {
    /// 90s, 30s, 10s.
    #[default]
    Default,
    /// 9s, 3s, 1s.
    Fast,
    /// 180s, 60s, 30s.
    Slow,
}

impl TimerProfile {
    pub(super) fn timers(self) -> Timers {
        match self {
            Self::Default => Timers::DEFAULT,
            Self::Fast => Timers::FAST,
            Self::Slow => Timers::SLOW,
        }
    }
}

impl SessionTimers {
    /// The times, on top of those that hold without them.
    pub(super) fn compile(
        &self,
        base: Timers,
        resource: &Resource<'_>,
        sink: &mut Sink<'_>,
    ) -> Timers {
        let mut timers = self.profile.map_or(base, TimerProfile::timers);
        let written = |span: &Option<Text<Span>>| span.as_ref().map(|span| span.0.0);
        if let Some(hold) = written(&self.hold_time) {
            timers.hold = hold;
            timers.keepalive = hold / 3;
        }
        timers.keepalive = written(&self.keepalive_time).unwrap_or(timers.keepalive);
        timers.connect_retry = written(&self.connect_retry_time).unwrap_or(timers.connect_retry);
        let least = Duration::from_secs(3);
        let whole = |span: Duration| span.subsec_nanos() == 0;
        let (field, message, hint) = if timers.hold < least || !whole(timers.hold) {
            (
                "holdTime",
                "a hold time has whole seconds and at least three",
                "write `3s` or more; BFD detects faster",
            )
        } else if timers.hold > Duration::from_secs(u16::MAX.into()) {
            (
                "holdTime",
                "a hold time has at most 65535 seconds",
                "write `3m`, for example",
            )
        } else if timers.keepalive > timers.hold / 3 {
            (
                "keepaliveTime",
                "the keepalive time is at most a third of the hold time",
                "leave it out: a third is the default",
            )
        } else {
            return timers;
        };
        let found = Diagnostic::error("bad-timer", message).hint(hint);
        resource.report(sink, &format!("timers.{field}"), found);
        base
    }
}

/// Graceful restart (RFC 4724).
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Graceful {
    /// Whether it is offered. Default: true.
    enabled: Option<bool>,
    /// How long peers wait for this node to come back, in whole seconds, at most 4095s. Default: 120s.
    restart_time: Option<Text<Span>>,
    /// How long routes of a peer that came back are kept until it has told them anew. Default: 360s.
    stale_path_time: Option<Text<Span>>,
    /// How long routes of a peer that did not come back in time are kept beyond that, as the last choice, if the peer agrees
    /// (RFC 9494): in whole seconds, at most 16777215s. Absent: not at all.
    long_lived_stale_time: Option<Text<Span>>,
}

impl Graceful {
    pub(super) fn compile(&self, resource: &Resource<'_>, sink: &mut Sink<'_>) -> GracefulRestart {
        let mut graceful = GracefulRestart::default();
        graceful.enabled = self.enabled.unwrap_or(graceful.enabled);
        if let Some(time) = &self.restart_time {
            let fits = time.0.0.subsec_nanos() == 0 && time.0.0.as_secs() <= 4095;
            if !fits {
                let message = "a restart time has whole seconds, at most 4095";
                let found = Diagnostic::error("bad-timer", message).hint("write `120s`");
                resource.report(sink, "gracefulRestart.restartTime", found);
            }
            graceful.restart_time = time.0.0;
        }
        if let Some(time) = &self.stale_path_time {
            graceful.stale_path_time = time.0.0;
        }
        if let Some(time) = &self.long_lived_stale_time {
            let fits = time.0.0.subsec_nanos() == 0 && time.0.0.as_secs() < 1 << 24;
            if !fits || !graceful.enabled {
                let (message, hint) = if fits {
                    (
                        "routes are kept longer only where they are kept at all",
                        "leave `enabled: false` out",
                    )
                } else {
                    (
                        "a long-lived stale time has whole seconds, at most 16777215",
                        "write `24h`",
                    )
                };
                let found = Diagnostic::error("bad-timer", message).hint(hint);
                resource.report(sink, "gracefulRestart.longLivedStaleTime", found);
            }
            graceful.long_lived = Some(time.0.0);
        }
        graceful
    }
}

/// Several paths of one prefix in one session (RFC 7911).
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Paths {
    /// Whether several paths of one prefix are taken.
    #[serde(default)]
    receive: bool,
    /// How many paths of one prefix are sent, the best first. Absent: the best alone.
    #[schemars(range(min = 1, max = 16))]
    send: Option<u8>,
}

impl Paths {
    pub(super) fn compile(self) -> AddPath {
        AddPath {
            receive: self.receive,
            send: self.send,
        }
    }
}

/// A password in the configuration. It is never printed.
#[derive(Debug, Clone)]
pub(crate) struct PasswordText(pub(super) Password);

impl TextField for PasswordText {
    const FORMAT: &'static str = "password";
    const WHAT: &'static str = "a password (1 to 80 bytes without control characters)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        Password::new(text).map(Self).ok_or_else(|| Complaint {
            id: "bad-password",
            message: format!("what stands here is not {}", Self::WHAT),
            hint: Some("`passwordFrom` keeps it out of this file".to_owned()),
        })
    }
}

impl<'de> Deserialize<'de> for PasswordText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text).map_err(|complaint| serde::de::Error::custom(complaint.message))
    }
}

impl JsonSchema for PasswordText {
    fn schema_name() -> Cow<'static, str> {
        Self::FORMAT.into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": Self::FORMAT, "x-secret": true })
    }
}

/// Where a password is.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PasswordFrom {
    /// A file that only root can read; its first line is the password.
    file: Text<AbsolutePath>,
}

/// The password that is written in one of two ways.
pub(super) fn password(
    inline: Option<PasswordText>,
    from: Option<PasswordFrom>,
    resource: &Resource<'_>,
    sink: &mut Sink<'_>,
) -> Option<PasswordSource> {
    if inline.is_some() && from.is_some() {
        let message = "both `password` and `passwordFrom` are set";
        let found = Diagnostic::error("conflicting-fields", message).hint("keep one");
        resource.report(sink, "passwordFrom", found);
    }
    let inline = inline.map(|password| PasswordSource::Inline(password.0));
    inline.or(from.map(|from| PasswordSource::File(from.file.0.0.into())))
}

/// How far away a peer is.
pub(super) fn hops(
    multihop: Option<u8>,
    security: Option<u8>,
    internal: bool,
    resource: &Resource<'_>,
    sink: &mut Sink<'_>,
) -> Hops {
    if multihop.is_some() && security.is_some() {
        let message = "both `ebgpMultihop` and `ttlSecurity` are set";
        let found = Diagnostic::error("conflicting-fields", message)
            .hint("`ttlSecurity` alone allows as many hops as it says");
        resource.report(sink, "ttlSecurity", found);
    }
    if let (Some(_), true) = (multihop, internal) {
        let found = Diagnostic::error("conflicting-fields", "the peer is internal")
            .hint("remove `ebgpMultihop`: internal peers may be any number of hops away");
        resource.report(sink, "ebgpMultihop", found);
    }
    match (security, multihop) {
        (Some(hops), _) => Hops {
            ttl: Some(u8::MAX),
            least: Some(u8::MAX - (hops - 1)),
        },
        (None, Some(ttl)) => Hops {
            ttl: Some(ttl),
            least: None,
        },
        // An external peer is on the link unless told otherwise.
        (None, None) => Hops {
            ttl: (!internal).then_some(1),
            least: None,
        },
    }
}

/// How a path is watched (RFC 5880).
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Watch {
    /// The interface of a session over one hop. Absent: as the kernel routes to the peer, over one hop if there is no gateway.
    #[schemars(extend("x-reference" = ["Interface", "WireGuardInterface", KERNEL_INTERFACE]))]
    pub(super) interface: Option<Text<Reference>>,
    /// A set of intervals.
    pub(super) profile: Option<WatchProfile>,
    /// The peer shall not send faster. At least 10ms.
    pub(super) min_rx: Option<Text<Span>>,
    /// This node does not send faster. At least 10ms.
    pub(super) min_tx: Option<Text<Span>>,
    /// How many intervals without a packet mean that the path is down.
    #[schemars(range(min = 1, max = 255))]
    pub(super) detect_multiplier: Option<u8>,
}

/// A set of intervals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum WatchProfile {
    /// 300ms, three times.
    Fast,
    /// 500ms, three times.
    Normal,
    /// 1s, five times.
    Slow,
}

impl Watch {
    /// The fastest that a host can keep.
    const FLOOR: Duration = Duration::from_millis(10);
    /// Without a profile.
    const INTERVAL: Duration = Duration::from_millis(100);

    pub(super) fn compile(
        &self,
        field: &str,
        owner: ResourceId,
        resource: &Resource<'_>,
        draft: &Draft,
        sink: &mut Sink<'_>,
    ) -> Option<BfdIntent> {
        let (interval, multiplier) = match self.profile {
            None => (Self::INTERVAL, 3),
            Some(WatchProfile::Fast) => (Duration::from_millis(300), 3),
            Some(WatchProfile::Normal) => (Duration::from_millis(500), 3),
            Some(WatchProfile::Slow) => (Duration::from_secs(1), 5),
        };
        let mut choose = |name: &str, written: &Option<Text<Span>>| {
            let chosen = written.as_ref().map_or(interval, |span| span.0.0);
            if chosen < Self::FLOOR {
                let message = "an interval has at least 10ms";
                let found = Diagnostic::error("bad-timer", message)
                    .hint("50ms, three times, is the floor on real networks");
                resource.report(sink, &format!("{field}{name}"), found);
            }
            chosen
        };
        let interface = match &self.interface {
            Some(reference) => Some(draft.device(reference)?),
            None => None,
        };
        Some(BfdIntent {
            owner,
            interface,
            min_rx: choose("minRx", &self.min_rx),
            min_tx: choose("minTx", &self.min_tx),
            multiplier: NonZeroU8::new(self.detect_multiplier.unwrap_or(multiplier))?,
        })
    }
}
