//! The endorsed keys of the servers, each verified against the log at the chosen look-back.

use std::collections::BTreeMap;

use hsmd_chain::{PublicKey, SignedBody, VerifiedEndorsement};
use hsmd_store::{Access, Purpose, Response};

use super::{
    View,
    html::{Html, span},
};
use crate::Keys;

pub(super) async fn section(html: &mut Html, view: &View<'_>, keys: &Keys) {
    html.raw("<section><h2>Endorsed keys</h2>");
    let response = keys.store.response_endorsements.list().await;
    let access = keys.store.access_endorsements.list().await;
    match (response, access) {
        (Ok(response), Ok(access)) => {
            let mut found = Found::default();
            found.take(view, Response::NAME, &response);
            found.take(view, Access::NAME, &access);
            found.write(html, view);
        }
        (Err(error), _) | (_, Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot read endorsed keys");
            html.raw("<p class=\"warning\">The endorsed keys can’t be read now.</p>");
        }
    }
    html.raw("</section>");
}

#[derive(Default)]
struct Found {
    live: Vec<VerifiedEndorsement>,
    refused: usize,
}

impl Found {
    fn take(&mut self, view: &View<'_>, purpose: &str, stored: &BTreeMap<String, Vec<u8>>) {
        for (name, value) in stored {
            match verify(view, purpose, name, value) {
                Some(endorsement) => self.live.push(endorsement),
                None => self.refused += 1,
            }
        }
    }

    fn write(&self, html: &mut Html, view: &View<'_>) {
        if self.live.is_empty() {
            html.raw("<p>None is live at this look-back.</p>");
        } else {
            html.raw(
                "<p class=\"muted\">The servers’ own keys, short-lived; the HSM vouches for each.</p>\
                 <table><thead><tr><th>Purpose</th><th>Key</th><th>By generation</th><th>Expires in</th>\
                 </tr></thead><tbody>",
            );
            for endorsement in &self.live {
                row(html, view, endorsement);
            }
            html.raw("</tbody></table>");
        }
        if self.refused > 0 {
            html.raw("<p class=\"muted\">");
            html.text(&self.refused.to_string());
            html.raw(
                " stored and not shown: expired, of a generation that is dead at this look-back, or \
                 damaged.</p>",
            );
        }
    }
}

fn verify(view: &View<'_>, purpose: &str, name: &str, value: &[u8]) -> Option<VerifiedEndorsement> {
    let key: PublicKey = name.parse().ok()?;
    let signed = SignedBody::parse(value).ok()?;
    signed.verify_endorsement(view.log, purpose, &key, view.now, view.window).ok()
}

fn row(html: &mut Html, view: &View<'_>, endorsement: &VerifiedEndorsement) {
    let generation = endorsement.generation_id();
    html.raw("<tr><td>");
    html.text(endorsement.purpose());
    html.raw("</td><td><code>");
    html.text(endorsement.public_key().as_str());
    html.raw("</code></td><td class=\"tight\"><a href=\"#");
    html.text(generation.as_str());
    html.raw("\">");
    if let Some(event) = view.log.generation(&generation) {
        html.text(&event.event().sequence_number().to_string());
    }
    html.raw("</a></td><td class=\"tight\">");
    html.text(&span(endorsement.expiration().saturating_since(view.now)));
    html.raw("</td></tr>");
}
