//! A model of hsmd's history: init, start, rotation, taint and takeover of two daemons on one database
//! and one token, with crashes after every step, lost connections, commits of unknown outcome, lost
//! replies and retries. A checker explores every interleaving within a [`Bounds`]; `docs/proof.md` maps
//! each [`Step`] to the code.
//!
//! Begin with [`History`], the model, and [`check`], which runs the checker. A [`Flaw`] breaks the order
//! of steps on purpose: each must lead to a counterexample, or the properties would prove nothing.

mod actions;
mod check;
mod daemon;
mod flaw;
mod invariants;
pub mod ownership;
mod recovery;
mod step;
mod steps;
mod trace;
mod world;

pub use actions::{Action, Bounds, History};
pub use check::{Report, check, check_ownership, tell};
pub use daemon::{At, Daemon, Pending};
pub use flaw::Flaw;
pub use invariants::PROPERTIES;
pub use step::{Step, kill_points};
pub use trace::{Life, Trace, traces};
pub use world::{Entries, Event, Key, Lock, Request, State};
