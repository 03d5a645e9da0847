//! Each operation in its one transaction: rule, copies, commit.

use std::{future::Future, time::Instant};

use hsmd_chain::{cesr::Digest, time::Timestamp};
use hsmd_protocol::{
    Challenge, ChallengeReply, ChangeRecoveryKey, CreateAccount, CreateSession, DeleteAccount,
    Empty, Error, LinkDevice, Operation, Received, RecoverAccount, RefreshSession, RequestSession,
    RotateDevice, SessionReply, Token, UnlinkDevice, server,
};
use hsmd_service::random::nonce;

use crate::{
    Auth,
    database::{DatabaseError, Transaction},
};

/// Carries out an operation. When it returns `Ok` everything is committed.
pub(crate) async fn perform<O: Perform>(
    auth: &Auth,
    request: &Received<'_, O>,
    now: Timestamp,
) -> Result<O::Response, Error> {
    let mut transaction = auth.0.database.begin().await.map_err(unavailable)?;
    let done = match O::rule(auth, &mut transaction, request, now).await {
        Ok(done) => done,
        Err(refusal) => {
            if O::REFUSAL_COUNTS && !matches!(refusal, Error::Unavailable(_)) {
                transaction.commit().await.map_err(unavailable)?;
            }
            return Err(refusal);
        }
    };
    // See `copies` for the order.
    let copies = &auth.0.copies;
    copies.revoke(&done.revoked).await.map_err(|error| Error::Unavailable(error.into()))?;
    transaction.commit().await.map_err(unavailable)?;
    copies.revoked(&done.revoked).await;
    if let Some(hash) = &done.used {
        copies.used(hash).await;
    }
    Ok(done.response)
}

/// An operation that this service carries out.
pub(crate) trait Perform: Operation + Sync {
    /// Whether a refusal is committed as well, because it has used something up.
    const REFUSAL_COUNTS: bool = false;

    /// Whether one more request like this is accepted now.
    fn accepted(_auth: &Auth, _request: &Received<'_, Self>) -> bool {
        true
    }

    /// Decides within a transaction, which is committed if this is `Ok`.
    fn rule(
        auth: &Auth,
        transaction: &mut Transaction,
        request: &Received<'_, Self>,
        now: Timestamp,
    ) -> impl Future<Output = Result<Done<Self::Response>, Error>> + Send;
}

/// What an operation answers, and what is to be copied to Redis with its commit.
pub(crate) struct Done<R> {
    response: R,
    /// Devices that it revokes.
    revoked: Vec<Digest>,
    /// The hash that a refresh uses.
    used: Option<Digest>,
}

/// The operations whose answer is empty: each one's rule, which gives the devices that it revokes.
macro_rules! changes {
    ($($operation:ty: |$transaction:ident, $request:ident, $now:ident| $revoked:expr;)+) => {$(
        impl Perform for $operation {
            async fn rule(
                _auth: &Auth,
                $transaction: &mut Transaction,
                $request: &Received<'_, Self>,
                $now: Timestamp,
            ) -> Result<Done<Empty>, Error> {
                Ok(Done { response: Empty {}, revoked: $revoked, used: None })
            }
        }
    )+};
}

changes! {
    CreateAccount: |transaction, request, now| {
        server::create_account(transaction, request, now).await?;
        Vec::new()
    };
    RecoverAccount: |transaction, request, now| {
        server::recover_account(transaction, request, now).await?
    };
    DeleteAccount: |transaction, request, now| {
        server::delete_account(transaction, request, now).await?
    };
    RotateDevice: |transaction, request, _now| {
        server::rotate_device(transaction, request).await?;
        Vec::new()
    };
    LinkDevice: |transaction, request, now| {
        server::link_device(transaction, request, now).await?;
        Vec::new()
    };
    UnlinkDevice: |transaction, request, now| {
        vec![server::unlink_device(transaction, request, now).await?]
    };
    ChangeRecoveryKey: |transaction, request, _now| {
        server::change_recovery_key(transaction, request).await?;
        Vec::new()
    };
}

impl Perform for RequestSession {
    /// Anybody may ask for a challenge for anybody, so each identity gets only so many.
    fn accepted(auth: &Auth, request: &Received<'_, Self>) -> bool {
        let identity = request.request.authentication.identity;
        auth.0.challenge_limit.accept(identity, Instant::now())
    }

    async fn rule(
        _auth: &Auth,
        transaction: &mut Transaction,
        request: &Received<'_, Self>,
        now: Timestamp,
    ) -> Result<Done<ChallengeReply>, Error> {
        let nonce = nonce();
        server::request_session(transaction, request, &nonce, now).await?;
        let response = ChallengeReply { authentication: Challenge { nonce } };
        Ok(Done { response, revoked: Vec::new(), used: None })
    }
}

impl Perform for CreateSession {
    /// It has used the challenge up.
    const REFUSAL_COUNTS: bool = true;

    async fn rule(
        auth: &Auth,
        transaction: &mut Transaction,
        request: &Received<'_, Self>,
        now: Timestamp,
    ) -> Result<Done<SessionReply>, Error> {
        let token = server::create_session(transaction, request, auth.issuer(), now).await?;
        let response = SessionReply { access: Token { token } };
        Ok(Done { response, revoked: Vec::new(), used: None })
    }
}

impl Perform for RefreshSession {
    async fn rule(
        auth: &Auth,
        transaction: &mut Transaction,
        request: &Received<'_, Self>,
        now: Timestamp,
    ) -> Result<Done<SessionReply>, Error> {
        let (servers, issuer) = (&auth.0.servers, auth.issuer());
        let refreshed = server::refresh_session(transaction, servers, request, issuer, now).await?;
        let response = SessionReply { access: Token { token: refreshed.token } };
        Ok(Done { response, revoked: Vec::new(), used: Some(refreshed.used_hash) })
    }
}

fn unavailable(error: DatabaseError) -> Error {
    Error::Unavailable(error.into())
}
