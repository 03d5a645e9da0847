//! `hsmctl audit`: what administrators did, as the database recorded it with the events; and from the
//! daemon's audit files, what a key signed.

use std::fs::File;
use std::io::{BufRead, BufReader};

use hsmd_client::AdminClient;
use hsmd_client::proto::AdminRecord;
use serde_json::{Value, json};

use crate::args::{Audit, Format};
use crate::failure::{Failure, Kind};
use crate::output::{Output, Style};

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
                output.line(&text(record, output))?;
            }
        }
    }
    Ok(())
}

/// Lists the signatures that audit files record. A line that is no record of one is passed over: a crash
/// may have cut it, and log lines may stand between.
pub(crate) fn signatures(audit: &Audit, output: &Output) -> Result<(), Failure> {
    let mut found = Vec::new();
    for path in &audit.signatures {
        let failed = |error| Failure::new(Kind::Failed, &CannotRead { path: path.clone(), error });
        for line in BufReader::new(File::open(path).map_err(failed)?).split(b'\n') {
            let Ok(record) = serde_json::from_slice::<Value>(&line.map_err(failed)?) else {
                continue;
            };
            let generation = record["generation"].as_str();
            let wanted = audit.generation.as_ref();
            if wanted.is_none_or(|wanted| generation == Some(wanted.as_str())) {
                let bodies = record["bodies"].as_array().cloned().unwrap_or_default();
                found.extend(bodies.into_iter().map(|body| {
                    json!({
                        "at": record["at"],
                        "caller": record["caller"],
                        "purpose": record["purpose"],
                        "method": record["method"],
                        "generation": record["generation"],
                        "body": body,
                        "outcome": record["outcome"],
                    })
                }));
            }
        }
    }
    found.sort_by(|one, other| one["at"].as_str().cmp(&other["at"].as_str()));
    if output.format == Format::Json {
        output.line(&Value::from(found).to_string())?;
        return Ok(());
    }
    for signature in &found {
        let of = |member: &str| signature[member].as_str().unwrap_or("-").to_owned();
        let (at, caller, purpose, body) = (of("at"), of("caller"), of("purpose"), of("body"));
        output.line(&format!("{at}  {caller}  {purpose}  {body}  by {}", of("generation")))?;
    }
    Ok(())
}

#[derive(Debug, thiserror::Error)]
#[error("cannot read {}", .path.display())]
struct CannotRead {
    path: std::path::PathBuf,
    #[source]
    error: std::io::Error,
}

fn text(record: &AdminRecord, output: &Output) -> String {
    let AdminRecord { number, at, action, caller, reason, sequence_number, contradiction, .. } =
        record;
    let line =
        format!("{number:>5}  {at}  {action:<6}  event {sequence_number:<8}  {caller}: {reason}");
    if contradiction.is_empty() {
        return line;
    }
    let mark = output.paint(Style::Bad, &format!("CONTRADICTED: {contradiction}"));
    format!("{mark}  {line}")
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
        "contradiction": some(&record.contradiction),
    })
}
