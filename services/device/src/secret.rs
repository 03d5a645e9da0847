//! Private keys in files: base64url in JSON, mode 0600, written atomically, overwritten in memory.

use std::{
    io,
    path::{Path, PathBuf},
};

use base64ct::{Base64UrlUnpadded, Encoding as _};
use hsmd_protocol::PrivateKey;
use hsmd_support::durable;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned, de::Error as _,
};
use zeroize::Zeroizing;

use crate::error::DeviceError;

/// A private key as a JSON string.
pub(crate) struct Secret(pub(crate) PrivateKey);

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let text = Zeroizing::new(Base64UrlUnpadded::encode_string(&*self.0.to_bytes()));
        to.serialize_str(&text)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(from)?);
        let mut bytes = Zeroizing::new([0_u8; 32]);
        let length = Base64UrlUnpadded::decode(&*text, &mut *bytes).map(<[u8]>::len);
        let key = if length == Ok(32) { PrivateKey::from_bytes(&bytes) } else { None };
        key.map(Self).ok_or_else(|| D::Error::custom("not a private key"))
    }
}

/// Writes a file that only its owner may read, so that after a crash either the old or the new
/// content is there, on disk.
pub(crate) fn write<T: Serialize>(path: &Path, value: &T) -> Result<(), DeviceError> {
    // Large enough from the start: a growing buffer leaves copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(64 * 1024));
    serde_json::to_writer_pretty(&mut *text, value)
        .map_err(io::Error::from)
        .map_err(failed(path))?;
    text.push(b'\n');
    durable::write(path, &text).map_err(failed(path))
}

/// Reads such a file, refusing one that others may read.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T, DeviceError> {
    let text = hsmd_support::secret::own_bytes(path)?;
    serde_json::from_slice(&text)
        .map_err(|source| DeviceError::Damaged { path: path.into(), source })
}

fn failed(path: &Path) -> impl Fn(io::Error) -> DeviceError + use<> {
    let path = PathBuf::from(path);
    move |source| DeviceError::File { path: path.clone(), source }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use hsmd_support::SecretError;

    use super::*;

    #[test]
    fn a_key_survives_its_file_and_no_other_user_reads_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let key = PrivateKey::from_bytes(&[7; 32]).unwrap();
        write(&path, &Secret(key.clone())).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let Secret(read_back) = read(&path).unwrap();
        assert_eq!(read_back.public_key(), key.public_key());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing left behind");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let refused = read::<Secret>(&path).map(drop).unwrap_err();
        assert!(matches!(refused, DeviceError::Secret(SecretError::Mode { mode: 0o640, .. })));
    }

    #[test]
    fn a_key_of_another_length_is_refused() {
        for text in ["\"\"", "\"AAAA\"", "7"] {
            assert!(serde_json::from_str::<Secret>(text).is_err(), "{text}");
        }
        let zero = format!("\"{}\"", "A".repeat(43));
        assert!(serde_json::from_str::<Secret>(&zero).is_err(), "zero is no key");
    }
}
