//! Key pairs in the place of data objects, for tokens that hold none: the CKA_ID is the value, and no signature of
//! such a key leaves the token's thread. The private key counts: a public one without it is what an interrupted destruction
//! has left.

use cryptoki::error::RvError;
use cryptoki::object::ObjectClass;
use cryptoki::session::Session;

use super::error::TokenError;
use super::session::OpenToken;
use super::{data, generate, keys};

impl OpenToken {
    /// The values with this label, in no particular order.
    ///
    /// # Errors
    /// [`TokenError::Call`].
    pub fn read_record_pairs(&self, label: &str) -> Result<Vec<Vec<u8>>, TokenError> {
        self.call(|session| ids(session, label, ObjectClass::PRIVATE_KEY))
    }

    /// Makes a pair with this label and value, then destroys the older ones whose value it `replaces`. It must
    /// replace itself.
    ///
    /// # Errors
    /// As [`generate`](Self::generate); [`TokenError::NotDestroyed`].
    pub fn replace_record_pair(
        &self,
        label: &str,
        value: &[u8],
        replaces: impl Fn(&[u8]) -> bool,
    ) -> Result<(), TokenError> {
        // A repetition, after the answer was lost, finds it.
        if !self.read_record_pairs(label)?.iter().any(|old| old == value) {
            self.destroy_record_pairs(label, |old| old == value)?;
            self.call(|session| generate::generate(session, label, value, self.making).map(drop))?;
        }
        self.destroy_record_pairs(label, |old| old != value && replaces(old))?;
        let left = self.read_record_pairs(label)?;
        match left.iter().filter(|left| replaces(left)).collect::<Vec<_>>().as_slice() {
            [left] if left.as_slice() == value => Ok(()),
            _ => Err(TokenError::Nonsense("another record than the one just made")),
        }
    }

    /// Destroys the pairs with this label and such a value.
    ///
    /// # Errors
    /// [`TokenError::Call`], [`TokenError::NotDestroyed`].
    pub fn destroy_record_pairs(
        &self,
        label: &str,
        which: impl Fn(&[u8]) -> bool,
    ) -> Result<(), TokenError> {
        let destroyed = || self.module.note_destroyed();
        self.call(|session| {
            let mut values = ids(session, label, ObjectClass::PRIVATE_KEY)?;
            values.extend(ids(session, label, ObjectClass::PUBLIC_KEY)?);
            values.sort_unstable();
            values.dedup();
            for value in values.iter().filter(|value| which(value)) {
                keys::destroy(session, label, value, destroyed)?;
            }
            Ok(())
        })
    }
}

/// The CKA_IDs. A key that another process destroys meanwhile is no error of this session.
fn ids(session: &Session, label: &str, class: ObjectClass) -> Result<Vec<Vec<u8>>, TokenError> {
    let mut reads = 0;
    loop {
        reads += 1;
        match keys::objects(session, label, class) {
            Ok(found) => return Ok(found.into_iter().map(|(_, id)| id).collect()),
            Err(error)
                if reads < data::READS && error.rv() == Some(&RvError::ObjectHandleInvalid) => {}
            Err(error) => return Err(error),
        }
    }
}
