//! The Better Auth protocol as our services and devices speak it: messages, the rules of both sides,
//! access tokens and what an application checks. No I/O, no runtime, no clock, no randomness: what is
//! stored goes through the traits in [`store`], time and randomness are arguments.
//!
//! Signatures cover texts, so texts are kept: a message is verified over the bytes that came, and only
//! then are its members believed. Begin with [`server`] for an auth server, [`access`] for an
//! application, [`client`] for a device.

pub mod access;
pub mod client;
mod error;
mod identity;
mod key;
mod link;
mod message;
mod operation;
mod ordered;
pub mod server;
pub mod store;
mod token;
mod wire_time;

pub use error::{Error, Malformed, error_json};
pub use identity::{device_id, identity_id, key_hash};
pub use key::PrivateKey;
pub use link::LinkContainer;
pub use message::{Received, Reply, ReplyAccess, RequestAccess, sign_reply};
pub use operation::{
    Authentication, Challenge, ChallengeAnswer, ChallengeReply, ChangeRecoveryKey, CreateAccount,
    CreateSession, DeleteAccount, DeviceReference, Empty, IdentityReference, LinkDevice, Operation,
    RecoverAccount, RecoverableAuthentication, Recovery, RefreshSession, RefreshedKeys,
    RequestSession, RotateDevice, SessionKeys, SessionReply, Token, UnlinkDevice,
};
pub use token::{AccessToken, Attributes, ReceivedToken};
pub use wire_time::WireTime;
