//! `hsmctl audit`: what administrators did, as the database recorded it with the events.

use hsmd_client::AdminClient;
use hsmd_client::proto::AdminRecord;
use serde_json::{Value, json};

use crate::args::{Audit, Format};
use crate::failure::Failure;
use crate::output::Output;

/// Prints the records, oldest first.
pub(crate) async fn run(
    admin: &AdminClient,
    audit: &Audit,
    output: &Output,
) -> Result<(), Failure> {
    let records = admin.actions(audit.from.unwrap_or(0), audit.count).await?;
    match output.format {
        Format::Json => {
            let records: Vec<Value> = records.iter().map(json).collect();
            output.line(&Value::from(records).to_string())?;
        }
        Format::Text => {
            for record in &records {
                output.line(&text(record))?;
            }
        }
    }
    Ok(())
}

fn text(record: &AdminRecord) -> String {
    let AdminRecord { number, at, action, caller, reason, sequence_number, .. } = record;
    format!("{number:>5}  {at}  {action:<6}  event {sequence_number:<8}  {caller}: {reason}")
}

fn json(record: &AdminRecord) -> Value {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "number": record.number,
        "at": record.at,
        "action": record.action,
        "caller": record.caller,
        "reason": record.reason,
        "requestId": some(&record.request_id),
        "sequenceNumber": record.sequence_number,
        "fileDigest": some(&record.file_digest),
    })
}
