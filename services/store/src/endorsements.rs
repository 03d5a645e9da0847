//! Databases 0 and 1: the endorsements of the servers' keys, each under its key's text.

use std::{collections::BTreeMap, marker::PhantomData};

use hsmd_chain::{cesr::PublicKey, time::Timestamp};
use redis::cmd;

use crate::{StoreError, link::Link};

/// How many keys one SCAN step asks for, and one MGET fetches at the most.
const PAGE: usize = 500;

/// How many endorsements a list holds at the most. Each is about 400 bytes, in a
/// batch up to 1,200; each server has one or
/// two: more than this is not a fleet but somebody filling our Redis.
pub const LIST_LIMIT: usize = 10_000;

/// A purpose of server keys, and the database that has their endorsements.
pub trait Purpose: Copy + Send + Sync + 'static {
    /// The database's number.
    const DATABASE: u8;
    /// The `purpose` in the endorsements.
    const NAME: &'static str;
}

/// Keys that sign access tokens: database 0.
#[derive(Clone, Copy, Debug)]
pub struct Access;

/// Keys that sign replies: database 1.
#[derive(Clone, Copy, Debug)]
pub struct Response;

/// Keys that sign JSON Web Tokens: database 1, beside the keys that sign replies.
#[derive(Clone, Copy, Debug)]
pub struct Jwt;

impl Purpose for Access {
    const DATABASE: u8 = 0;
    const NAME: &'static str = "access";
}

impl Purpose for Response {
    const DATABASE: u8 = 1;
    const NAME: &'static str = "response";
}

impl Purpose for Jwt {
    const DATABASE: u8 = 1;
    const NAME: &'static str = "jwt";
}

/// The published endorsements of one purpose. What is read here is not verified: it is a text that
/// somebody stored, to be shown to a verifier together with the key that was asked for.
#[derive(Clone)]
pub struct Endorsements<P> {
    link: Link,
    purpose: PhantomData<P>,
}

impl<P: Purpose> Endorsements<P> {
    pub(crate) fn new(link: Link) -> Self {
        Self { link, purpose: PhantomData }
    }

    /// Stores an endorsement under its key until `expires_at`, on Redis' clock.
    ///
    /// # Errors
    /// When Redis gives no answer; repeating is harmless. [`crate::Publisher`] repeats by itself.
    pub async fn publish(
        &self,
        key: &PublicKey,
        endorsement: &str,
        expires_at: Timestamp,
    ) -> Result<(), StoreError> {
        self.link
            .query(
                cmd("SET")
                    .arg(key.as_str())
                    .arg(endorsement)
                    .arg("PXAT")
                    .arg(expires_at.unix_millis()),
            )
            .await
    }

    /// The stored bytes for a key, or nothing when there are none (or no string).
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::TimedOut`] or [`StoreError::Refused`].
    pub async fn find(&self, key: &PublicKey) -> Result<Option<Vec<u8>>, StoreError> {
        // MGET rather than GET: it answers nil for a value of another type instead of an error.
        let [found]: [Option<Vec<u8>>; 1] = self.link.query(cmd("MGET").arg(key.as_str())).await?;
        Ok(found)
    }

    /// Everything stored, as (key, bytes) in the keys' order; names that are not UTF-8 and values that
    /// are no strings are left out. Walks the database in steps which never block Redis for long, so
    /// entries that come or go meanwhile may be missing.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`], [`StoreError::TimedOut`] or [`StoreError::Refused`];
    /// [`StoreError::Unexpected`] for more than 10 000 entries.
    pub async fn list(&self) -> Result<BTreeMap<String, Vec<u8>>, StoreError> {
        let mut found = BTreeMap::new();
        let mut cursor = 0_u64;
        loop {
            let (next, names): (u64, Vec<Vec<u8>>) =
                self.link.query(cmd("SCAN").arg(cursor).arg("COUNT").arg(PAGE)).await?;
            let names: Vec<String> =
                names.into_iter().filter_map(|name| String::from_utf8(name).ok()).collect();
            for page in names.chunks(PAGE) {
                let values: Vec<Option<Vec<u8>>> = self.link.query(cmd("MGET").arg(page)).await?;
                let pairs = page.iter().cloned().zip(values);
                found.extend(pairs.filter_map(|(name, value)| Some((name, value?))));
            }
            if found.len() > LIST_LIMIT {
                return Err(self.link.unexpected("more endorsements than any fleet has"));
            }
            if next == 0 {
                return Ok(found);
            }
            cursor = next;
        }
    }
}
