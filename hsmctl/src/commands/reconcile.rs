//! `hsmctl reconcile`: which of several logs of one identity to follow, or that nothing in them decides.

use std::path::Path;

use hsmd_client::chain::reconcile::Decision;
use hsmd_client::chain::{
    Anchor, Contest, KeyLog, ReconcileError, Reconciled, SignedEvent, reconcile,
};
use hsmd_support::chain;
use serde_json::json;

use super::{now, read};
use crate::args::{Format, Global, Reconcile};
use crate::failure::{Failure, Kind};
use crate::output::{Fields, Output, Style, event_json};

/// Verifies each log and compares them; fails where only a person can decide.
pub(crate) fn run(args: &Reconcile, global: &Global, output: &Output) -> Result<(), Failure> {
    let Some(anchor) = global.identity else {
        return Err(Failure::text(Kind::Usage, "reconcile needs --identity (HSMD_IDENTITY)")
            .advise("With E…@<sequence>:<event id> the branch that has this event is followed."));
    };
    let logs = args.logs.iter().map(|path| verified(path, &anchor, global));
    let logs = logs.collect::<Result<Vec<_>, _>>()?;
    let reconciled = reconcile(&anchor, &logs).map_err(undecided)?;
    match output.format {
        Format::Text => output.line(&text(&reconciled, args, &logs, output))?,
        Format::Json => output.line(&json(&reconciled).to_string())?,
    }
    if let Some(path) = &args.write {
        std::fs::write(path, reconciled.log.to_json()).map_err(|error| {
            Failure::text(Kind::Failed, format!("can't write {}: {error}", path.display()))
        })?;
    }
    Ok(())
}

/// Each log on its own: one that ends before the remembered event may still be a part of the history.
fn verified(path: &Path, anchor: &Anchor, global: &Global) -> Result<KeyLog, Failure> {
    let own = Anchor::new(anchor.identity());
    let bytes = read(path)?;
    let json = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    KeyLog::verify_json(json, &own, now(), global.clock_skew).map_err(|error| {
        let message = format!("{} does not verify: {}", path.display(), chain(&error));
        Failure::text(Kind::Unverified, message)
            .advise("A copy that proves nothing contests nothing: leave it out.")
    })
}

fn undecided(error: ReconcileError) -> Failure {
    let advice = match &error {
        ReconcileError::Forked { left, right } | ReconcileError::Undecided { left, right } => {
            let branch = |event: &SignedEvent| {
                let event = event.event();
                let taints = if event.taint_previous() { ", taints" } else { "" };
                format!(
                    "  {} (made at {}{taints}, commits to {})",
                    event.id(),
                    event.created_at(),
                    event.rotation_hash()
                )
            };
            format!(
                "Nothing in the logs decides. Find out which branch the token goes on from (`hsmd check` \
                 over a schema with it), and which one readers remember:\n{}\n{}\n  Then name its event: \
                 --identity {}@{}:<event id>",
                branch(left),
                branch(right),
                left.event().prefix(),
                left.event().sequence_number(),
            )
        }
        _ => "Get the newest copies from all databases and readers.".into(),
    };
    Failure::text(Kind::Unverified, chain(&error)).advise(advice)
}

fn text(reconciled: &Reconciled, args: &Reconcile, logs: &[KeyLog], output: &Output) -> String {
    let mut fields = Fields::default();
    let result = match reconciled.contests.len() {
        0 => output.paint(Style::Good, "one history"),
        _ => output.paint(Style::Warning, "contested, and decided"),
    };
    fields.add("result", result);
    fields.add("head", reconciled.log.position().to_string());
    for contest in &reconciled.contests {
        let (kept, refused) = (contest.kept.event(), contest.refused.event());
        fields.add("contested", format!("event {}", kept.sequence_number()));
        fields.add("keep", format!("{} {}", kept.id(), why(contest)));
        fields.add("refuse", output.paint(Style::Bad, refused.id().as_str()));
    }
    for (path, log) in args.logs.iter().zip(logs) {
        let refused = reconciled.contests.iter().any(|contest| {
            let number = contest.refused.event().sequence_number();
            log.event(number).is_some_and(|event| event.text() == contest.refused.text())
        });
        let verdict = match (refused, log.position() == reconciled.log.position()) {
            (true, _) => output.paint(Style::Bad, "the losing branch"),
            (false, true) => "the history".to_owned(),
            (false, false) => format!("its beginning, up to {}", log.position()),
        };
        fields.add("log", format!("{}: {verdict}", path.display()));
    }
    fields.text()
}

fn why(contest: &Contest) -> String {
    match contest.decided_by {
        Decision::Commitment { successor } => {
            format!("(the committed key has signed {successor} after it)")
        }
        Decision::RememberedHead => "(its branch has the event that --identity names)".into(),
    }
}

fn json(reconciled: &Reconciled) -> serde_json::Value {
    let contests = reconciled.contests.iter().map(|contest| {
        let successor = match contest.decided_by {
            Decision::Commitment { successor } => Some(successor.to_string()),
            Decision::RememberedHead => None,
        };
        json!({
            "sequenceNumber": contest.kept.event().sequence_number(),
            "keep": event_json(&contest.kept),
            "refuse": event_json(&contest.refused),
            "decidedBy": if successor.is_some() { "commitment" } else { "rememberedHead" },
            "successor": successor,
        })
    });
    json!({
        "head": reconciled.log.position().to_string(),
        "contests": contests.collect::<Vec<_>>(),
    })
}
