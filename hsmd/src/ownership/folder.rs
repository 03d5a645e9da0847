//! The state folder's own side of a claim: its id, which epoch it holds on which token, since which
//! start of the machine, and the locks that keep a second process out of it and of a token's `lock_file`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use hsmd_support::durable;
use serde::{Deserialize, Serialize};

const FILE: &str = "owner.json";

/// A state folder that this process has to itself.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    kept: Kept,
    boot: String,
    /// Locked for as long as this process lives: the folder, and the tokens' lock files by their path.
    locks: BTreeMap<PathBuf, File>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    folder: String,
    /// By the token's key among all tokens.
    claims: BTreeMap<String, KeptClaim>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptClaim {
    epoch: u64,
    boot: String,
    /// Whether our journal has what the owners before us had left on the token.
    #[serde(default)]
    merged: bool,
}

/// Why the folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Another process has it.
    #[error(
        "another process has the lock of {0}: one daemon uses a state folder, or a token's lock_file"
    )]
    InUse(PathBuf),
    /// Its files can't be read or written.
    #[error("cannot use {path}")]
    File {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The file that names the folder is damaged. A new one would make it another folder.
    #[error("{path} is damaged: {message}; remove it, and the token has to be taken over")]
    Damaged { path: PathBuf, message: String },
}

impl Folder {
    /// Locks the folder and reads its side; a new folder gets an id.
    ///
    /// # Errors
    /// [`FolderError::InUse`], [`FolderError::File`], [`FolderError::Damaged`].
    pub fn open(state_dir: &Path) -> Result<Self, FolderError> {
        let lock_path = Self::lock_of(state_dir);
        let lock = lock(&lock_path)?;
        let boot_path = Path::new("/proc/sys/kernel/random/boot_id");
        let boot = std::fs::read_to_string(boot_path).map_err(failed(boot_path))?;
        let path = state_dir.join(FILE);
        let (kept, is_new) = match read(&path)? {
            Some(kept) => (kept, false),
            None => {
                let folder = new_id().map_err(failed(&path))?;
                (Kept { folder, claims: BTreeMap::new() }, true)
            }
        };
        let locks = BTreeMap::from([(lock_path, lock)]);
        let folder = Self { path, kept, boot: boot.trim().to_owned(), locks };
        if is_new {
            folder.write()?;
        }
        Ok(folder)
    }

    /// Locks a token's `lock_file` as well, if that is not done.
    ///
    /// # Errors
    /// [`FolderError::InUse`], [`FolderError::File`].
    pub fn lock_too(&mut self, path: &Path) -> Result<(), FolderError> {
        if !self.locks.contains_key(path) {
            self.locks.insert(path.to_owned(), lock(path)?);
        }
        Ok(())
    }

    /// The id of a folder, also while another process has it; none before its first claim.
    ///
    /// # Errors
    /// [`FolderError::File`], [`FolderError::Damaged`].
    pub fn id_of(state_dir: &Path) -> Result<Option<String>, FolderError> {
        Ok(read(&state_dir.join(FILE))?.map(|kept| kept.folder))
    }

    /// Whether the folder made this claim and has merged what others had left on its tokens: then no other knows
    /// more than its journal and the rows. Also while another process has it.
    ///
    /// # Errors
    /// [`FolderError::File`], [`FolderError::Damaged`].
    pub fn has_merged(state_dir: &Path, folder: &str, epoch: u64) -> Result<bool, FolderError> {
        let Some(kept) = read(&state_dir.join(FILE))? else { return Ok(false) };
        let claims = kept.claims.values();
        let newest = claims.clone().map(|claim| claim.epoch).max().unwrap_or(0);
        Ok(kept.folder == folder && newest == epoch && claims.clone().all(|claim| claim.merged))
    }

    /// Whether a process has a folder's lock, or that of a token's `lock_file`; nothing is made for the answer.
    ///
    /// # Errors
    /// The lock can't be looked at.
    pub fn is_locked(path: &Path) -> Result<bool, FolderError> {
        match File::open(path).map(|file| file.try_lock()) {
            Ok(Ok(())) => Ok(false),
            Ok(Err(TryLockError::WouldBlock)) => Ok(true),
            Ok(Err(TryLockError::Error(source))) => Err(failed(path)(source)),
            Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(failed(path)(source)),
        }
    }

    /// The lock of a folder.
    pub fn lock_of(state_dir: &Path) -> PathBuf {
        state_dir.join("owner.lock")
    }

    /// Its id.
    pub fn id(&self) -> &str {
        &self.kept.folder
    }

