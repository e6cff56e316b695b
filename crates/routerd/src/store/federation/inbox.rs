//! What other nodes send: checked and stored in one transaction, so that a message is taken once.

use api::time::Timestamp;
use routerd_core::federation::receive::{Accepted, Outcome, Receiver, Refusal};
use routerd_core::federation::signature::Envelope;

use super::{Commit, EventStore, Memory, insert};
use crate::store::StoreError;

impl EventStore {
    /// Takes a message that was found authentic. On the disk when this returns: whoever is told so may forget it.
    pub(crate) fn receive(
        &self,
        now: Timestamp,
        receiver: &Receiver,
        envelope: &Envelope<'_>,
    ) -> Result<Result<Accepted, Refusal>, StoreError> {
        let taken = self.transaction("store received events", Commit::Durable, |tx| {
            let group = &receiver.group;
            let accepted = match receiver.accept(now, envelope, &Memory { tx, group }) {
                Ok(accepted) => accepted,
                Err(refusal) => return Ok(Err(refusal)),
            };
            tx.prepare_cached(
                "INSERT INTO federation_nonces (grp, sender, nonce, until) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((
                group,
                envelope.sender,
                envelope.nonce,
                receiver.remember_until(envelope.timestamp).as_millis(),
            ))?;
            insert(tx, now, &accepted.events)?;
            Ok(Ok(accepted))
        })?;
        let is_new = |(_, outcome): &(_, Outcome)| *outcome == Outcome::Accepted;
        if taken
            .as_ref()
            .is_ok_and(|taken| taken.events.iter().any(is_new))
        {
            self.announce();
        }
        Ok(taken)
    }
}
