//! Losing a session and opening it again: when, after which errors, and with which delay.

use hsmd_support::chain;
use std::sync::Arc;
use std::time::Instant;

use super::owner::Guard;
use super::{RETRY_AT_MOST, RETRY_FIRST, TokenState};
use crate::signer::ReleaseCheck;
use crate::token::{Class, OpenToken, TokenError};

impl TokenState {
    /// Runs something in the session, opened first if need be and allowed by the backoff. When that
    /// loses the session, it is repeated once in a new one: so it must be safe to repeat.
    pub fn with_session<T>(
        &mut self,
        work: impl Fn(&OpenToken) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        match self.in_session(&work) {
            Err(error) if self.reopen_after(&error) => self.in_session(&work),
            result => result,
        }
    }

    /// As [`with_session`](Self::with_session), for what only the token's owner may change: before each
    /// attempt its records are looked at, and it is asked whether the lock is ours, since looking for keys
    /// and opening a session take their time.
    pub fn with_session_if_ours<T>(
        &mut self,
        work: impl Fn(&OpenToken) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let (release_check, guard, index) = self.what_is_asked();
        self.with_session(|session| if_ours(&release_check, index, guard.as_ref(), session, &work))
    }

    /// As [`with_session_if_ours`](Self::with_session_if_ours), once only.
    pub fn in_session_if_ours<T>(
        &mut self,
        work: impl Fn(&OpenToken) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        let (release_check, guard, index) = self.what_is_asked();
        self.in_session(|session| if_ours(&release_check, index, guard.as_ref(), session, &work))
    }

    fn what_is_asked(&self) -> (Arc<ReleaseCheck>, Option<Guard>, usize) {
        (Arc::clone(&self.release_check), self.guard(), self.index)
    }

    /// As [`with_session`](Self::with_session), once only.
    pub fn in_session<T>(
        &mut self,
        work: impl Fn(&OpenToken) -> Result<T, TokenError>,
    ) -> Result<T, TokenError> {
        if self.may_reopen_now() {
            self.open()?;
        }
        let Some(session) = &self.session else { return Err(self.closed()) };
        let result = work(session);
        if let Err(error) = &result {
            self.lost(error);
        }
        result
    }

    /// Opens the session again if this error has lost it, and may be cured by that.
    pub fn reopen_after(&mut self, error: &TokenError) -> bool {
        matches!(error.class(), Class::Session | Class::Device)
            && self.may_reopen_now()
            && self.open().is_ok()
    }

    /// Drops the session if the error says that it is lost.
    pub fn lost(&mut self, error: &TokenError) {
        let spared = match error {
            TokenError::NotDestroyed { error: None, .. } => true,
            // The session is good, only a key is not there.
            TokenError::KeyMissing { .. } => true,
            _ => error.class() == Class::Caller,
        };
        if spared {
            return self.liveness.error(error);
        }
        self.drop_session(error, error.class());
    }

    /// Drops the session, if there is one, and says when to open it again. The ladder: a lost session
    /// is opened again; when that fails too, or the device is lost, the module is reinitialised.
    pub fn drop_session(&mut self, error: &TokenError, class: Class) {
        self.liveness.error(error);
        let problem = chain(error);
        let had_session = self.session.is_some();
        if had_session || self.report.lock().problem != problem {
            tracing::warn!(token = self.config.name(), problem, ?class, "the session is lost");
        }
        self.was_lost |= had_session;
        let stale_handles = self.session.as_ref().is_some_and(OpenToken::handles_are_stale);
        self.session = None;
        if let Some(active) = &mut self.active {
            active.key = None;
        }
        let broken = match class {
            Class::Device => true,
            Class::Session | Class::Caller => !had_session,
            Class::Fatal => false,
        };
        let path = &self.config.module;
        let finalised = match class {
            // Another session would have the same handles. Each destruction allows this once.
            Class::Session | Class::Device if stale_handles => self.modules.renumber(path),
            _ => broken && self.modules.reset(path),
        };
        if finalised {
            tracing::warn!(token = self.config.name(), "PKCS#11 module finalised, to begin anew");
        }
        let mut report = self.report.lock();
        report.ready = false;
        report.problem = problem;
        report.latched = class == Class::Fatal && !matches!(error, TokenError::PinState { .. });
        drop(report);
        if had_session {
            self.backoff = RETRY_FIRST;
            self.retry_at = None;
        } else {
            self.retry_at = Some(Instant::now() + self.backoff);
            self.backoff = (self.backoff * 2).min(RETRY_AT_MOST);
        }
    }

    /// Finalises the module and opens it and the session again: after that nothing that another process
    /// has changed on the token is hidden from this one.
    ///
    /// # Errors
    /// [`TokenError::Closed`] if a call of another token hangs in the module; else what keeps the token
    /// from being opened.
    pub fn reinitialise(&mut self) -> Result<(), TokenError> {
        self.with_session(|_| Ok(()))?;
        if !self.modules.renumber(&self.config.module) {
            return Err(self.closed());
        }
        self.session = None;
        if let Some(active) = &mut self.active {
            active.key = None;
        }
        self.open()
    }

    fn may_reopen_now(&self) -> bool {
        self.session.is_none() && self.retry_at.is_none_or(|at| at <= Instant::now())
    }

    /// Opens a lost session when it is time; called while nothing else is to be done.
    pub fn maintain(&mut self) {
        // Before the first opening there is nothing to maintain: in standby the token is not ours.
        if self.active.is_some() && self.may_reopen_now() {
            // The failure is in the report and the log; the next look tries again.
            drop(self.open());
        }
    }

    /// Logs out and closes the session.
    pub fn close(&mut self) {
        self.active = None;
        if let Some(session) = self.session.take()
            && let Err(error) = session.close()
        {
            tracing::warn!(token = self.config.name(), %error, "closing the session");
        }
        self.report.lock().ready = false;
    }

    pub fn closed(&self) -> TokenError {
        TokenError::Closed {
            name: self.config.name().to_owned(),
            problem: self.report.lock().problem.clone(),
        }
    }
}

fn if_ours<T>(
    release_check: &ReleaseCheck,
    index: usize,
    guard: Option<&Guard>,
    session: &OpenToken,
    work: impl Fn(&OpenToken) -> Result<T, TokenError>,
) -> Result<T, TokenError> {
    if let Some(guard) = guard {
        guard.look(session, release_check)?;
    }
    if release_check.may_change(index) { work(session) } else { Err(TokenError::LeaseExpired) }
}
