//! One operation's transaction, as the protocol's rules see it. SQL stands where it is used.

use hsmd_chain::{
    cesr::{Digest, Nonce, PublicKey},
    time::Timestamp,
};
use hsmd_protocol::store::{Account, Accounts, Device, GivenChallenge, Sessions, StoreError};
use sqlx::{PgConnection, Postgres};

use super::{DatabaseError, parse, time};

/// A transaction. Read committed is enough: every rule first locks the account it decides about, and
/// what must happen once is a unique constraint or a conditional update.
pub(crate) struct Transaction(sqlx::Transaction<'static, Postgres>);

impl Transaction {
    pub(super) fn new(transaction: sqlx::Transaction<'static, Postgres>) -> Self {
        Self(transaction)
    }

    /// Makes it all count.
    pub(crate) async fn commit(self) -> Result<(), DatabaseError> {
        self.0.commit().await.map_err(DatabaseError::Query)
    }

    fn connection(&mut self) -> &mut PgConnection {
        &mut self.0
    }
}

/// Runs a statement and returns how many rows it changed.
macro_rules! execute {
    ($transaction:expr, $statement:literal $(, $value:expr)* $(,)?) => {
        sqlx::query($statement)
            $(.bind($value))*
            .execute($transaction.connection())
            .await
            .map_err(DatabaseError::Query)?
            .rows_affected()
    };
}

/// Runs a statement and returns its row, if there is one.
macro_rules! fetch {
    ($transaction:expr, $row:ty, $statement:literal $(, $value:expr)* $(,)?) => {
        sqlx::query_as::<_, $row>($statement)
            $(.bind($value))*
            .fetch_optional($transaction.connection())
            .await
            .map_err(DatabaseError::Query)?
    };
}

impl Accounts for Transaction {
    async fn insert_account(
        &mut self,
        identity: &Digest,
        recovery_hash: &Digest,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let inserted = execute!(
            self,
            "INSERT INTO accounts (identity, recovery_hash, created_at) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
            identity.as_str(),
            recovery_hash.as_str(),
            now.unix_millis(),
        );
        Ok(inserted == 1)
    }

    async fn lock_account(&mut self, identity: &Digest) -> Result<Option<Account>, StoreError> {
        // NO KEY UPDATE: a challenge that is being stored refers to the row and need not wait.
        let row = fetch!(
            self,
            (String, bool),
            "SELECT recovery_hash::text, deleted_at IS NOT NULL FROM accounts WHERE identity = $1
             FOR NO KEY UPDATE",
            identity.as_str(),
        );
        let Some((recovery_hash, deleted)) = row else { return Ok(None) };
        Ok(Some(Account { recovery_hash: parse(&recovery_hash)?, deleted }))
    }

    async fn set_recovery_hash(
        &mut self,
        identity: &Digest,
        hash: &Digest,
    ) -> Result<(), StoreError> {
        execute!(
            self,
            "UPDATE accounts SET recovery_hash = $2 WHERE identity = $1",
            identity.as_str(),
            hash.as_str(),
        );
        Ok(())
    }

    async fn delete_account(
        &mut self,
        identity: &Digest,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        execute!(
            self,
            "UPDATE accounts SET deleted_at = $2 WHERE identity = $1",
            identity.as_str(),
            now.unix_millis(),
        );
        Ok(())
    }

    async fn insert_device(
        &mut self,
        identity: &Digest,
        device: &Digest,
        public_key: &PublicKey,
        rotation_hash: &Digest,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let inserted = execute!(
            self,
            "INSERT INTO devices (device, identity, public_key, rotation_hash, created_at)
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            device.as_str(),
            identity.as_str(),
            public_key.as_str(),
            rotation_hash.as_str(),
            now.unix_millis(),
        );
        Ok(inserted == 1)
    }

    async fn device(
        &mut self,
        identity: &Digest,
        device: &Digest,
    ) -> Result<Option<Device>, StoreError> {
        let row = fetch!(
            self,
            (String, String, bool),
            "SELECT public_key::text, rotation_hash::text, revoked_at IS NOT NULL FROM devices
             WHERE device = $1 AND identity = $2",
            device.as_str(),
            identity.as_str(),
        );
        let Some((public_key, rotation_hash, revoked)) = row else { return Ok(None) };
        let (public_key, rotation_hash) = (parse(&public_key)?, parse(&rotation_hash)?);
        Ok(Some(Device { public_key, rotation_hash, revoked }))
    }

    async fn set_device_keys(
        &mut self,
        device: &Digest,
        public_key: &PublicKey,
        rotation_hash: &Digest,
    ) -> Result<(), StoreError> {
        execute!(
            self,
            "UPDATE devices SET public_key = $2, rotation_hash = $3 WHERE device = $1",
            device.as_str(),
            public_key.as_str(),
            rotation_hash.as_str(),
        );
        Ok(())
    }

    async fn revoke_device(&mut self, device: &Digest, now: Timestamp) -> Result<(), StoreError> {
        execute!(
            self,
            "UPDATE devices SET revoked_at = $2 WHERE device = $1 AND revoked_at IS NULL",
            device.as_str(),
            now.unix_millis(),
        );
        Ok(())
    }

    async fn revoke_devices(
        &mut self,
        identity: &Digest,
        now: Timestamp,
    ) -> Result<Vec<Digest>, StoreError> {
        let revoked = sqlx::query_scalar::<_, String>(
            "UPDATE devices SET revoked_at = $2 WHERE identity = $1 AND revoked_at IS NULL
             RETURNING device::text",
        )
        .bind(identity.as_str())
        .bind(now.unix_millis())
        .fetch_all(self.connection())
        .await
        .map_err(DatabaseError::Query)?;
        Ok(revoked.iter().map(|device| parse(device)).collect::<Result<_, _>>()?)
    }
}

impl Sessions for Transaction {
    async fn insert_challenge(
        &mut self,
        nonce: &Nonce,
        identity: &Digest,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        // A commit that waits for the disk would tell a known identity from an unknown one, and a
        // challenge that a crash of the database forgets is asked for again.
        execute!(self, "SET LOCAL synchronous_commit = off");
        execute!(
            self,
            "INSERT INTO challenges (nonce, identity, given_at)
             SELECT $1, identity, $3 FROM accounts WHERE identity = $2 AND deleted_at IS NULL",
            nonce.as_str(),
            identity.as_str(),
            now.unix_millis(),
        );
        Ok(())
    }

    async fn use_challenge(
        &mut self,
        nonce: &Nonce,
        now: Timestamp,
    ) -> Result<Option<GivenChallenge>, StoreError> {
        let row = fetch!(
            self,
            (String, i64),
            "UPDATE challenges SET used_at = $2 WHERE nonce = $1 AND used_at IS NULL
             RETURNING identity::text, given_at::bigint",
            nonce.as_str(),
            now.unix_millis(),
        );
        let Some((identity, given_at)) = row else { return Ok(None) };
        Ok(Some(GivenChallenge { identity: parse(&identity)?, given_at: time(given_at)? }))
    }

    async fn reserve_refresh(
        &mut self,
        hash: &Digest,
        device: &Digest,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let inserted = execute!(
            self,
            "INSERT INTO refreshes (hash, device, used_until) VALUES ($1, $2, $3)
             ON CONFLICT DO NOTHING",
            hash.as_str(),
            device.as_str(),
            until.unix_millis(),
        );
        Ok(inserted == 1)
    }
}
