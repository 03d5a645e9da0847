//! A disk that is full when a test wants it to be.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A file system of its own, in memory and small. Dropping it unmounts it: whoever uses it goes first.
///
/// Mounting takes root, or a `sudo` that asks for nothing.
#[derive(Debug)]
pub struct SmallDisk {
    folder: TempDir,
}

impl SmallDisk {
    /// Mounts an empty one of so many KiB, which the user owns.
    pub fn mount(kib: u32, user: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("hsmd-disk.").tempdir_in("/tmp");
        let folder = folder.expect("a folder to mount on");
        let options = format!("size={kib}k,mode=0700,uid={}", uid(user));
        let mount = ["mount", "-t", "tmpfs", "-o", &options, "hsmd-disk"];
        privileged(&mount, folder.path());
        Self { folder }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Fills it up to the last byte.
    pub fn fill(&self) {
        privileged(&["sh", "-c", "cat /dev/zero >\"$0\" 2>/dev/null || true"], &self.ballast());
    }

    /// Makes room again.
    pub fn make_room(&self) {
        privileged(&["rm", "-f"], &self.ballast());
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that still has a file open must not keep the folder.
        privileged(&["umount", "--lazy"], self.folder.path());
    }
}

fn uid(user: &str) -> nix::unistd::Uid {
    let found = nix::unistd::User::from_name(user).expect("the table of users");
    found.map_or_else(nix::unistd::getuid, |user| user.uid)
}

fn privileged(arguments: &[&str], path: &Path) {
    let root = nix::unistd::getuid().is_root();
    let prefix: &[&str] = if root { &[] } else { &["sudo", "--non-interactive"] };
    let words: Vec<&str> = prefix.iter().chain(arguments).copied().collect();
    let status = Command::new(words[0]).args(&words[1..]).arg(path).status();
    let status = status.expect("a command that can be run");
    assert!(status.success(), "{words:?} {}: {status}", path.display());
}
