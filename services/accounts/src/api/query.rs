//! The parameters of a request's query.

use crate::{
    error::{ApiError, INVALID_CALLBACK},
    origin::Origins,
};

/// A query, taken apart: of two parameters of one name the first counts.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn new(query: Option<&str>) -> Self {
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        Self(pairs.map(|(name, value)| (name.into_owned(), value.into_owned())).collect())
    }

    /// A parameter that is not empty.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        self.find(name).filter(|value| !value.is_empty()).cloned()
    }

    pub(super) fn required(&self, name: &str) -> Result<String, ApiError> {
        self.find(name).cloned().ok_or_else(|| {
            ApiError::Validation(format!(
                "[query.{name}] Invalid input: expected string, received undefined"
            ))
        })
    }

    /// Refuses a `callbackURL` that leads to where no user is sent.
    pub(super) fn check_callback(&self, origins: &Origins) -> Result<(), ApiError> {
        match self.get("callbackURL") {
            Some(url) if !origins.allows_redirect(&url) => Err(INVALID_CALLBACK.into()),
            _ => Ok(()),
        }
    }

    fn find(&self, name: &str) -> Option<&String> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}
