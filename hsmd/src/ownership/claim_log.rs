//! The database's part in a claim: the claims that it knows, and the row of ours. A start needs it. A daemon
//! that serves claims anew without it, and gives way to a taint; the row follows (`daemon/own.rs`).

use hsmd_support::chain;

use crate::daemon::taints::Taints;
use crate::keylog::{Claim, KeylogError, Writer};

/// The database, as a claim uses it.
#[derive(Debug)]
pub struct ClaimLog<'a> {
    /// The connection that holds the writer lock; none once it was given up.
    writer: Option<&'a mut Writer>,
    /// The taints that wait; at a start there are none.
    taints: Option<&'a Taints>,
    /// Whether the claim ends with the connection.
    is_needed: bool,
    was_given_up: bool,
    unnoted: Vec<Claim>,
}

/// What a claim has left to be done.
#[derive(Debug, Default)]
pub struct Left {
    /// The connection is not to be used again.
    pub was_given_up: bool,
    /// The claims that have no row yet.
    pub unnoted: Vec<Claim>,
}

impl<'a> ClaimLog<'a> {
    /// At a start.
    pub fn at_start(writer: &'a mut Writer) -> Self {
        let writer = Some(writer);
        Self { writer, taints: None, is_needed: true, was_given_up: false, unnoted: Vec::new() }
    }

    /// While the daemon serves: `is_needed` where no claim is made without the lock.
    pub fn while_serving(
        writer: Option<&'a mut Writer>,
        taints: &'a Taints,
        is_needed: bool,
    ) -> Self {
        Self { writer, taints: Some(taints), is_needed, was_given_up: false, unnoted: Vec::new() }
    }

    /// The claims that the database knows whose lock is ours; none while it is away.
    ///
    /// # Errors
    /// The server, where it is needed.
    pub async fn claims(&mut self) -> Result<Vec<Claim>, KeylogError> {
        let claims = self.ask(async |writer: &mut Writer| {
            writer.prove_lock().await?;
            writer.claims().await
        });
        Ok(claims.await?.unwrap_or_default())
    }

    /// Notes a claim, or leaves that for later.
    ///
    /// # Errors
    /// The server, where it is needed.
    pub async fn note(&mut self, claim: Claim) -> Result<(), KeylogError> {
        let noted = self.ask(async |writer: &mut Writer| writer.note_claim(&claim).await).await?;
        if noted.is_none() {
            self.unnoted.push(claim);
        }
        Ok(())
    }

    /// Proves the writer lock; whether it could be asked for.
    ///
    /// # Errors
    /// The server, where it is needed.
    pub async fn prove_lock(&mut self) -> Result<bool, KeylogError> {
        let proved = self.ask(async |writer: &mut Writer| writer.prove_lock().await).await?;
        Ok(proved.is_some())
    }

    /// What is left to be done when the claim is over.
    pub fn left(self) -> Left {
        Left { was_given_up: self.was_given_up, unnoted: self.unnoted }
    }

    async fn ask<T>(
        &mut self,
        what: impl AsyncFnOnce(&mut Writer) -> Result<T, KeylogError>,
    ) -> Result<Option<T>, KeylogError> {
        let Some(writer) = self.writer.as_deref_mut() else {
            return if self.is_needed { Err(KeylogError::LockLost) } else { Ok(None) };
        };
        let answer = match self.taints {
            None => what(writer).await,
            Some(taints) => {
                taints.unless_late(what(writer)).await.unwrap_or(Err(KeylogError::GivenUp))
            }
        };
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error) => {
                (self.writer, self.was_given_up) = (None, true);
                if self.is_needed {
                    return Err(error);
                }
                tracing::warn!(error = chain(&error), "claiming the token without the database");
                Ok(None)
            }
        }
    }
}
