//! A value made from files, made again when one of them has changed.

use std::{
    fmt, fs,
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

/// The newest good value of some files, for example a TLS configuration of its certificate and key.
/// It looks at the files only when it is asked to, which costs one `stat` each.
pub struct Watched<T, E> {
    files: Vec<PathBuf>,
    load: Box<dyn Fn() -> Result<T, E> + Send + Sync>,
    /// A plain mutex: held while files are read, and never across an await.
    current: Mutex<Current<T>>,
}

struct Current<T> {
    value: Arc<T>,
    /// What the files were before the value was made from them.
    seen: Vec<Option<Stamp>>,
}

/// What tells a changed file: a renamed one has another inode, one with other permissions another time
/// of change.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl<T, E> Watched<T, E> {
    /// Makes the value for the first time.
    ///
    /// # Errors
    /// What `load` fails with.
    pub fn load(
        files: impl IntoIterator<Item = PathBuf>,
        load: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        let files: Vec<_> = files.into_iter().collect();
        let seen = stamps(&files);
        let value = Arc::new(load()?);
        Ok(Self { files, load: Box::new(load), current: Mutex::new(Current { value, seen }) })
    }

    /// The newest good value.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.current.lock().unwrap_or_else(PoisonError::into_inner).value)
    }

    /// Makes the value again if a file has changed since, and returns it if so. Files that do not fit
    /// together leave the value as it was, and the next call tries again: perhaps one of them is still
    /// to come.
    ///
    /// # Errors
    /// What `load` fails with.
    pub fn refresh(&self) -> Result<Option<Arc<T>>, E> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let now = stamps(&self.files);
        if now == current.seen {
            return Ok(None);
        }
        let value = Arc::new((self.load)()?);
        *current = Current { value: Arc::clone(&value), seen: now };
        Ok(Some(value))
    }
}

impl<T, E> fmt::Debug for Watched<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("files", &self.files).finish_non_exhaustive()
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Option<Stamp>> {
    let stamp = |path| {
        let of: fs::Metadata = fs::metadata(path).ok()?;
        Some(Stamp {
            device: of.dev(),
            inode: of.ino(),
            size: of.size(),
            modified: (of.mtime(), of.mtime_nsec()),
            changed: (of.ctime(), of.ctime_nsec()),
        })
    };
    files.iter().map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn a_changed_file_makes_a_new_value_and_a_bad_one_leaves_the_old() {
        let folder = tempfile::tempdir().unwrap();
        let [path, other] = ["a", "b"].map(|name| folder.path().join(name));
        fs::write(&path, "1").unwrap();
        fs::write(&other, "").unwrap();
        let from = path.clone();
        let load = move || fs::read_to_string(&from)?.parse::<u32>().map_err(io::Error::other);
        let watched = Watched::load([path.clone(), other.clone()], load).unwrap();
        assert_eq!(*watched.current(), 1);
        assert!(watched.refresh().unwrap().is_none());

        // Replaced by a file of the same size, as a renewal does.
        let draft = folder.path().join("draft");
        fs::write(&draft, "2").unwrap();
        fs::rename(&draft, &path).unwrap();
        assert_eq!(*watched.current(), 1, "not before it is asked to look");
        assert_eq!(watched.refresh().unwrap().as_deref(), Some(&2));
        assert!(watched.refresh().unwrap().is_none());

        fs::write(&path, "x").unwrap();
        assert!(watched.refresh().is_err() && watched.refresh().is_err());
        assert_eq!(*watched.current(), 2);
        fs::remove_file(&path).unwrap();
        assert!(watched.refresh().is_err());
        fs::write(&path, "3").unwrap();
        assert_eq!(watched.refresh().unwrap().as_deref(), Some(&3));

        fs::write(&other, "more").unwrap();
        assert_eq!(watched.refresh().unwrap().as_deref(), Some(&3));
    }
}
