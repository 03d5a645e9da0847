//! PKCS#11 modules: loaded once, initialised, and initialised again after a device was lost.
//!
//! A module is process-wide: two tokens behind one module share it, so finalising it for one closes
//! the other's session too. Never unloaded; `C_Finalize` only when no call is running.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use parking_lot::Mutex;

use super::error::TokenError;

/// A module is reinitialised at most this often.
const REINITIALISE_EVERY: Duration = Duration::from_secs(30);

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
}

impl Modules {
    /// The initialised module at `path`.
    ///
    /// # Errors
    /// It can't be loaded or `C_Initialize` fails.
    pub fn open(&self, path: &Path) -> Result<Pkcs11, TokenError> {
        let mut loaded = self.loaded.lock();
        let module = match loaded.entry(path.into()) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let context = Pkcs11::new(path)
                    .map_err(|source| TokenError::Load { path: path.into(), source })?;
                entry.insert(Module { context, initialised: false, reinitialised_at: None })
            }
        };
        if !module.initialised {
            module.initialise()?;
        }
        Ok(module.context.clone())
    }

    /// Finalises the module, so that the next [`open`](Self::open) initialises it again. Does nothing
    /// when that was done less than 30 seconds ago. No session of the module may be in a call.
    ///
    /// Returns whether it was done.
    pub fn reset(&self, path: &Path) -> bool {
        let mut loaded = self.loaded.lock();
        let Some(module) = loaded.get_mut(path) else { return false };
        if module.reinitialised_at.is_some_and(|at| at.elapsed() < REINITIALISE_EVERY) {
            return false;
        }
        module.reinitialised_at = Some(Instant::now());
        module.finalise();
        true
    }

    /// Finalises every module, before the process ends.
    pub fn close(&self) {
        for module in self.loaded.lock().values_mut() {
            module.finalise();
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

    fn finalise(&mut self) {
        if std::mem::take(&mut self.initialised)
            && let Err(error) = self.context.clone().finalize()
        {
            tracing::warn!(%error, "C_Finalize failed");
        }
    }
}
