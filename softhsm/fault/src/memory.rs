//! The control file as memory: what both sides of it share, each word an atomic of its own.
//!
//! The file is made once at its full size and never shrinks, so the mapping stays valid for as long as
//! anybody has it. All words are in the machine's own byte order: the file does not travel.

use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroUsize;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use crate::functions;

/// The first word of a control file; the last digit changes with the layout.
const MAGIC: u64 = u64::from_le_bytes(*b"hsmdflt2");

/// All of a control file.
#[derive(Debug)]
#[repr(C)]
pub struct Memory {
    magic: AtomicU64,
    /// Twice the token's epoch, plus one while any fault is set: all that a call looks at when nothing
    /// is wrong. The epoch is odd while the token is away.
    pub(crate) word: AtomicU64,
    /// Goes up when hanging calls are to go on.
    pub(crate) releases: AtomicU64,
    /// The quirks that are set, a bit each.
    pub(crate) quirks: AtomicU64,
    pub(crate) functions: [Record; functions::COUNT],
}

/// What is counted of one function, and what is to go wrong with it.
#[derive(Debug)]
#[repr(C)]
pub struct Record {
    pub(crate) calls: AtomicU64,
    pub(crate) length_queries: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) hung: AtomicU64,
    pub(crate) corrupted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) fail: Plan,
    pub(crate) fail_code: AtomicU64,
    /// 1: the call is made and its result replaced; 0: it is not made.
    pub(crate) fail_after: AtomicU64,
    pub(crate) hang: Plan,
    pub(crate) corrupt: Plan,
    pub(crate) refuse: Plan,
    pub(crate) refuse_code: AtomicU64,
    /// The attribute that a template is refused for, and its value: 0 any, 1 false, 2 true.
    pub(crate) refuse_attribute: AtomicU64,
    pub(crate) refuse_value: AtomicU64,
    /// 1: the refusal keeps the module's lock, so that the next call hangs.
    pub(crate) refuse_keeps_lock: AtomicU64,
    pub(crate) delay_micros: AtomicU64,
    pub(crate) jitter_micros: AtomicU64,
}

/// Which of the coming calls a fault hits, in one word: how many to let pass first (upper half), and
/// how many to hit then (lower half).
#[derive(Debug)]
#[repr(transparent)]
pub struct Plan(AtomicU64);

/// A fault that hits until it is cleared.
pub(crate) const FOR_EVER: u32 = u32::MAX;

impl Memory {
    /// The token's epoch, and no fault.
    pub(crate) fn word_without_faults(&self) -> u64 {
        self.word.load(Ordering::Acquire) & !1
    }

    /// Whether the token is away.
    pub(crate) fn is_away(&self) -> bool {
        self.word.load(Ordering::Acquire) & 2 != 0
    }
}

impl Plan {
    pub(crate) fn set(&self, skip: u32, left: u32) {
        self.0.store(u64::from(skip) << 32 | u64::from(left), Ordering::Release);
    }

    /// How many calls still pass, and how many are hit then.
    pub(crate) fn read(&self) -> (u32, u32) {
        let word = self.0.load(Ordering::Acquire);
        ((word >> 32) as u32, word as u32)
    }

    /// Takes one call off the plan; whether it is hit.
    pub(crate) fn hits(&self) -> bool {
        let step = |word: u64| match ((word >> 32) as u32, word as u32) {
            (_, 0) => None,
            (0, FOR_EVER) => Some(word),
            (0, _) => Some(word - 1),
            _ => Some(word - (1 << 32)),
        };
        let before = self.0.fetch_update(Ordering::AcqRel, Ordering::Acquire, step);
        before.is_ok_and(|word| word >> 32 == 0)
    }
}

/// A control file that is mapped into this process.
#[derive(Debug)]
pub struct Mapping {
    memory: NonNull<Memory>,
}

// SAFETY: the memory consists of atomics only, and the mapping lives as long as this value.
unsafe impl Send for Mapping {}
// SAFETY: as above; every access goes through `&Memory`.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps a control file, made first (mode 0600) if there is none.
    ///
    /// # Errors
    /// The file can't be opened, made or mapped, or it is something else.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        // Two who make it at once must not both think that they are first.
        file.lock()?;
        let fresh = file.metadata()?.len() == 0;
        if fresh {
            file.set_len(size_of::<Memory>() as u64)?;
        } else if file.metadata()?.len() != size_of::<Memory>() as u64 {
            return Err(foreign());
        }
        let mapping = Self { memory: map(&file)? };
        if fresh {
            mapping.memory().magic.store(MAGIC, Ordering::Release);
        } else if mapping.memory().magic.load(Ordering::Acquire) != MAGIC {
            return Err(foreign());
        }
        file.unlock()?;
        Ok(mapping)
    }

    /// The memory.
    pub fn memory(&self) -> &Memory {
        // SAFETY: the mapping is page-aligned, readable, writable and as large as `Memory`; every bit
        // pattern is valid for atomics of u64; it is unmapped only when `self` is dropped.
        unsafe { self.memory.as_ref() }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this size, and no reference outlives `self`.
        let unmapped = unsafe { munmap(self.memory.cast(), size_of::<Memory>()) };
        debug_assert_eq!(unmapped, Ok(()));
    }
}

fn map(file: &File) -> io::Result<NonNull<Memory>> {
    const { assert!(size_of::<Memory>() > 0) };
    let size = NonZeroUsize::new(size_of::<Memory>()).ok_or_else(foreign)?;
    let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    // SAFETY: a new mapping of a file at an address of the kernel's choosing touches no other memory.
    let memory = unsafe { mmap(None, size, access, MapFlags::MAP_SHARED, file, 0) }?;
    Ok(memory.cast())
}

fn foreign() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not a control file of this version of hsmd-fault")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_skips_then_hits_then_is_over() {
        let plan = Plan(AtomicU64::new(0));
        assert!(!plan.hits());
        plan.set(2, 3);
        let hits: Vec<_> = (0..7).map(|_| plan.hits()).collect();
        assert_eq!(hits, [false, false, true, true, true, false, false]);
        plan.set(1, FOR_EVER);
        let hits: Vec<_> = (0..4).map(|_| plan.hits()).collect();
        assert_eq!(hits, [false, true, true, true]);
    }

    #[test]
    fn two_mappings_share_one_file_and_foreign_files_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("control");
        let (a, b) = (Mapping::open(&path).expect("make"), Mapping::open(&path).expect("open"));
        a.memory().functions[3].calls.store(7, Ordering::Relaxed);
        assert_eq!(b.memory().functions[3].calls.load(Ordering::Relaxed), 7);

        for (name, bytes) in [("short", vec![1; 10]), ("other", vec![0; size_of::<Memory>()])] {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).expect("write");
            let error = Mapping::open(&path).expect_err("not a control file");
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
    }
}
