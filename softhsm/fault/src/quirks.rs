//! Behaviour of real modules that a program must bear: each is on or off for all processes.

use std::str::FromStr;

/// Something that a real module does and the specification does not lead one to expect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Quirk {
    /// A new object gets a handle that is in use, once the lowest object was destroyed; the handle
    /// then means the older object (tpm2-pkcs11 up to 1.9, its issue 931).
    HandleReuse = 1,
    /// CKA_ID is cut to two bytes, when an object is made and when it is looked for
    /// (yubihsm_pkcs11 before 2.4).
    ShortIds = 2,
    /// What another process makes is seen only after `C_Initialize` (tpm2-pkcs11).
    HiddenObjects = 4,
    /// A new key pair destroys every key with the same CKA_ID, whatever its label (NSS).
    OverwrittenIds = 8,
    /// Private keys on the token can't be destroyed: CKR_ACTION_PROHIBITED.
    UndestroyableKeys = 16,
    /// There is one more slot, the first, and asking its token for a description fails.
    ForeignSlotFails = 32,
    /// There is one more slot, the first, and its token's clock shows no time (openCryptoki 3.8).
    ForeignSlotGarbled = 64,
    /// A search for data objects gives, in the place of the first, the newest private key: so does a
    /// handle that was given twice (tpm2-pkcs11 up to 1.9).
    MisdirectedFinds = 128,
    /// Tokens say that their PIN is entered at a pad of their own: CKF_PROTECTED_AUTHENTICATION_PATH.
    PinPad = 256,
}

/// No quirk has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no quirk: `hsmd-fault quirk --help` names them")]
pub struct UnknownQuirk(String);

/// All quirks by name.
pub const NAMES: [(&str, Quirk); 9] = [
    ("handle-reuse", Quirk::HandleReuse),
    ("short-ids", Quirk::ShortIds),
    ("hidden-objects", Quirk::HiddenObjects),
    ("overwritten-ids", Quirk::OverwrittenIds),
    ("undestroyable-keys", Quirk::UndestroyableKeys),
    ("foreign-slot-fails", Quirk::ForeignSlotFails),
    ("foreign-slot-garbled", Quirk::ForeignSlotGarbled),
    ("misdirected-finds", Quirk::MisdirectedFinds),
    ("pin-pad", Quirk::PinPad),
];

impl Quirk {
    /// Its bit in the control file.
    pub(crate) fn bit(self) -> u64 {
        self as u64
    }

    /// The names of those that are set in the control file's word.
    pub(crate) fn named(bits: u64) -> Vec<String> {
        let set = NAMES.iter().filter(|(_, quirk)| bits & quirk.bit() != 0);
        set.map(|(name, _)| (*name).to_owned()).collect()
    }
}

impl FromStr for Quirk {
    type Err = UnknownQuirk;

    fn from_str(text: &str) -> Result<Self, UnknownQuirk> {
        let known = NAMES.iter().find(|(name, _)| *name == text);
        known.map(|(_, quirk)| *quirk).ok_or_else(|| UnknownQuirk(text.to_owned()))
    }
}
