//! The log as it is served: its text is made once for each head, not for each request.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use hsmd_chain::{Digest, KeyLog};

/// The published text of the newest log that was asked for. A plain mutex, never held across an await.
#[derive(Clone, Default)]
pub(crate) struct Published(Arc<Mutex<Option<(Digest, Bytes)>>>);

impl Published {
    /// The published form of a log.
    pub(crate) fn text(&self, log: &KeyLog) -> Bytes {
        let head = log.position().id;
        let mut made = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((of, text)) = &*made
            && *of == head
        {
            return text.clone();
        }
        let text = Bytes::from(log.to_json());
        *made = Some((head, text.clone()));
        text
    }
}
