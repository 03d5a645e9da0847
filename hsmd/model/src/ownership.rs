//! A model of who owns the token: two daemons with a database each (or one that is promoted away from
//! the other), one token whose objects a process may see late, records, claims, leases, take-overs,
//! taints without a database, and keys that can't be destroyed.
//!
//! The steps of one database and one rotation are the business of [`crate::History`]; here a commit is
//! one step. Time is an order: a wait of `claim_wait` ends when every job (a look and the change that
//! follows it) that the other daemon had open when the wait began is over, and a wait for the other's
//! lease when that daemon has looked since, or its lease has expired.

mod actions;
mod flaw;
mod invariants;
mod start;
mod state;
mod work;

/// The `crash_point!`s of the code: behind a claim, behind the change after it, behind the last look.
pub const CRASH_POINTS: [&str; 3] = ["owner::claimed", "owner::changed", "owner::taken"];

pub use actions::{Action, Bounds, Ownership};
pub use flaw::Flaw;
pub use invariants::PROPERTIES;
pub use state::{At, Daemon, Event, Record, State, Token};
