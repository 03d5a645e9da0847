//! PKCS#11 modules: loaded once, initialised, and initialised again after a device was lost.
//!
//! A module is process-wide: two tokens behind one module share it, so finalising it for one closes
//! the other's session too, and what was its session handle may be anybody's afterwards. So a module
//! is finalised only when no call of any token runs in it, and each session belongs to one
//! [`ModuleEpoch`] of its module and is never used beyond it. Never unloaded.

use std::collections::HashMap;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cryptoki::context::Pkcs11;
use cryptoki::error::{Error, RvError};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use super::error::TokenError;

/// How soon a module is reinitialised again: after 1, 2, 4, … seconds, and then every 30.
const REINITIALISE_FIRST: Duration = Duration::from_secs(1);
const REINITIALISE_AT_MOST: Duration = Duration::from_secs(30);

/// Without a need to reinitialise for this long, the next one begins with the first delay again.
const CALM_AFTER: Duration = Duration::from_secs(60);

/// tpm2-pkcs11: its handles are given twice once an object was destroyed, and its process may abort over
/// that; what another process has made shows after `C_Initialize` only.
const TPM2_PKCS11: &str = "tpm2-software.github.io";

/// How long to wait for other tokens' calls to return before a module is finalised. Longer calls are
/// waited for by trying again.
const FINALISE_TIMEOUT: Duration = Duration::from_millis(500);

/// The modules that this process has loaded.
#[derive(Debug, Default)]
pub struct Modules {
    loaded: Mutex<HashMap<PathBuf, Module>>,
}

#[derive(Debug)]
struct Module {
    context: Pkcs11,
    initialised: bool,
    reinitialised_at: Option<Instant>,
    /// How long to wait from then until it is reinitialised again.
    delay: Duration,
    /// Whether its handles are not to be trusted once something was destroyed.
    handles: Arc<Handles>,
    /// How often it has been finalised; held for reading by every call.
    finalised: Arc<RwLock<u64>>,
}

/// What is known of the handles that a module gives.
#[derive(Debug, Default)]
struct Handles {
    /// It gives handles that are in use.
    given_twice: AtomicBool,
    /// Other processes' objects show after `C_Initialize` only.
    hides_foreign: AtomicBool,
    /// Something was destroyed since it was initialised.
    destroyed: AtomicBool,
}

/// A module from one `C_Initialize` to the next `C_Finalize`.
#[derive(Clone, Debug)]
pub struct ModuleEpoch {
    context: Pkcs11,
    handles: Arc<Handles>,
    number: u64,
    finalised: Arc<RwLock<u64>>,
}

/// Keeps the module from being finalised. One at a time in a thread.
#[derive(Debug)]
pub struct Calling<'a>(#[expect(dead_code, reason = "a guard")] RwLockReadGuard<'a, u64>);

impl Modules {
    /// The initialised module at `path`.
    ///
    /// # Errors
    /// It can't be loaded or `C_Initialize` fails.
    pub fn open(&self, path: &Path, arguments: Option<&str>) -> Result<ModuleEpoch, TokenError> {
        let mut loaded = self.loaded.lock();
        let module = match loaded.entry(path.into()) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let context =
                    Pkcs11::new(path).map_err(|error| TokenError::load(path.into(), error))?;
                entry.insert(Module {
                    context,
                    initialised: false,
                    reinitialised_at: None,
                    delay: Duration::ZERO,
                    handles: Arc::default(),
                    finalised: Arc::default(),
                })
            }
        };
        if !module.initialised {
            module.initialise(arguments)?;
        }
        Ok(ModuleEpoch {
            context: module.context.clone(),
            handles: Arc::clone(&module.handles),
            number: *module.finalised.read(),
            finalised: Arc::clone(&module.finalised),
        })
    }

    /// Finalises the module, so that the next [`open`](Self::open) initialises it again. Does nothing
    /// when that was done a moment ago (1 second, then 2, 4, … up to 30), or while another token's call
    /// does not return.
    ///
    /// Returns whether it was done.
    pub fn reset(&self, path: &Path) -> bool {
        let mut loaded = self.loaded.lock();
        let Some(module) = loaded.get_mut(path) else { return false };
        let since = module.reinitialised_at.map(|at| at.elapsed());
        if since.is_some_and(|since| since < module.delay) {
            return false;
        }
        let done = module.finalise();
        if done {
            module.delay = next_delay(module.delay, since);
            module.reinitialised_at = Some(Instant::now());
        }
        done
    }

    /// Finalises a module whose handles or objects are stale, whenever that was done last. Returns whether
    /// it was done: not while another token's call does not return.
    pub fn renumber(&self, path: &Path) -> bool {
        self.loaded.lock().get_mut(path).is_some_and(Module::finalise)
    }

    /// Finalises every module in which no call hangs, before the process ends.
    pub fn close(&self) {
        for (path, module) in self.loaded.lock().iter_mut() {
            if !module.finalise() {
                tracing::warn!(path = %path.display(), "left without C_Finalize: a call hangs");
            }
        }
    }
}

