//! The sink of audit records: a standard stream or a file. The file is rotated when it is full, and opened
//! again when logrotate or a person has moved it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::config::AuditSink;

/// Where lines go.
pub enum Sink {
    Stream(Stream),
    File(AuditFile),
}

/// A standard stream, by a descriptor of its own: a stalled write holds no lock that others take.
pub struct Stream {
    file: File,
    /// Before each line, where the stream is systemd's journal: the priority "notice".
    prefix: &'static [u8],
}

pub struct AuditFile {
    file: File,
    path: PathBuf,
    size: u64,
    max_bytes: u64,
    keep: u32,
    /// The last line was cut, by a full disk or a crash: it is ended before the next.
    cut: bool,
}

impl Sink {
    pub fn open(config: &AuditSink) -> io::Result<Self> {
        Ok(match config {
            AuditSink::Stderr => Self::Stream(Stream::of(io::stderr().as_fd())?),
            AuditSink::Stdout => Self::Stream(Stream::of(io::stdout().as_fd())?),
            AuditSink::File { file: path, max_bytes, keep } => {
                let (file, size, cut) = open(path)?;
                let (path, max_bytes, keep) = (path.clone(), *max_bytes, *keep);
                Self::File(AuditFile { file, path, size, max_bytes, keep, cut })
            }
        })
    }

    /// Writes one line, which has no line end yet.
    pub fn write(&mut self, mut line: Vec<u8>) -> io::Result<()> {
        line.push(b'\n');
        match self {
            Self::Stream(Stream { file, prefix }) => {
                line.splice(0..0, prefix.iter().copied());
                file.write_all(&line)
            }
            Self::File(file) => file.write(line),
        }
    }

    /// Opens the file again, by its path.
    pub fn reopen(&mut self) -> io::Result<()> {
        match self {
            Self::Stream(_) => Ok(()),
            Self::File(file) => file.reopen(),
        }
    }

    /// Whether the path names another file by now, or none.
    pub fn is_moved(&self) -> bool {
        match self {
            Self::Stream(_) => false,
            Self::File(file) => file.is_moved(),
        }
    }
}

impl Stream {
    fn of(descriptor: BorrowedFd<'_>) -> io::Result<Self> {
        let file = File::from(descriptor.try_clone_to_owned()?);
        let prefix: &[u8] = if hsmd_runtime::is_journal(&file) { b"<5>" } else { b"" };
        Ok(Self { file, prefix })
    }
}

impl AuditFile {
    fn write(&mut self, mut line: Vec<u8>) -> io::Result<()> {
        let length = line.len() as u64;
        // Moved already, by somebody or by a rotation that could open no new file: the old ones stay.
        if self.is_full(length) && self.is_moved() {
            self.reopen()?;
        }
        if self.is_full(length) {
            rotate_files(&self.path, self.keep)?;
            self.reopen()?;
        }
        if self.cut {
            line.insert(0, b'\n');
        }
        self.cut = true;
        self.file.write_all(&line)?;
        self.cut = false;
        self.size += line.len() as u64;
        Ok(())
    }

    /// Whether so many more bytes need a new file.
    fn is_full(&self, more: u64) -> bool {
        self.size > 0 && self.size + more > self.max_bytes
    }

    fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.size, self.cut) = open(&self.path)?;
        Ok(())
    }

    fn is_moved(&self) -> bool {
        let id = |metadata: io::Result<std::fs::Metadata>| {
            metadata.map(|metadata| (metadata.dev(), metadata.ino())).ok()
        };
        id(std::fs::metadata(&self.path)) != id(self.file.metadata())
    }
}

/// The file, its size, and whether its last line was cut.
fn open(path: &Path) -> io::Result<(File, u64, bool)> {
    let mut file =
        OpenOptions::new().create(true).read(true).append(true).mode(0o640).open(path)?;
    let metadata = file.metadata()?;
    let mut last = [b'\n'];
    if metadata.is_file() && metadata.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    Ok((file, metadata.len(), last != [b'\n']))
}

/// Moves file to file.1, file.1 to file.2 and so on; the oldest goes, unless there is a gap before it.
fn rotate_files(path: &Path, keep: u32) -> io::Result<()> {
    let numbered = |number: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    };
    if keep == 0 {
        return std::fs::remove_file(path);
    }
    // Up to the first gap: a rotation that failed half-way is repeated without a loss.
    let end = (1..keep).find(|number| !numbered(*number).exists()).unwrap_or(keep);
    for number in (1..end).rev() {
        std::fs::rename(numbered(number), numbered(number + 1))?;
    }
    std::fs::rename(path, numbered(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(file: &Path) -> Sink {
        Sink::open(&AuditSink::File { file: file.into(), max_bytes: 100, keep: 2 }).unwrap()
    }

    #[test]
    fn a_full_file_is_rotated() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        let mut sink = sink(&file);
        for number in 0..10 {
            sink.write(format!("{number}{}", "x".repeat(60)).into_bytes()).unwrap();
        }
        let mut names: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]);
        assert!(std::fs::read_to_string(&file).unwrap().starts_with('9'));
    }

    #[test]
    fn a_cut_line_is_ended_and_a_moved_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        std::fs::write(&file, "{\"cut").unwrap();
        let mut sink = sink(&file);
        sink.write(b"{}".to_vec()).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "{\"cut\n{}\n");
        assert!(!sink.is_moved());
        std::fs::rename(&file, folder.path().join("moved")).unwrap();
        assert!(sink.is_moved());
        sink.reopen().unwrap();
        assert!(!sink.is_moved());
        sink.write(b"{}".to_vec()).unwrap();
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "{}\n");
        std::fs::remove_file(&file).unwrap();
        assert!(sink.is_moved());
    }

    #[test]
    fn a_new_file_that_can_not_be_opened_costs_no_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        let mut sink = sink(&file);
        let mut line = |number| sink.write(format!("{number}{}", "x".repeat(60)).into_bytes());
        (1..=3).for_each(|number| line(number).unwrap());
        let old = || {
            ["audit.jsonl.1", "audit.jsonl.2"].map(|name| {
                std::fs::read_to_string(folder.path().join(name)).unwrap().chars().next().unwrap()
            })
        };
        assert_eq!(old(), ['2', '1']);
        // A folder in its place: this keeps root from opening a file, too.
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        (4..=6).for_each(|number| drop(line(number).unwrap_err()));
        assert_eq!(old(), ['2', '1']);
        std::fs::remove_dir(&file).unwrap();
        line(7).unwrap();
        assert!(std::fs::read_to_string(&file).unwrap().starts_with('7'));
        assert_eq!(old(), ['2', '1']);
    }

    #[test]
    fn a_rotation_that_fails_half_way_is_repeated_without_a_loss() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        let numbered = |number| folder.path().join(format!("audit.jsonl.{number}"));
        (1..=3).for_each(|number| std::fs::write(numbered(number), [number]).unwrap());
        // The last move fails: there is no file.
        (0..4).for_each(|_| drop(rotate_files(&file, 4).unwrap_err()));
        let found = [2, 3, 4].map(|number| std::fs::read(numbered(number)).unwrap());
        assert_eq!(found, [[1], [2], [3]]);
        std::fs::write(&file, [0]).unwrap();
        rotate_files(&file, 4).unwrap();
        let found = [1, 2, 3, 4].map(|number| std::fs::read(numbered(number)).unwrap());
        assert_eq!(found, [[0], [1], [2], [3]]);
    }
}
