//! Signed bodies: a payload and the name of the key that signs it, in one text (docs/formats.md §3).
//!
//! A body always begins with `{"payload":` and an event with `{"id":`, so neither passes for the
//! other. That holds because [`BodyTail`] is the only maker of a [`Body`].

mod build;
mod signed;
mod verified;

pub use build::{Body, BodyTail};
pub use signed::{BodyFormError, SignedBody};
pub use verified::{BodyError, VerifiedBody};
