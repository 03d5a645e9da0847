//! The module behind this one, loaded once in a process and never unloaded.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use cryptoki_sys::{CK_FUNCTION_LIST, CKR_OK, Pkcs11};

use super::quirks;
use crate::codes::Code;
use crate::memory::{Mapping, Memory};

/// The module behind this one, and what this process knows of the control file.
#[derive(Debug)]
pub(super) struct Target {
    /// Its function list, with the quirky functions in their places.
    pub(super) functions: CK_FUNCTION_LIST,
    /// A copy of its function list, pointers and all.
    pub(super) behind: CK_FUNCTION_LIST,
    /// What this process knows of the token's objects.
    pub(super) objects: quirks::Shared,
    /// One more than the number of releases at which a refused call kept the lock; 0: it is free.
    kept: AtomicU64,
    mapping: Mapping,
    /// The control file's word while nothing is wrong for this process: no fault set, and the token in
    /// the epoch that it was in at `C_Initialize`.
    pub(super) calm: AtomicU64,
}

#[derive(Debug, thiserror::Error)]
enum TargetError {
    #[error("the environment variable {0} is not set")]
    Unset(&'static str),
    #[error("HSMD_FAULT_MODULE={}: {reason}", module.display())]
    Load { module: OsString, reason: String },
    #[error("HSMD_FAULT_MODULE={}: C_GetFunctionList returned {code}", module.display())]
    FunctionList { module: OsString, code: Code },
    #[error("HSMD_FAULT_CONTROL={}: {source}", control.display())]
    Control { control: OsString, source: std::io::Error },
}

impl Target {
    /// The one of this process; `None` when there can be none.
    pub(super) fn of_this_process() -> Option<&'static Self> {
        static TARGET: OnceLock<Option<Target>> = OnceLock::new();
        let target = TARGET.get_or_init(|| match Self::load() {
            Ok(target) => Some(target),
            Err(error) => {
                // A closed standard error is no reason to fail.
                drop(writeln!(std::io::stderr(), "hsmd-fault: {error}"));
                None
            }
        });
        target.as_ref()
    }

    pub(super) fn memory(&self) -> &Memory {
        self.mapping.memory()
    }

    /// Keeps the lock of this process's module: the next call hangs until it is released.
    pub(super) fn keep_lock(&self) {
        self.kept.store(self.memory().releases.load(Ordering::Acquire) + 1, Ordering::Release);
    }

    /// Whether a refused call kept the lock and it was not released since.
    pub(super) fn lock_is_kept(&self) -> bool {
        self.kept.load(Ordering::Acquire) == self.memory().releases.load(Ordering::Acquire) + 1
    }

    fn load() -> Result<Self, TargetError> {
        let module = variable("HSMD_FAULT_MODULE")?;
        let control = variable("HSMD_FAULT_CONTROL")?;
        let mapping = Mapping::open(Path::new(&control))
            .map_err(|source| TargetError::Control { control, source })?;
        let behind = function_list(module)?;
        let mut functions = behind;
        quirks::install(&mut functions);
        let objects = quirks::Shared::default();
        let (calm, kept) = (AtomicU64::new(0), AtomicU64::new(0));
        let target = Self { functions, behind, objects, kept, mapping, calm };
        target.calm.store(target.memory().word_without_faults(), Ordering::Release);
        Ok(target)
    }
}

fn function_list(module: OsString) -> Result<CK_FUNCTION_LIST, TargetError> {
    // SAFETY: loading a module runs its initialisers; that it is a PKCS#11 module, which may be loaded
    // into any process, is promised by setting HSMD_FAULT_MODULE.
    let library = match unsafe { Pkcs11::new(&module) } {
        Ok(library) => library,
        Err(error) => return Err(TargetError::Load { module, reason: error.to_string() }),
    };
    if let Err(error) = &library.C_GetFunctionList {
        return Err(TargetError::Load { module, reason: error.to_string() });
    }
    let mut list = ptr::null_mut();
    // SAFETY: the symbol is there, and `list` is a valid place for one pointer.
    let code = unsafe { library.C_GetFunctionList(&mut list) };
    if code != CKR_OK || list.is_null() {
        return Err(TargetError::FunctionList { module, code: Code(code) });
    }
    // SAFETY: the module returned CKR_OK, so `list` points to its function list. Its layout has been
    // the same since v2.0.
    let functions = unsafe { *list };
    // The functions must stay where they are: a module that has run is never unloaded.
    std::mem::forget(library);
    Ok(functions)
}

fn variable(name: &'static str) -> Result<OsString, TargetError> {
    #[expect(clippy::disallowed_methods, reason = "the only configuration that a module has")]
    std::env::var_os(name).ok_or(TargetError::Unset(name))
}