impl Module {
    fn initialise(&mut self, arguments: Option<&str>) -> Result<(), TokenError> {
        let arguments = arguments.map(CString::new).transpose();
        let arguments = arguments.map_err(|_| TokenError::Nonsense("a zero byte"))?;
        match hsmd_initialize::initialize(&self.context, arguments.as_deref()) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {
                self.initialised = true;
                self.handles.destroyed.store(false, Ordering::Release);
                match self.context.get_library_info() {
                    Ok(info) if info.manufacturer_id() == TPM2_PKCS11 => {
                        self.handles.hides_foreign.store(true, Ordering::Release);
                        self.handles.given_twice.store(true, Ordering::Release);
                    }
                    Ok(_) => {}
                    Err(error) => tracing::debug!(%error, "the module does not describe itself"),
                }
                Ok(())
            }
            Err(source) => Err(TokenError::call("initialising the PKCS#11 module")(source)),
        }
    }

    /// Whether no call runs in it any more and it is finalised.
    fn finalise(&mut self) -> bool {
        let Some(mut finalised) = self.finalised.try_write_for(FINALISE_TIMEOUT) else {
            return false;
        };
        *finalised += 1;
        if std::mem::take(&mut self.initialised)
            && let Err(error) = self.context.clone().finalize()
        {
            tracing::warn!(%error, "C_Finalize failed");
        }
        true
    }
}

impl ModuleEpoch {
    /// The module's functions, to be called while [`enter`](Self::enter)ed only.
    pub fn context(&self) -> &Pkcs11 {
        &self.context
    }

    /// Notes that an object was destroyed.
    pub(super) fn note_destroyed(&self) {
        self.handles.destroyed.store(true, Ordering::Release);
    }

    /// Notes that the module was seen to give a handle that is in use.
    pub(super) fn note_handle_given_twice(&self) {
        self.handles.given_twice.store(true, Ordering::Release);
    }

    /// Whether a new object could get a handle that is in use: until the module is initialised again.
    pub fn handles_are_stale(&self) -> bool {
        let Handles { given_twice, destroyed, .. } = &*self.handles;
        given_twice.load(Ordering::Acquire) && destroyed.load(Ordering::Acquire)
    }

    /// Whether it shows what other processes have made only after `C_Initialize`.
    pub fn hides_foreign_objects(&self) -> bool {
        self.handles.hides_foreign.load(Ordering::Acquire)
    }

    /// Keeps the module as it is for a call.
    ///
    /// # Errors
    /// [`TokenError::Finalised`]: what was opened in it is gone.
    pub fn enter(&self) -> Result<Calling<'_>, TokenError> {
        let finalised = self.finalised.read();
        if *finalised == self.number { Ok(Calling(finalised)) } else { Err(TokenError::Finalised) }
    }
}

/// How long to wait before a module is reinitialised once more.
fn next_delay(before: Duration, since: Option<Duration>) -> Duration {
    match since {
        Some(since) if since < CALM_AFTER => {
            (before * 2).clamp(REINITIALISE_FIRST, REINITIALISE_AT_MOST)
        }
        _ => REINITIALISE_FIRST,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_half_a_minute_and_begin_anew_after_a_calm_minute() {
        let mut delay = Duration::ZERO;
        let mut since = None;
        let delays: Vec<_> = (0..7)
            .map(|_| {
                delay = next_delay(delay, since);
                since = Some(delay);
                delay.as_secs()
            })
            .collect();
        assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(next_delay(delay, Some(Duration::from_secs(61))), REINITIALISE_FIRST);
    }
}
