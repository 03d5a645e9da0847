//! What of ours is on a token: every key pair with our label, complete or not.

use cryptoki::object::ObjectClass;
use cryptoki::session::Session;
use hsmd_chain::PublicKey;

use super::error::TokenError;
use super::keys;

/// The objects that share one CKA_ID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// CKA_ID.
    pub id: Vec<u8>,
    /// The sequence number in the CKA_ID, if it is one of ours.
    pub sequence_number: Option<u32>,
    /// The public parts.
    pub public: Vec<PublicKey>,
    /// How many private parts there are.
    pub private: usize,
}

/// All pairs with our label, in the order of their CKA_ID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The pairs.
    pub pairs: Vec<Pair>,
}

impl Pair {
    /// Whether a private part may stand behind this public key.
    pub fn offers(&self, key: &PublicKey) -> bool {
        self.private > 0 && self.public.contains(key)
    }
}

impl Inventory {
    pub(super) fn read(session: &Session, label: &str) -> Result<Self, TokenError> {
        let mut pairs: Vec<Pair> = Vec::new();
        for (handle, id) in keys::objects(session, label, ObjectClass::PUBLIC_KEY)? {
            let key = keys::public_key(session, handle)?;
            pair(&mut pairs, id).public.push(key);
        }
        for (_, id) in keys::objects(session, label, ObjectClass::PRIVATE_KEY)? {
            pair(&mut pairs, id).private += 1;
        }
        pairs.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(Self { pairs })
    }
}

fn pair(pairs: &mut Vec<Pair>, id: Vec<u8>) -> &mut Pair {
    let at = match pairs.iter().position(|pair| pair.id == id) {
        Some(at) => at,
        None => {
            let sequence_number = keys::sequence_number(&id);
            pairs.push(Pair { id, sequence_number, public: Vec::new(), private: 0 });
            pairs.len() - 1
        }
    };
    &mut pairs[at]
}
