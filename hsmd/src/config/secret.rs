//! Files that hold one secret each: the PIN, the database's URLs, the TLS key.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use zeroize::Zeroizing;

/// Reads a file that holds one secret on one line, without its line end.
///
/// # Errors
/// The file can't be read, is empty, or is open to others.
pub fn read_secret(path: &Path) -> io::Result<Zeroizing<String>> {
    let bytes = read_private(path)?;
    let text = str::from_utf8(&bytes)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    let line = text.strip_suffix('\n').unwrap_or(text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the file is empty"));
    }
    Ok(Zeroizing::new(line.to_owned()))
}

/// Reads a whole file that holds a secret.
///
/// # Errors
/// The file can't be read, or is open to others.
pub fn read_private(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut file = File::open(path)?;
    let metadata = file.metadata()?;
    check_mode(&metadata)?;
    // Room for all of it and more: a buffer that grows leaves copies behind that nobody wipes.
    let room = usize::try_from(metadata.len()).unwrap_or_default().saturating_add(64);
    let mut bytes = Zeroizing::new(Vec::with_capacity(room));
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A secret that others can read is none. The group may read it: so Kubernetes mounts secrets.
fn check_mode(metadata: &Metadata) -> io::Result<()> {
    if metadata.mode() & 0o037 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("mode {:o} admits others: use 0400, 0440 or 0600", metadata.mode() & 0o777),
        ));
    }
    Ok(())
}
