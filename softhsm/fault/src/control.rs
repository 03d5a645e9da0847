//! Sets the faults of a module and reads what it counted, from the outside, while it runs or not.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::attributes::Condition;
use crate::codes::Code;
use crate::functions;
use crate::memory::{FOR_EVER, Mapping, Memory, Plan, Record};
use crate::quirks::Quirk;
use crate::status::Status;

/// A control file could not be used, or what was asked makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The control file.
    #[error("cannot use the control file {}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system answered.
        #[source]
        source: io::Error,
    },
    /// PKCS#11 v2.40 has no such function.
    #[error("{0:?} is no function of PKCS#11 v2.40")]
    UnknownFunction(String),
}

/// Which functions a fault is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One, by its place in [`functions::NAMES`].
    One(usize),
    /// All.
    All,
}

impl std::str::FromStr for Scope {
    type Err = ControlError;

    fn from_str(text: &str) -> Result<Self, ControlError> {
        if text == "all" {
            return Ok(Self::All);
        }
        let index = functions::index(text);
        index.map(Self::One).ok_or_else(|| ControlError::UnknownFunction(text.to_owned()))
    }
}

/// Which of the coming calls a fault hits. Calls that only ask for a length are neither hit nor
/// counted off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// How many calls pass before the first is hit.
    pub skip: u32,
    /// How many are hit; `None`: until cleared.
    pub times: Option<u32>,
}

impl Times {
    /// The next `times` calls.
    pub fn next(times: u32) -> Self {
        Self { skip: 0, times: Some(times) }
    }

    /// Every call until cleared.
    pub fn always() -> Self {
        Self::default()
    }

    /// The same after `skip` more calls.
    #[must_use]
    pub fn after(self, skip: u32) -> Self {
        Self { skip, ..self }
    }

    fn write(self, plan: &Plan) {
        // One less than all there are to count means "for ever" by then.
        plan.set(self.skip, self.times.map_or(FOR_EVER, |times| times.min(FOR_EVER - 1)));
    }
}

/// A refusal of templates with an attribute.
#[derive(Clone, Copy, Debug)]
pub struct Refusal {
    /// What is refused.
    pub condition: Condition,
    /// The code that the call returns; nothing is made.
    pub code: Code,
    /// Whether the refused call keeps the module's lock, so that the next call of the process hangs.
    pub keeps_lock: bool,
}

/// The faults of the modules that use one control file. What is set holds from the next call on, in
/// every process that has the module loaded, and in those that load it later.
#[derive(Debug)]
pub struct Control {
    mapping: Mapping,
    /// Held while several words are changed together.
    lock: File,
    path: PathBuf,
}

impl Control {
    /// Opens a control file, made first if there is none.
    ///
    /// # Errors
    /// [`ControlError::File`].
    pub fn open(path: &Path) -> Result<Self, ControlError> {
        let error = |source| ControlError::File { path: path.into(), source };
        let mapping = Mapping::open(path).map_err(error)?;
        let lock = File::open(path).map_err(error)?;
        Ok(Self { mapping, lock, path: path.into() })
    }

    /// Returns a code instead of making the call; with `after`, makes the call and replaces its
    /// result: what it did is done, and its caller is not told.
    ///
    /// # Errors
    /// [`ControlError::File`].
    pub fn fail(
        &self,
        scope: Scope,
        code: Code,
        times: Times,
        after: bool,
    ) -> Result<(), ControlError> {
        self.change(scope, |record| {
            // The plan last: it is what sets the fault off.
            record.fail.set(0, 0);
            record.fail_code.store(code.0, Ordering::Release);
            record.fail_after.store(after.into(), Ordering::Release);
            times.write(&record.fail);
        })
    }

    /// Makes calls slower by `delay` plus something between nothing and `jitter`.
    ///
    /// # Errors
    /// [`ControlError::File`].
    pub fn delay(
        &self,
        scope: Scope,
        delay: Duration,
        jitter: Duration,
    ) -> Result<(), ControlError> {
        self.change(scope, |record| {
            record.delay_micros.store(delay.as_micros() as u64, Ordering::Release);
            record.jitter_micros.store(jitter.as_micros() as u64, Ordering::Release);
        })
    }

    /// Lets calls hang before they are made, until [`release`](Self::release) or
    /// [`clear`](Self::clear).
    ///
    /// # Errors
    /// [`ControlError::File`].
    pub fn hang(&self, scope: Scope, times: Times) -> Result<(), ControlError> {
        self.change(scope, |record| times.write(&record.hang))
    }

