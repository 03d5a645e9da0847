//! A PKCS#11 module that forwards to another one and fails on request: it returns chosen codes, is
//! slow, hangs, corrupts signatures, refuses templates, has the quirks of real modules, loses its token
//! and gives it back, and counts every call.
//!
//! [`module`] is what a program loads. What it is to do stands in a control file that both sides map
//! into memory ([`memory`]), so a fault is there with the next call, counters can be read at any time,
//! and both outlive a process that is killed. [`Control`] writes it, and so does the command
//! `hsmd-fault`. It is a tool for rehearsals and tests: never leave it in front of a token that is not
//! to fail.
//!
//! What follows is its manual page.
#![doc = include_str!("../README.md")]

pub mod attributes;
pub mod codes;
pub mod control;
pub mod functions;
pub mod memory;
pub mod module;
pub mod quirks;
pub mod status;

pub use attributes::Condition;
pub use codes::Code;
pub use control::{Control, ControlError, Refusal, Scope, Times};
pub use quirks::Quirk;
pub use status::{FunctionStatus, Status, TokenState};
