//! What a trial asks of a token, with pairs that are no generation's: that of `hsmd check --try`, under a
//! label of its own, and that of `--assume-crashed`.

use cryptoki::mechanism::MechanismType;
use cryptoki::object::ObjectClass;
use hsmd_chain::PublicKey;

use super::error::TokenError;
use super::generate;
use super::keys::{self, KeyHandle};
use super::session::OpenToken;

impl OpenToken {
    /// Makes a pair with a CKA_ID that is no generation's.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn generate_with_id(&self, id: &[u8]) -> Result<PublicKey, TokenError> {
        self.call(|session| generate::generate(session, &self.key_label, id, self.making))
    }

    /// The mechanisms that hsmd needs and the token lacks, by their names.
    ///
    /// # Errors
    /// [`TokenError::Call`].
    pub fn missing_mechanisms(&self) -> Result<Vec<&'static str>, TokenError> {
        let _calling = self.module.enter()?;
        let found = self.module.context().get_mechanism_list(self.slot);
        let found = found.map_err(TokenError::call("listing the mechanisms"))?;
        let needed = [
            (MechanismType::ECC_KEY_PAIR_GEN, "CKM_EC_KEY_PAIR_GEN"),
            (MechanismType::ECDSA, "CKM_ECDSA"),
        ];
        let missing = needed.into_iter().filter(|(mechanism, _)| !found.contains(mechanism));
        Ok(missing.map(|(_, name)| name).collect())
    }

    /// The private key with this CKA_ID, if there is one.
    ///
    /// # Errors
    /// [`TokenError::Call`].
    pub fn private_key(&self, id: &[u8]) -> Result<Option<KeyHandle>, TokenError> {
        self.call(|session| {
            let found = keys::with_id(session, &self.key_label, id, ObjectClass::PRIVATE_KEY)?;
            Ok(found.first().copied().map(KeyHandle))
        })
    }

    /// A public key of ours, whichever.
    ///
    /// # Errors
    /// [`TokenError::Nonsense`] if there is none, [`TokenError::Call`].
    pub fn any_public_key(&self) -> Result<PublicKey, TokenError> {
        let pairs = self.inventory()?.pairs;
        let mut keys = pairs.iter().flat_map(|pair| pair.public.iter().copied());
        keys.next().ok_or(TokenError::Nonsense("no public key"))
    }
}

/// Eight bytes that are never eight digits, which are the ids of generations: some tokens overwrite a
/// pair with the same id under any label.
///
/// # Errors
/// The system has no random bytes.
pub fn random_id() -> Result<Vec<u8>, TokenError> {
    let mut id = [0; 8];
    getrandom::fill(&mut id).map_err(|_| TokenError::Nonsense("no random bytes"))?;
    id[0] |= 0x80;
    Ok(id.to_vec())
}
