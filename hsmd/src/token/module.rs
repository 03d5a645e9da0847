//! PKCS#11 modules: loaded once, initialised, and initialised again after a device was lost.
//!
//! A module is process-wide: two tokens behind one module share it, so finalising it for one closes
//! the other's session too, and what was its session handle may be anybody's afterwards. So a module
//! is finalised only when no call of any token runs in it, and each session belongs to one
//! [`ModuleEpoch`] of its module and is never used beyond it. Never unloaded.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};

use super::error::TokenError;

/// A module is reinitialised at most this often.
const REINITIALISE_EVERY: Duration = Duration::from_secs(30);

/// How long to wait for other tokens' calls to return before a module is finalised. Longer calls are
/// waited for by trying again.
const QUIET_WITHIN: Duration = Duration::from_millis(500);

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
    /// How often it has been finalised; held for reading by every call.
    finalised: Arc<RwLock<u64>>,
}

/// A module from one `C_Initialize` to the next `C_Finalize`.
#[derive(Clone, Debug)]
pub struct ModuleEpoch {
    context: Pkcs11,
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
    pub fn open(&self, path: &Path) -> Result<ModuleEpoch, TokenError> {
        let mut loaded = self.loaded.lock();
        let module = match loaded.entry(path.into()) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let context = Pkcs11::new(path)
                    .map_err(|source| TokenError::Load { path: path.into(), source })?;
                entry.insert(Module {
                    context,
                    initialised: false,
                    reinitialised_at: None,
                    finalised: Arc::default(),
                })
            }
        };
        if !module.initialised {
            module.initialise()?;
        }
        Ok(ModuleEpoch {
            context: module.context.clone(),
            number: *module.finalised.read(),
            finalised: Arc::clone(&module.finalised),
        })
    }

    /// Finalises the module, so that the next [`open`](Self::open) initialises it again. Does nothing
    /// when that was done less than 30 seconds ago, or while another token's call does not return.
    ///
    /// Returns whether it was done.
    pub fn reset(&self, path: &Path) -> bool {
        let mut loaded = self.loaded.lock();
        let Some(module) = loaded.get_mut(path) else { return false };
        if module.reinitialised_at.is_some_and(|at| at.elapsed() < REINITIALISE_EVERY) {
            return false;
        }
        let done = module.finalise();
        if done {
            module.reinitialised_at = Some(Instant::now());
        }
        done
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
    fn initialise(&mut self) -> Result<(), TokenError> {
        match self.context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {
                self.initialised = true;
                Ok(())
            }
            Err(source) => Err(TokenError::call("initialising the PKCS#11 module")(source)),
        }
    }

    /// Whether no call runs in it any more and it is finalised.
    fn finalise(&mut self) -> bool {
        let Some(mut finalised) = self.finalised.try_write_for(QUIET_WITHIN) else { return false };
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

    /// Keeps the module as it is for a call.
    ///
    /// # Errors
    /// It has been finalised since: what was opened in it is gone.
    pub fn enter(&self) -> Result<Calling<'_>, TokenError> {
        let finalised = self.finalised.read();
        if *finalised == self.number { Ok(Calling(finalised)) } else { Err(TokenError::Finalised) }
    }
}
