//! Pure verification of hsmd's key log, signed bodies and endorsements.
//!
//! Bytes and a time go in, verified types or one precise error come out; nothing here is async,
//! does I/O or reads a clock. Start with [`KeyLog::verify_json`], which turns a published log into
//! the proof that it is one, and [`SignedBody::verify_endorsement`], which checks an endorsement
//! against it.
//!
//! The order of the rooms is the order of trust: [`cesr`] texts and [`time`] make an [`event`],
//! events make a [`log`], two logs may need to be [`reconcile`]d, and a log vouches for a [`body`].

pub mod anchor;
pub mod body;
pub mod cesr;
pub mod endorsement;
pub mod event;
mod json;
pub mod log;
pub mod payload;
pub mod reconcile;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;

pub use anchor::{Anchor, Head};
pub use body::{Body, BodyTail, SignedBody, VerifiedBody};
pub use cesr::{Digest, Nonce, PublicKey, Signature, SigningInput};
pub use endorsement::{EndorsementPayload, VerifiedEndorsement};
pub use event::{Event, EventFault, SignedEvent};
pub use log::{ExtendError, Extended, KeyLog, Lifetime, LogError};
pub use payload::Payload;
pub use reconcile::{Contest, ReconcileError, Reconciled, reconcile};
pub use time::Timestamp;
