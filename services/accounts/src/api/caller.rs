//! Who sends a request, as far as its connection and headers say.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
};

use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, HeaderName, header, request::Parts},
};
use hsmd_runtime::client_address;
use hsmd_support::proxy::subscriber;

use super::cookies;
use crate::{
    Accounts,
    error::ApiError,
    sessions::{self, Authenticated, NoSession, SessionCookie},
};

/// A request's sender.
#[derive(Clone)]
pub(crate) struct Caller {
    /// Its address, as the connection or a trusted proxy says.
    pub(crate) address: IpAddr,
    /// What limits count: an IPv4 address, or a network of 64 bits of IPv6.
    pub(crate) network: IpAddr,
    /// Empty if it is not given.
    pub(crate) user_agent: String,
    /// Its session cookie, or why there is none.
    cookie: Result<SessionCookie, NoSession>,
}

impl Caller {
    pub(super) fn of(accounts: &Accounts, parts: &Parts) -> Self {
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(IpAddr::from(Ipv4Addr::UNSPECIFIED), |ConnectInfo(peer)| peer.ip());
        let proxies = &accounts.config().limits.trusted_proxies;
        let address = client_address(peer, &parts.headers, proxies);
        let cookie = match cookies::session(&parts.headers, accounts.is_secure()) {
            None => Err(NoSession::NoCookie),
            Some(value) => SessionCookie::parse(&value).ok_or(NoSession::Forged),
        };
        let user_agent = text(&parts.headers, &header::USER_AGENT).replace('\0', "");
        Self { address, network: subscriber(address), user_agent, cookie }
    }

    /// The session of its cookie.
    pub(crate) async fn session(
        &self,
        accounts: &Accounts,
    ) -> Result<Result<Authenticated, NoSession>, sqlx::Error> {
        let found = self.look(accounts).await?;
        if let Err(reason) = found {
            accounts.counters().refused_session(reason);
            tracing::info!(reason = reason.reason(), address = %self.address, "session refused");
        }
        Ok(found)
    }

    /// As [`session`](Self::session), but a refusal is neither counted nor logged.
    pub(crate) async fn look(
        &self,
        accounts: &Accounts,
    ) -> Result<Result<Authenticated, NoSession>, sqlx::Error> {
        match &self.cookie {
            Ok(cookie) => sessions::find(cookie.clone(), accounts.now(), accounts.database()).await,
            Err(reason) => Ok(Err(*reason)),
        }
    }

    /// As [`session`](Self::session), where one is needed.
    pub(crate) async fn require(&self, accounts: &Accounts) -> Result<Authenticated, ApiError> {
        self.session(accounts).await?.map_err(ApiError::NoSession)
    }

    /// The token that its cookie names, unverified.
    pub(crate) fn cookie(&self) -> Option<&SessionCookie> {
        self.cookie.as_ref().ok()
    }
}

impl FromRequestParts<Accounts> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        accounts: &Accounts,
    ) -> Result<Self, Infallible> {
        Ok(match parts.extensions.get::<Self>() {
            Some(caller) => caller.clone(),
            None => Self::of(accounts, parts),
        })
    }
}

/// A header's text; empty if there is none or it is no text.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