    /// The epoch that it holds on a token, if it was claimed since the machine was started; else 0.
    pub fn epoch(&self, token: &str) -> u64 {
        let claim = self.kept.claims.get(token).filter(|claim| claim.boot == self.boot);
        claim.map_or(0, |claim| claim.epoch)
    }

    /// The highest epoch that it ever held on any token.
    pub fn highest_epoch(&self) -> u64 {
        self.kept.claims.values().map(|claim| claim.epoch).max().unwrap_or(0)
    }

    /// Keeps the epoch of a claim, durably, once its waits are over: a claim that was cut off before is
    /// made again.
    ///
    /// # Errors
    /// [`FolderError::File`].
    pub fn keep(&mut self, token: &str, epoch: u64) -> Result<(), FolderError> {
        let claim = KeptClaim { epoch, boot: self.boot.clone(), merged: false };
        self.kept.claims.insert(token.to_owned(), claim);
        self.write()
    }

    /// Notes that nothing of others is left on the tokens.
    ///
    /// # Errors
    /// [`FolderError::File`].
    pub fn note_merged(&mut self) -> Result<(), FolderError> {
        if self.kept.claims.values().all(|claim| claim.merged) {
            return Ok(());
        }
        self.kept.claims.values_mut().for_each(|claim| claim.merged = true);
        self.write()
    }

    fn write(&self) -> Result<(), FolderError> {
        let written = serde_json::to_vec(&self.kept)
            .map_err(std::io::Error::from)
            .and_then(|bytes| durable::write(&self.path, &bytes));
        written.map_err(failed(&self.path))
    }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::File { path, source }
}

fn lock(path: &Path) -> Result<File, FolderError> {
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed(path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(FolderError::InUse(path.into())),
        Err(TryLockError::Error(source)) => Err(failed(path)(source)),
    }
}

fn read(path: &Path) -> Result<Option<Kept>, FolderError> {
    match std::fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
            FolderError::Damaged { path: path.into(), message: error.to_string() }
        }),
        Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(failed(path)(source)),
    }
}

/// 32 hexadecimal digits that no other folder has.
fn new_id() -> std::io::Result<String> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(std::io::Error::other)?;
    Ok(id.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_id_and_admits_one_process() {
        let state = tempfile::tempdir().unwrap();
        let mut first = Folder::open(state.path()).unwrap();
        assert_eq!(first.epoch("a"), 0);
        first.keep("a", 7).unwrap();
        let lock = Folder::lock_of(state.path());
        assert!(Folder::is_locked(&lock).unwrap());
        assert!(matches!(Folder::open(state.path()), Err(FolderError::InUse(_))));
        let id = first.id().to_owned();
        assert_eq!(id.len(), 32);
        drop(first);
        assert!(!Folder::is_locked(&lock).unwrap());
        let again = Folder::open(state.path()).unwrap();
        assert_eq!((again.id(), again.epoch("a"), again.epoch("b")), (id.as_str(), 7, 0));
    }

    #[test]
    fn a_claim_before_the_machine_was_started_again_does_not_count() {
        let state = tempfile::tempdir().unwrap();
        let kept = r#"{"folder":"0123","claims":{"a":{"epoch":7,"boot":"another"}}}"#;
        std::fs::write(state.path().join("owner.json"), kept).unwrap();
        let folder = Folder::open(state.path()).unwrap();
        assert_eq!((folder.id(), folder.epoch("a"), folder.highest_epoch()), ("0123", 0, 7));
    }

    #[test]
    fn a_claim_is_the_last_word_once_what_others_left_is_merged() {
        let state = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(state.path()).unwrap();
        let id = folder.id().to_owned();
        let merged = |epoch| Folder::has_merged(state.path(), &id, epoch).unwrap();
        folder.keep("a", 1).unwrap();
        assert!(!merged(1), "claimed, and not merged");
        folder.note_merged().unwrap();
        assert!(merged(1) && !merged(2), "a later claim was cut off before it was kept");
        folder.keep("a", 2).unwrap();
        assert!(!merged(1) && !merged(2));
        folder.note_merged().unwrap();
        assert!(merged(2) && !Folder::has_merged(state.path(), "another", 2).unwrap());
    }

    #[test]
    fn a_tokens_lock_file_admits_one_process() {
        let (state, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = state.path().join("token.lock");
        let mut first = Folder::open(state.path()).unwrap();
        first.lock_too(&path).unwrap();
        first.lock_too(&path).unwrap();
        let mut second = Folder::open(other.path()).unwrap();
        assert!(matches!(second.lock_too(&path), Err(FolderError::InUse(at)) if at == path));
        drop(first);
        second.lock_too(&path).unwrap();
    }
}
