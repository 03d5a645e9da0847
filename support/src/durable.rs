//! Small files that survive a power cut: written beside, synced, renamed, folder synced.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

/// Replaces `path` by a file of mode 0600 with these bytes, or leaves it as it was. Two writers of one
/// path must exclude each other: the draft beside it, `<path>.new`, is one for both.
///
/// # Errors
/// The folder can't be written or synced.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_as(path, bytes, 0o600)
}

/// As [`write`], a file that others may read as far as the umask lets them.
///
/// # Errors
/// As [`write`].
pub fn write_public(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_as(path, bytes, 0o644)
}

fn write_as(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let draft = draft(path);
    // What a crash left behind may have another mode.
    remove_file(&draft)?;
    let written = fill(&draft, bytes, mode).and_then(|()| fs::rename(&draft, path));
    if let Err(error) = written {
        // Without a draft there is nothing to remove; the first error is the one that counts.
        let _removed = fs::remove_file(&draft);
        return Err(error);
    }
    sync_folder(path)
}

/// Removes `path` for good; that it is absent already is fine.
///
/// # Errors
/// The folder can't be written or synced.
pub fn remove(path: &Path) -> io::Result<()> {
    if remove_file(path)? { sync_folder(path) } else { Ok(()) }
}

fn fill(draft: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(draft)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Whether there was a file to remove.
fn remove_file(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn draft(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".new");
    name.into()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_file_is_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        // A crash's draft, which others may read.
        fs::write(draft(&path), "left behind").unwrap();
        fs::set_permissions(draft(&path), fs::Permissions::from_mode(0o644)).unwrap();
        for text in ["one", "two"] {
            write(&path, text.as_bytes()).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert_eq!(mode(&path), 0o600);
        }
        write_public(&path, b"three").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "three");
        assert_eq!(mode(&path) & 0o700, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn what_cannot_be_replaced_stays_and_its_draft_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taken");
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), "").unwrap();
        assert!(write(&path, b"text").is_err());
        assert!(path.join("inside").exists() && !draft(&path).exists());
    }
}
