//! What a device keeps: who it is, its keys, its session, and the newest head of the key log it saw.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use hsmd_chain::{Anchor, cesr::Digest};
use hsmd_protocol::client::KeyChain;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    error::DeviceError,
    secret::{self, Secret},
};

/// A device's state file, held by this process alone. Code that changes [`StateFile::state`] calls
/// [`StateFile::save`] before a message goes out that commits to a key in it.
pub(crate) struct StateFile {
    pub(crate) state: State,
    path: PathBuf,
    /// Held until the process ends: two processes would overwrite each other's keys.
    _lock: File,
}

/// A device.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct State {
    pub(crate) identity: Digest,
    pub(crate) device: Digest,
    /// The authentication keys, oldest first.
    #[serde(with = "chain")]
    pub(crate) keys: KeyChain,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<Session>,
    /// The newest head of the HSM's key log that was verified.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "anchor")]
    pub(crate) hsm: Option<Anchor>,
}

/// A session.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct Session {
    /// The access keys, oldest first.
    #[serde(with = "chain")]
    pub(crate) keys: KeyChain,
    pub(crate) token: String,
}

impl StateFile {
    /// A state that is not on disk yet. Fails if there is a file: it may hold an account.
    pub(crate) fn create(path: &Path, state: State) -> Result<Self, DeviceError> {
        let lock = lock(path)?;
        if path.exists() {
            return Err(DeviceError::Exists(path.into()));
        }
        Ok(Self { state, path: path.into(), _lock: lock })
    }

    /// The state on disk.
    pub(crate) fn open(path: &Path) -> Result<Self, DeviceError> {
        let lock = lock(path)?;
        Ok(Self { state: secret::read(path)?, path: path.into(), _lock: lock })
    }

    pub(crate) fn save(&self) -> Result<(), DeviceError> {
        secret::write(&self.path, &self.state)
    }
}

/// The lock has a file of its own, since the state's is replaced by each save.
fn lock(path: &Path) -> Result<File, DeviceError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let failed = |source| DeviceError::File { path: PathBuf::from(&name), source };
    let file = File::create(&name).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(DeviceError::Locked(path.into())),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

mod chain {
    use super::*;

    pub(super) fn serialize<S: Serializer>(keys: &KeyChain, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(keys.keys().map(|key| Secret(key.clone())))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<KeyChain, D::Error> {
        let keys = Vec::<Secret>::deserialize(from)?.into_iter().map(|secret| secret.0);
        KeyChain::from_keys(keys).ok_or_else(|| D::Error::custom("fewer than two keys"))
    }
}

mod anchor {
    use super::*;

    pub(super) fn serialize<S: Serializer>(
        anchor: &Option<Anchor>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        anchor.map(|anchor| anchor.to_string()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Anchor>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
    }
}
