//! Pure verification of hsmd's key log, signed bodies and endorsements.
//!
//! Bytes and a time go in, verified types or one precise error come out; nothing here is async,
//! does I/O or reads a clock. Start with [`KeyLog::verify_json`], which turns a published log into
//! the proof that it is one, and [`SignedPayload::verify_endorsement`], which checks an endorsement
//! against it.
//!
//! ```
//! # use std::time::Duration;
//! # use hsmd_chain::testing::{LogBuilder, SoftwareKey, at};
//! use hsmd_chain::{Anchor, KeyLog, SignedPayload};
//!
//! # let builder = LogBuilder::of_length("doc", 3);
//! # let key = *SoftwareKey::from_seed("service").public_key();
//! # let (now, expiration) = (at("2026-01-01T03:00:00.000Z"), at("2026-01-01T15:00:00.000Z"));
//! # let (published, trusted) = (builder.to_json(), builder.anchor().to_string());
//! # let endorsement = builder.endorse(2, "access", &key, expiration).to_json();
//! let (skew, window) = (Duration::from_secs(5), Duration::from_secs(12 * 3600));
//! let anchor: Anchor = trusted.parse()?;
//! let log = KeyLog::verify_json(published.as_bytes(), &anchor, now, skew)?;
//! let signed = SignedPayload::parse(&endorsement)?;
//! let verified = signed.verify_endorsement(&log, "access", &key, now, window)?;
//! assert_eq!(verified.expiration(), expiration);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The order of the modules is the order of trust: [`cesr`] texts and [`time`] make an [`event`],
//! events make a [`log`], two logs may need to be reconciled ([`reconcile()`]), and a log vouches for
//! a [`signed_payload`], which is a [`body`] of its own or a leaf of a [`batch`], and for a [`head`].

pub mod anchor;
pub mod batch;
pub mod body;
pub mod cesr;
pub mod endorsement;
pub mod event;
pub mod head;
mod json;
pub mod log;
pub mod payload;
pub mod reconcile;
pub mod signed_payload;
#[cfg(feature = "testing")]
pub mod testing;
pub mod time;

pub use anchor::{Anchor, Head};
pub use batch::{BatchPayload, BatchedSignature, MerkleTree, SignedBatch};
pub use body::{Body, BodyTail, SignedBody, VerifiedBody};
pub use cesr::{Digest, Nonce, PublicKey, Signature, SigningInput};
pub use endorsement::{EndorsementPayload, VerifiedEndorsement};
pub use event::{Event, EventFault, SignedEvent};
pub use head::{Freshness, HeadError, HeadFormError, HeadPayload, HeadStatement, VerifiedHead};
pub use log::{ExtendError, Extended, KeyLog, Lifetime, LogError};
pub use payload::Payload;
pub use reconcile::{Contest, ReconcileError, Reconciled, reconcile};
pub use signed_payload::SignedPayload;
pub use time::Timestamp;