    /// Lets hanging calls go on and no further call hang.
    ///
    /// # Errors
    /// [`ControlError::File`].
    pub fn release(&self) -> Result<(), ControlError> {
        self.change(Scope::All, |record| record.hang.set(0, 0))?;
        self.memory().releases.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// Flips the last bit of what a function puts out (of a signature, for `C_Sign`).
    ///
    /// # Errors
    /// [`ControlError::File`].
    pub fn corrupt(&self, scope: Scope, times: Times) -> Result<(), ControlError> {
        self.change(scope, |record| times.write(&record.corrupt))
    }

    /// Lets a function refuse templates: `C_CreateObject`, `C_GenerateKeyPair` or
    /// `C_FindObjectsInit`. Other functions are not affected.
    ///
    /// # Errors
    /// [`ControlError::File`].
    pub fn refuse(&self, scope: Scope, refusal: Refusal, times: Times) -> Result<(), ControlError> {
        self.change(scope, |record| {
            // The plan last: it is what sets the fault off.
            record.refuse.set(0, 0);
            record.refuse_code.store(refusal.code.0, Ordering::Release);
            let Condition { attribute, value } = refusal.condition;
            record.refuse_attribute.store(attribute, Ordering::Release);
            record.refuse_value.store(value.map_or(0, |v| u64::from(v) + 1), Ordering::Release);
            record.refuse_keeps_lock.store(refusal.keeps_lock.into(), Ordering::Release);
            times.write(&record.refuse);
        })
    }

    /// Switches a quirk on or off. [`Quirk::HandleReuse`] and [`Quirk::HiddenObjects`] hold for a
    /// process from its next `C_Initialize` on.
    ///
    /// # Errors
    /// [`ControlError::File`].
    pub fn quirk(&self, quirk: Quirk, on: bool) -> Result<(), ControlError> {
        self.locked(|memory| {
            if on {
                memory.quirks.fetch_or(quirk.bit(), Ordering::AcqRel);
            } else {
                memory.quirks.fetch_and(!quirk.bit(), Ordering::AcqRel);
            }
        })
    }

    /// Takes the token away, as if it had been pulled out. Does nothing when it is away.
    ///
    /// # Errors
    /// [`ControlError::File`].
    pub fn drop_token(&self) -> Result<(), ControlError> {
        self.turn(false)
    }

    /// Brings the token back. A process that had it before, or looked for it meanwhile, has to call
    /// `C_Finalize` and `C_Initialize` before it can use it. Does nothing when it is there.
    ///
    /// # Errors
    /// [`ControlError::File`].
    pub fn restore_token(&self) -> Result<(), ControlError> {
        self.turn(true)
    }

    /// Takes faults back, lets hanging calls go on and, with [`Scope::All`], takes quirks back too and
    /// brings the token back.
    ///
    /// # Errors
    /// [`ControlError::File`].
    pub fn clear(&self, scope: Scope) -> Result<(), ControlError> {
        self.change(scope, |record| {
            for plan in [&record.fail, &record.hang, &record.corrupt, &record.refuse] {
                plan.set(0, 0);
            }
            record.delay_micros.store(0, Ordering::Release);
            record.jitter_micros.store(0, Ordering::Release);
        })?;
        self.memory().releases.fetch_add(1, Ordering::AcqRel);
        if scope == Scope::All {
            self.locked(|memory| memory.quirks.store(0, Ordering::Release))?;
            self.restore_token()?;
        }
        Ok(())
    }

    /// Sets all counters to zero.
    pub fn reset_counters(&self) {
        for record in &self.memory().functions {
            let Record { calls, length_queries, failed, hung, corrupted, refused, .. } = record;
            for counter in [calls, length_queries, failed, hung, corrupted, refused] {
                counter.store(0, Ordering::Relaxed);
            }
        }
    }

    /// How often a function has been called.
    ///
    /// # Errors
    /// [`ControlError::UnknownFunction`].
    pub fn calls(&self, function: &str) -> Result<u64, ControlError> {
        let index = functions::index(function)
            .ok_or_else(|| ControlError::UnknownFunction(function.to_owned()))?;
        Ok(self.memory().functions[index].calls.load(Ordering::Acquire))
    }

    /// The faults that are set, and what was counted.
    pub fn status(&self) -> Status {
        Status::read(self.memory())
    }

    fn memory(&self) -> &Memory {
        self.mapping.memory()
    }

    fn change(&self, scope: Scope, change: impl Fn(&Record)) -> Result<(), ControlError> {
        self.locked(|memory| {
            match scope {
                Scope::One(index) => change(&memory.functions[index]),
                Scope::All => memory.functions.iter().for_each(change),
            }
            if memory.functions.iter().any(Record::is_armed) {
                memory.word.fetch_or(1, Ordering::AcqRel);
            } else {
                memory.word.fetch_and(!1, Ordering::AcqRel);
            }
        })
    }

    /// Moves the epoch on if the token is where `away` says.
    fn turn(&self, away: bool) -> Result<(), ControlError> {
        self.locked(|memory| {
            if memory.is_away() == away {
                memory.word.fetch_add(2, Ordering::AcqRel);
            }
        })
    }

    fn locked(&self, work: impl FnOnce(&Memory)) -> Result<(), ControlError> {
        let error = |source| ControlError::File { path: self.path.clone(), source };
        self.lock.lock().map_err(error)?;
        work(self.memory());
        self.lock.unlock().map_err(error)
    }
}

impl Record {
    /// Whether anything may still go wrong with this function.
    fn is_armed(&self) -> bool {
        let plans = [&self.fail, &self.hang, &self.corrupt, &self.refuse];
        let times = [&self.delay_micros, &self.jitter_micros];
        plans.iter().any(|plan| plan.read().1 > 0)
            || times.iter().any(|time| time.load(Ordering::Acquire) > 0)
    }
}
