//! Database 4: the key log, mirrored for those who read it in Redis.

use std::collections::HashSet;

use hsmd_chain::cesr::Digest;
use redis::cmd;

use crate::{StoreError, link::Link};

/// How many events one command carries.
const PAGE: usize = 500;

/// The mirrored key log: under each event's id its published form, `{"payload":…,"signature":"0I…"}`.
/// Each event proves itself, so a reader needs to trust neither Redis nor the one who mirrored; what
/// is missing is seen by the gap in the sequence numbers, except at the end.
#[derive(Clone)]
pub struct MirroredLog {
    link: Link,
}

impl MirroredLog {
    pub(crate) fn new(link: Link) -> Self {
        Self { link }
    }

    /// Stores events, as (id, published form); for ever, since events never change.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::TimedOut`] or [`StoreError::Refused`]; what was stored
    /// by then stays, and repeating is harmless.
    pub async fn store(&self, events: &[(Digest, String)]) -> Result<(), StoreError> {
        for page in events.chunks(PAGE) {
            let mut command = cmd("MSET");
            for (id, published) in page {
                command.arg(id.as_str()).arg(published);
            }
            self.link.query::<()>(&command).await?;
        }
        Ok(())
    }

    /// The published form of an event, or nothing when the mirror lacks it.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::TimedOut`] or [`StoreError::Refused`].
    pub async fn find(&self, id: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let [found]: [Option<Vec<u8>>; 1] = self.link.query(cmd("MGET").arg(id.as_str())).await?;
        Ok(found)
    }

    /// The names in the database that are none of these ids: who reads the log there would take what
    /// they hold for it. Walks in steps which never block Redis for long; at most `limit` names.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::TimedOut`] or [`StoreError::Refused`].
    pub async fn others(
        &self,
        ids: &HashSet<Digest>,
        limit: usize,
    ) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut others = Vec::new();
        let mut cursor = 0_u64;
        loop {
            let (next, names): (u64, Vec<Vec<u8>>) =
                self.link.query(cmd("SCAN").arg(cursor).arg("COUNT").arg(PAGE)).await?;
            let is_ours = |name: &[u8]| {
                let id = std::str::from_utf8(name).ok().and_then(|name| name.parse().ok());
                id.is_some_and(|id| ids.contains(&id))
            };
            others.extend(names.into_iter().filter(|name| !is_ours(name)));
            others.truncate(limit);
            if next == 0 || others.len() == limit {
                return Ok(others);
            }
            cursor = next;
        }
    }

    /// Removes entries by their names.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::TimedOut`] or [`StoreError::Refused`]; repeating is
    /// harmless.
    pub async fn remove(&self, names: &[Vec<u8>]) -> Result<(), StoreError> {
        for page in names.chunks(PAGE) {
            self.link.query::<()>(cmd("DEL").arg(page)).await?;
        }
        Ok(())
    }

    /// Whether the mirror holds something for every one of these ids: the cheap question that is asked
    /// every second to notice a flush.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::TimedOut`] or [`StoreError::Refused`].
    pub async fn holds_all(&self, ids: &[Digest]) -> Result<bool, StoreError> {
        for page in ids.chunks(PAGE) {
            let mut command = cmd("EXISTS");
            for id in page {
                command.arg(id.as_str());
            }
            let held: usize = self.link.query(&command).await?;
            if held != page.len() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
