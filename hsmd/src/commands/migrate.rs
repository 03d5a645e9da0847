//! `hsmd migrate`.

use super::CommandError;
use crate::config::Config;
use crate::keylog::{self, Owner};

/// Creates or updates the schema; can be run any number of times.
///
/// # Errors
/// The database.
pub async fn migrate(config: &Config) -> Result<(), CommandError> {
    let mut owner = Owner::connect(&config.database).await?;
    keylog::migrate(&mut owner).await?;
    tracing::info!(schema = config.database.schema, "the schema is up to date");
    Ok(())
}
