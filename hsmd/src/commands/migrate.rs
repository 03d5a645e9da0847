//! `hsmd migrate`.

use std::time::Duration;

use super::{CommandError, when_it_answers};
use crate::config::Config;
use crate::keylog::{self, Owner};

/// Creates or updates the schema; can be run any number of times. Waits so long for the database.
///
/// # Errors
/// [`CommandError::Keylog`].
pub async fn migrate(config: &Config, wait: Duration) -> Result<(), CommandError> {
    let mut owner = when_it_answers(wait, async || Owner::connect(&config.database).await).await?;
    keylog::migrate(&mut owner).await?;
    tracing::info!(schema = config.database.schema, "the schema is up to date");
    Ok(())
}
