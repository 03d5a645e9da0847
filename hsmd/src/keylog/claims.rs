//! Which state folder has claimed the token, in which epoch, as far as this database knows.

use sqlx::Row as _;

use super::KeylogError;
use super::connect::timed;
use super::writer::Writer;

/// A claim of the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its epoch.
    pub epoch: u64,
    /// The id of the folder that made it.
    pub folder: String,
}

impl Writer {
    /// The claims that this database knows, the newest first, as many as may matter.
    pub async fn claims(&mut self) -> Result<Vec<Claim>, KeylogError> {
        const DOING: &str = "reading the claims of the token";
        timed(DOING, async {
            let rows = sqlx::query(
                "SELECT epoch, folder FROM token_claim ORDER BY epoch DESC, number DESC LIMIT 100",
            )
            .fetch_all(&mut self.connection)
            .await
            .map_err(KeylogError::statement(DOING))?;
            rows.iter()
                .map(|row| {
                    Ok(Claim {
                        epoch: row
                            .try_get::<i64, _>("epoch")
                            .map_err(KeylogError::statement(DOING))?
                            .cast_unsigned(),
                        folder: row.try_get("folder").map_err(KeylogError::statement(DOING))?,
                    })
                })
                .collect()
        })
        .await
    }

    /// Notes a claim.
    pub async fn note_claim(&mut self, claim: &Claim) -> Result<(), KeylogError> {
        const DOING: &str = "noting a claim of the token";
        timed(DOING, async {
            sqlx::query("INSERT INTO token_claim (epoch, folder) VALUES ($1, $2)")
                .bind(claim.epoch.cast_signed())
                .bind(&claim.folder)
                .execute(&mut self.connection)
                .await
                .map_err(KeylogError::statement(DOING))
        })
        .await?;
        Ok(())
    }
}
