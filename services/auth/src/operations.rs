//! Each operation in its one transaction: rule, copies, commit.

use std::future::Future;

use hsmd_chain::{cesr::Digest, time::Timestamp};
use hsmd_protocol::{
    Challenge, ChallengeReply, ChangeRecoveryKey, CreateAccount, CreateSession, DeleteAccount,
    Empty, Error, LinkDevice, Operation, Received, RecoverAccount, RefreshSession, RequestSession,
    RotateDevice, SessionReply, Token, UnlinkDevice, server,
};

use crate::{
    Auth,
    database::{DatabaseError, Transaction},
    random::nonce,
};

/// An operation that this service carries out. When it returns `Ok` everything is committed.
pub(crate) trait Perform: Operation {
    fn perform(
        auth: &Auth,
        request: Received<'_, Self>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Self::Response, Error>> + Send;
}

impl Perform for CreateAccount {
    async fn perform(
        auth: &Auth,
        request: Received<'_, Self>,
        now: Timestamp,
    ) -> Result<Empty, Error> {
        let mut transaction = begin(auth).await?;
        server::create_account(&mut transaction, &request, now).await?;
        commit(transaction).await
    }
}

impl Perform for RecoverAccount {
    async fn perform(
        auth: &Auth,
        request: Received<'_, Self>,
        now: Timestamp,
    ) -> Result<Empty, Error> {
        let mut transaction = begin(auth).await?;
        let revoked = server::recover_account(&mut transaction, &request, now).await?;
        commit_revoking(auth, transaction, &revoked).await
    }
}

impl Perform for DeleteAccount {
    async fn perform(
        auth: &Auth,
        request: Received<'_, Self>,
        now: Timestamp,
    ) -> Result<Empty, Error> {
        let mut transaction = begin(auth).await?;
        let revoked = server::delete_account(&mut transaction, &request, now).await?;
        commit_revoking(auth, transaction, &revoked).await
    }
}

impl Perform for RotateDevice {
    async fn perform(
        auth: &Auth,
        request: Received<'_, Self>,
        _now: Timestamp,
    ) -> Result<Empty, Error> {
        let mut transaction = begin(auth).await?;
        server::rotate_device(&mut transaction, &request).await?;
        commit(transaction).await
    }
}

impl Perform for LinkDevice {
    async fn perform(
        auth: &Auth,
        request: Received<'_, Self>,
        now: Timestamp,
    ) -> Result<Empty, Error> {
        let mut transaction = begin(auth).await?;
        server::link_device(&mut transaction, &request, now).await?;
        commit(transaction).await
    }
}

impl Perform for UnlinkDevice {
    async fn perform(
        auth: &Auth,
        request: Received<'_, Self>,
        now: Timestamp,
    ) -> Result<Empty, Error> {
        let mut transaction = begin(auth).await?;
        let revoked = server::unlink_device(&mut transaction, &request, now).await?;
        commit_revoking(auth, transaction, &[revoked]).await
    }
}

impl Perform for ChangeRecoveryKey {
    async fn perform(
        auth: &Auth,
        request: Received<'_, Self>,
        _now: Timestamp,
    ) -> Result<Empty, Error> {
        let mut transaction = begin(auth).await?;
        server::change_recovery_key(&mut transaction, &request).await?;
        commit(transaction).await
    }
}

impl Perform for RequestSession {
    async fn perform(
        auth: &Auth,
        request: Received<'_, Self>,
        now: Timestamp,
    ) -> Result<ChallengeReply, Error> {
        let challenge = nonce();
        let mut transaction = begin(auth).await?;
        server::request_session(&mut transaction, &request, &challenge, now).await?;
        commit(transaction).await?;
        Ok(ChallengeReply { authentication: Challenge { nonce: challenge } })
    }
}

impl Perform for CreateSession {
    async fn perform(
        auth: &Auth,
        request: Received<'_, Self>,
        now: Timestamp,
    ) -> Result<SessionReply, Error> {
        let mut transaction = begin(auth).await?;
        let outcome = server::create_session(&mut transaction, &request, auth.issuer(), now).await;
        // A refusal is committed as well: it has used the challenge up.
        if !matches!(outcome, Err(Error::Unavailable(_))) {
            commit(transaction).await?;
        }
        Ok(SessionReply { access: Token { token: outcome? } })
    }
}

impl Perform for RefreshSession {
    async fn perform(
        auth: &Auth,
        request: Received<'_, Self>,
        now: Timestamp,
    ) -> Result<SessionReply, Error> {
        let mut transaction = begin(auth).await?;
        let refreshed =
            server::refresh_session(&mut transaction, auth.servers(), &request, auth.issuer(), now)
                .await?;
        commit(transaction).await?;
        auth.copies().used(&refreshed.used_hash).await;
        Ok(SessionReply { access: Token { token: refreshed.token } })
    }
}

async fn begin(auth: &Auth) -> Result<Transaction, Error> {
    auth.database().begin().await.map_err(unavailable)
}

async fn commit(transaction: Transaction) -> Result<Empty, Error> {
    transaction.commit().await.map_err(unavailable)?;
    Ok(Empty {})
}

/// Commits a transaction that revokes devices; see [`crate::copies`] for the order.
async fn commit_revoking(
    auth: &Auth,
    transaction: Transaction,
    revoked: &[Digest],
) -> Result<Empty, Error> {
    let copies = auth.copies();
    copies.revoke(revoked).await.map_err(|error| Error::Unavailable(error.into()))?;
    let empty = commit(transaction).await?;
    copies.revoked(revoked).await;
    Ok(empty)
}

fn unavailable(error: DatabaseError) -> Error {
    Error::Unavailable(error.into())
}
