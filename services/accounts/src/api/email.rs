//! Verifying and changing the address, by links in mails.

use axum::{extract::State, response::Response};

use super::{
    Caller,
    answers::{Status, json},
    body::{Fields, Form, Posted},
};
use crate::{
    Accounts,
    error::{
        ALREADY_VERIFIED, ApiError, CHANGE_DISABLED, EMAIL_MISMATCH, SAME_EMAIL,
        VERIFICATION_DISABLED,
    },
    limits,
    links::{self, Kind},
    mail::{self, Mail},
    users::{self, User},
};

pub(super) struct Send {
    email: String,
    callback: Option<String>,
}

impl Form for Send {
    fn read(fields: &mut Fields<'_>) -> Self {
        Self { email: fields.email("email"), callback: fields.callback() }
    }
}

/// `POST /send-verification-email`. Without a session it answers before it looks.
pub(super) async fn send(
    State(accounts): State<Accounts>,
    caller: Caller,
    Posted(form): Posted<Send>,
) -> Result<Response, ApiError> {
    if !accounts.sends_mail() {
        return Err(VERIFICATION_DISABLED.into());
    }
    if caller.cookie().is_some()
        && let Ok(found) = caller.session(&accounts).await?
    {
        if found.user.email != form.email {
            return Err(EMAIL_MISMATCH.into());
        }
        if found.user.email_verified {
            return Err(ALREADY_VERIFIED.into());
        }
    }
    accounts.attempts().begin(limits::Kind::Mail, &form.email).await?;
    let later = accounts.clone();
    accounts.later(async move {
        match users::by_email(&form.email, later.database()).await? {
            Some(user) if !user.email_verified => {
                verification(&later, &user, form.callback.as_deref()).await
            }
            _ => Ok(()),
        }
    });
    Ok(json(Status::TRUE))
}

/// Mails the link that verifies a user's address.
pub(super) async fn verification(
    accounts: &Accounts,
    user: &User,
    callback: Option<&str>,
) -> Result<(), sqlx::Error> {
    let (email, database) = (user.email.as_str(), accounts.database());
    let token = links::make(Kind::Verify, &user.id, Some(email), accounts.now(), database).await?;
    send_link(accounts, mail::Kind::Verification, email, token, callback);
    Ok(())
}

/// Mails a link that `/verify-email` answers.
pub(super) fn send_link(
    accounts: &Accounts,
    kind: mail::Kind,
    to: &str,
    token: String,
    callback: Option<&str>,
) {
    let url = accounts.link(&format!("/verify-email?token={token}&"), callback.unwrap_or("/"));
    accounts.send(Mail { kind, to: to.to_owned(), url, token });
}

pub(super) struct Change {
    email: String,
    callback: Option<String>,
}

impl Form for Change {
    fn read(fields: &mut Fields<'_>) -> Self {
        Self { email: fields.email("newEmail"), callback: fields.callback() }
    }
}

/// `POST /change-email`. Whether the new address has an account shows nowhere.
pub(super) async fn change(
    State(accounts): State<Accounts>,
    caller: Caller,
    Posted(form): Posted<Change>,
) -> Result<Response, ApiError> {
    let user = caller.require(&accounts).await?.user;
    if !accounts.config().users.change_email {
        return Err(CHANGE_DISABLED.into());
    }
    if form.email == user.email {
        return Err(SAME_EMAIL.into());
    }
    // A verified user is asked at the present address first.
    let (kind, mail, to) = match user.email_verified {
        true => (Kind::ConfirmChange, mail::Kind::ChangeEmail, user.email.clone()),
        false => (Kind::Change, mail::Kind::Verification, form.email.clone()),
    };
    accounts.attempts().begin(limits::Kind::Mail, &to).await?;
    let later = accounts.clone();
    accounts.later(async move {
        if users::by_email(&form.email, later.database()).await?.is_some() {
            return Ok(());
        }
        let (new, database) = (form.email.as_str(), later.database());
        let token = links::make(kind, &user.id, Some(new), later.now(), database).await?;
        send_link(&later, mail, &to, token, form.callback.as_deref());
        Ok(())
    });
    Ok(json(Status::TRUE))
}
