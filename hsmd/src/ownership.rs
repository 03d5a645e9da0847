//! Who owns the token. The writer lock guards one schema of one server: two daemons with different
//! databases (a failover site, an unfenced old primary, a copied configuration) would make two events of
//! one number, and a taint by one would not stop the other. So the token decides: each state folder
//! has one record on it, with the epoch of its claim, and the highest epoch owns the token.
//!
//! [`rules`] decides, without any I/O: on without a claim, by a claim, or not at all. `claim` does what
//! it says, before the daemon serves, and [`take`] does that for all tokens. An owner looks at the records
//! again and again, and in one job with each change and each event signature
//! (`signer/token_state/owner.rs`); when it has not looked for its lease, or sees a higher epoch, nothing
//! that it signed leaves. `docs/proof.md` has the model of it.
//!
//! A token that shows foreign objects only after `C_Initialize` has no records: there a locked file makes
//! the owner ([`folder`]), on one machine.

mod claim;
pub mod claim_log;
mod error;
pub mod folder;
pub mod rules;
pub mod take;

pub use error::{OwnershipError, refusal};

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The record of a state folder on the token.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The epoch of the claim; 0 claims nothing.
    pub epoch: u64,
    /// The id of the folder.
    pub folder: String,
    /// How long its daemon may go on without a look, in milliseconds.
    pub lease_ms: u64,
    /// How long a claim waits for the jobs of other daemons, in milliseconds.
    pub wait_ms: u64,
    /// Its owner has given the token up.
    pub released: bool,
    /// Tells a record from the one before it.
    pub change: u64,
    /// The folder's copy of its journal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<serde_json::Value>,
}

impl Record {
    /// How long its daemon may go on without a look.
    pub fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms)
    }

    /// How long a claim waits for the jobs of other daemons.
    pub fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms)
    }

    /// All but the journal, as the CKA_ID of a key pair: for a token that holds no data objects. Decimal
    /// numbers and the folder's id, in the order of the fields.
    pub fn to_id(&self) -> String {
        let Self { epoch, folder, lease_ms, wait_ms, released, change, journal: _ } = self;
        format!("{epoch}:{folder}:{lease_ms}:{wait_ms}:{}:{change}", u8::from(*released))
    }

    /// What [`to_id`](Self::to_id) wrote; none for anything else.
    pub fn from_id(id: &[u8]) -> Option<Self> {
        let parts: Vec<_> = std::str::from_utf8(id).ok()?.split(':').collect();
        let [epoch, folder, lease_ms, wait_ms, released, change] = parts.as_slice() else {
            return None;
        };
        let record = Self {
            epoch: epoch.parse().ok()?,
            folder: (*folder).to_owned(),
            lease_ms: lease_ms.parse().ok()?,
            wait_ms: wait_ms.parse().ok()?,
            released: *released == "1",
            change: change.parse().ok()?,
            journal: None,
        };
        (record.to_id().as_bytes() == id).then_some(record)
    }

    /// Whether its daemon may be using the token.
    pub fn stands(&self) -> bool {
        self.epoch > 0 && !self.released
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_holds_all_but_the_journal_and_nothing_else_is_one() {
        let record = Record {
            epoch: 12,
            folder: "fa0791dbf98ef9853be7c28914fc2ef6".into(),
            lease_ms: 3000,
            wait_ms: 1000,
            released: true,
            change: 7,
            journal: Some(serde_json::json!({})),
        };
        let id = record.to_id();
        assert_eq!(id, "12:fa0791dbf98ef9853be7c28914fc2ef6:3000:1000:1:7");
        assert_eq!(Record::from_id(id.as_bytes()), Some(Record { journal: None, ..record }));
        for other in
            ["", "1:f:2:3:0", "1:f:2:3:0:5:6", "01:f:2:3:0:5", "1:f:2:3:2:5", "+1:f:2:3:0:5"]
        {
            assert_eq!(Record::from_id(other.as_bytes()), None, "{other}");
        }
        assert_eq!(Record::from_id(&[0xff; 8]), None);
    }
}
