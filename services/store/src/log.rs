//! Database 4: the key log, mirrored for those who read it in Redis.

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
    /// When Redis gives no answer; what was stored by then stays, and repeating is harmless.
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
    /// When Redis gives no answer.
    pub async fn find(&self, id: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let [found]: [Option<Vec<u8>>; 1] = self.link.query(cmd("MGET").arg(id.as_str())).await?;
        Ok(found)
    }

    /// Whether the mirror holds something for every one of these ids: the cheap question that is asked
    /// every second to notice a flush.
    ///
    /// # Errors
    /// When Redis gives no answer.
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
