//! `hsmctl verify`: a key log and what was signed under it, from files, without a daemon.

mod jwt;

use std::path::Path;

use hsmd_client::chain::{
    EndorsementPayload, KeyLog, Payload, SignedPayload, Timestamp, VerifiedBody,
};
use serde_json::{Value, json};

use jwt::Token;

use super::log::table;
use super::{now, read};
use crate::args::{Format, Global, Verify};
use hsmd_support::chain;

use crate::failure::{Failure, Kind};
use crate::output::{Output, Style};

/// Verifies everything, prints a report, fails if anything is not as it should be.
pub(crate) fn run(args: &Verify, global: &Global, output: &Output) -> Result<(), Failure> {
    let Some(anchor) = global.identity else {
        return Err(Failure::text(Kind::Usage, "verify needs --identity (HSMD_IDENTITY)").advise(
            "Take it from where you trust it: a log that is checked against itself proves nothing.",
        ));
    };
    let at = args.at.unwrap_or_else(now);
    let log = KeyLog::verify_json(&read(&args.log)?, &anchor, at, global.clock_skew);
    let log = log.map_err(|error| {
        let message = format!("{} does not verify: {}", args.log.display(), chain(&error));
        Failure::text(Kind::Unverified, message)
            .advise("Do not rely on this copy: get the log from another source.")
    })?;
    let files = args.signed.iter().map(|path| Ok((path.as_path(), read(path)?)));
    let verdicts: Vec<Verdict<'_>> = files
        .map(|file| file.map(|(path, bytes)| Verdict::new(path, &bytes, &log, at, args)))
        .collect::<Result<_, Failure>>()?;
    let token = token(args, &log, at)?;
    match output.format {
        Format::Text => {
            output.line(&text(&log, &verdicts, at, args, output))?;
            if let Some(token) = &token {
                output.line(&token_text(token, output))?;
            }
        }
        Format::Json => output.line(&json(&log, &verdicts, token.as_ref(), at).to_string())?,
    }
    let token_good = token.is_none_or(|token| token.is_ok());
    if token_good && verdicts.iter().all(|verdict| verdict.result.is_ok()) {
        Ok(())
    } else {
        Err(Failure::told(Kind::Unverified))
    }
}

/// The token, if there is one to verify.
fn token(
    args: &Verify,
    log: &KeyLog,
    at: Timestamp,
) -> Result<Option<Result<Token, String>>, Failure> {
    let (Some(jwt), Some(jwks)) = (&args.jwt, &args.jwks) else { return Ok(None) };
    Ok(Some(Token::verify(&read(jwt)?, &read(jwks)?, log, at, args)))
}

fn token_text(token: &Result<Token, String>, output: &Output) -> String {
    match token {
        Ok(token) => format!("{}  {}", output.paint(Style::Good, "good"), token.describe()),
        Err(reason) => format!("{}   token: {reason}", output.paint(Style::Bad, "BAD")),
    }
}

/// What a file turned out to be worth.
struct Verdict<'a> {
    path: &'a Path,
    result: Result<Good, String>,
}

/// A verified file.
struct Good {
    body: VerifiedBody,
    /// Present if the body is an endorsement.
    endorsement: Option<EndorsementPayload>,
}

impl<'a> Verdict<'a> {
    fn new(path: &'a Path, json: &[u8], log: &KeyLog, at: Timestamp, args: &Verify) -> Self {
        // `hsmctl sign` ends its line; a batched signature has one text, without a newline.
        let json = json.strip_suffix(b"\n").unwrap_or(json);
        let body = match SignedPayload::parse(json) {
            Ok(signed) => signed.verify(log, at, args.window).map_err(|error| chain(&error)),
            Err(error) => Err(chain(&error)),
        };
        Self { path, result: body.and_then(|body| Good::new(body, at)) }
    }
}

impl Good {
    fn new(body: VerifiedBody, at: Timestamp) -> Result<Self, String> {
        let names_key = Payload::parse(body.payload())
            .is_ok_and(|payload| payload.has("publicKey") || payload.has("expiration"));
        if !names_key {
            return Ok(Self { body, endorsement: None });
        }
        // The daemon signs these names in endorsements only.
        let endorsement =
            EndorsementPayload::parse(body.payload()).map_err(|error| chain(&error))?;
        if endorsement.expiration() <= at {
            return Err(format!("the endorsement expired at {}", endorsement.expiration()));
        }
        Ok(Self { body, endorsement: Some(endorsement) })
    }

    fn describe(&self) -> String {
        let generation = self.body.sequence_number();
        match &self.endorsement {
            Some(it) => format!(
                "endorsement of {} for {} until {}, by generation {generation}",
                it.public_key(),
                it.purpose(),
                it.expiration()
            ),
            None => format!("document, signed by generation {generation}"),
        }
    }
}

fn text(
    log: &KeyLog,
    verdicts: &[Verdict<'_>],
    at: Timestamp,
    args: &Verify,
    output: &Output,
) -> String {
    let mut lines = vec![table(log, at, args.window, output)];
    let good = output.paint(Style::Good, "good");
    lines.push(format!("{good}  {}: {} events", args.log.display(), log.events().len()));
    for verdict in verdicts {
        let path = verdict.path.display();
        lines.push(match &verdict.result {
            Ok(verified) => format!("{good}  {path}: {}", verified.describe()),
            Err(reason) => format!("{}   {path}: {reason}", output.paint(Style::Bad, "BAD")),
        });
    }
    lines.join("\n")
}

fn json(
    log: &KeyLog,
    verdicts: &[Verdict<'_>],
    token: Option<&Result<Token, String>>,
    at: Timestamp,
) -> Value {
    let head = log.position();
    let signed = verdicts.iter().map(|verdict| {
        let file = verdict.path.display().to_string();
        match &verdict.result {
            Err(reason) => json!({"file": file, "good": false, "reason": reason}),
            Ok(good) => json!({
                "file": file,
                "good": true,
                "kind": if good.endorsement.is_some() { "endorsement" } else { "document" },
                "generationId": good.body.generation_id().as_str(),
                "sequenceNumber": good.body.sequence_number(),
            }),
        }
    });
    let mut report = json!({
        "identity": log.identity().as_str(),
        "events": log.events().len(),
        "head": {"sequenceNumber": head.sequence_number, "id": head.id.as_str()},
        "at": at.to_string(),
        "signed": signed.collect::<Vec<_>>(),
    });
    if let Some(token) = token {
        report["token"] = match token {
            Err(reason) => json!({"good": false, "reason": reason}),
            Ok(token) => json!({
                "good": true,
                "claims": token.claims(),
                "generationId": token.generation_id().as_str(),
                "sequenceNumber": token.sequence_number(),
            }),
        };
    }
    report
}
