//! What the page shows. Its markup is in `templates/`, which escape what they are given.

use askama::Template;

use super::device::device;
use crate::{
    sessions::{Authenticated, Session},
    users::User,
};

#[derive(Template)]
#[template(path = "page.html")]
pub(super) struct Page<'a> {
    /// Why the form that was posted is refused.
    pub(super) message: Option<&'a str>,
    pub(super) view: View<'a>,
}

/// For whom the page is.
pub(super) enum View<'a> {
    /// Not signed in.
    Visitor {
        /// Whether visitors may make an account.
        sign_up: bool,
    },
    /// For anybody, when it is not known who asks.
    Nothing,
    /// Signed in.
    User { user: &'a User, sessions: Vec<Listed<'a>> },
}

/// One of the user's sessions.
pub(super) struct Listed<'a> {
    session: &'a Session,
    device: String,
    /// Whether the page was asked for in this one.
    is_this: bool,
}

impl<'a> View<'a> {
    pub(super) fn user(found: &'a Authenticated, sessions: &'a [Session]) -> Self {
        let listed = sessions.iter().map(|session| Listed {
            session,
            device: device(&session.user_agent),
            is_this: session.id == found.session.id,
        });
        Self::User { user: &found.user, sessions: listed.collect() }
    }

    fn title(&self) -> &'static str {
        match self {
            Self::Visitor { .. } => "Sign in",
            Self::Nothing => "Account",
            Self::User { .. } => "Your account",
        }
    }
}

impl Listed<'_> {
    /// When it began: `2026-11-22 11:22`.
    fn minute(&self) -> String {
        self.session.created_at.0.to_string()[..16].replace('T', " ")
    }
}
