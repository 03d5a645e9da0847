//! The PKCS#11 module: every function of v2.40, forwarded to the module that the environment names.
//!
//! `HSMD_FAULT_MODULE` is the path of that module, `HSMD_FAULT_CONTROL` that of the control file. Both
//! are read once, at the first call. Without them, or when they can't be used, every call answers
//! CKR_GENERAL_ERROR, and the reason is written to standard error once.

mod exports;
mod pass;
mod quirks;
mod target;

pub use exports::*;
