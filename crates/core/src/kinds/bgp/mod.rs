//! The kinds of the BGP speaker, and the forms that they share.

mod bfd;
mod dynamic_peer;
mod monitoring;
mod peer;
mod policy;
mod router;
mod session;

pub(crate) use self::bfd::{Bfd, Watched};
pub(crate) use dynamic_peer::BGPDynamicPeer;
pub(crate) use peer::BGPPeer;
pub(crate) use policy::CommunityText;
pub(crate) use router::BGPRouter;
pub(crate) use session::PasswordText;

use crate::config::draft::{Draft, Resource, Speaker};
use crate::config::sink::Sink;
use crate::kinds::field::Reference;
use api::Diagnostic;
use bgp::Asn;

/// The router that a peer belongs to: the one it names, else the only one.
fn router_of<'d>(
    written: Option<&Reference>,
    resource: &Resource<'_>,
    draft: &'d mut Draft,
    sink: &mut Sink<'_>,
) -> Option<&'d mut Speaker> {
    if draft.speaker.is_none() && !draft.lacks("BGPRouter") && written.is_none() {
        let found = Diagnostic::error("no-bgp-router", "there is no BGPRouter that it belongs to")
            .hint("declare one with `asn` and `routerID`");
        resource.report(sink, "", found);
    }
    let speaker = draft.speaker.as_mut()?;
    written
        .is_none_or(|reference| reference.names(&speaker.id))
        .then_some(speaker)
}

/// A client of a reflector is in our own AS.
fn client_is_internal(asn: Asn, own: Asn, resource: &Resource<'_>, sink: &mut Sink<'_>) {
    if asn != own {
        let message = format!("a client of a reflector is internal: AS {own}");
        let found = Diagnostic::error("client-not-internal", message)
            .hint("remove `routeReflectorClient`, or set `peerASN` to our own");
        resource.report(sink, "routeReflectorClient", found);
    }
}
