//! The generations, newest first: what each is now at the chosen look-back.

use hsmd_chain::{Lifetime, SignedEvent};

use super::{
    View,
    html::{Html, ago, span},
};

/// How many generations one page shows.
const PAGE: usize = 100;

pub(super) fn section(html: &mut Html, view: &View<'_>) {
    html.raw("<section><h2>Generations</h2><p class=\"muted\">");
    if view.window.is_zero() {
        html.raw("Without a look-back only the head is live.");
    } else {
        html.raw("A generation stays live for ");
        html.text(view.window_text);
        html.raw(" after it was replaced, unless it was tainted.");
    }
    html.raw("</p><ol class=\"timeline\">");
    let events = view.log.events();
    let end = view.before.map_or(events.len(), |before| events.len().min(before as usize));
    let begin = end.saturating_sub(PAGE);
    for event in events[begin..end].iter().rev() {
        generation(html, view, event);
    }
    html.raw("</ol>");
    if begin > 0 {
        html.raw("<p><a href=\"/?window=");
        html.text(view.window_text);
        html.raw("&amp;before=");
        html.text(&begin.to_string());
        html.raw("\">Older generations</a></p>");
    }
    html.raw("</section>");
}

fn generation(html: &mut Html, view: &View<'_>, signed: &SignedEvent) {
    let event = signed.event();
    let number = event.sequence_number();
    let lifetime = view.log.stops_being_live(&event.id(), view.window);
    let live = lifetime.is_some_and(|lifetime| lifetime.is_live(view.now));
    let class = match lifetime {
        Some(Lifetime::Tainted) => "tainted",
        _ if live => "live",
        _ => "past",
    };
    html.raw("<li class=\"");
    html.raw(class);
    html.raw("\" id=\"");
    html.text(event.id().as_str());
    html.raw("\" data-number=\"");
    html.text(&number.to_string());
    html.raw("\"><h3>Generation ");
    html.text(&number.to_string());
    html.raw("<span class=\"state\">");
    html.raw(match (lifetime, live) {
        (Some(Lifetime::Tainted), _) => "tainted",
        (Some(Lifetime::Open), _) => "head",
        (_, true) => "live",
        (_, false) => "past",
    });
    html.raw("</span></h3><p>Since ");
    html.time(event.created_at());
    html.raw("<span class=\"muted\">, ");
    html.text(&ago(event.created_at(), view.now));
    html.raw("</span>");
    end(html, view, number, lifetime);
    html.raw("</p><details><summary>Event</summary><dl class=\"details\">");
    for (what, value) in [
        ("Id", event.id().as_str()),
        ("Public key", event.public_key().as_str()),
        ("Next key’s digest", event.rotation_hash().as_str()),
        ("Signature", signed.signature().as_str()),
    ] {
        html.raw("<dt>");
        html.text(what);
        html.raw("</dt><dd><code>");
        html.text(value);
        html.raw("</code></dd>");
    }
    html.raw("</dl></details></li>");
}

/// How the generation ended, if it has.
fn end(html: &mut Html, view: &View<'_>, number: u32, lifetime: Option<Lifetime>) {
    let Some(successor) = view.log.event(number + 1) else {
        if lifetime == Some(Lifetime::Tainted) {
            html.raw("; tainted by an event that lies in the future, dead already");
        }
        return;
    };
    let ended = successor.event().created_at();
    match lifetime {
        Some(Lifetime::Tainted) => {
            html.raw("; tainted ");
            html.time(ended);
            html.raw(", dead since then");
        }
        Some(Lifetime::Until(last)) if view.now <= last => {
            html.raw("; replaced ");
            html.time(ended);
            html.raw(", live for another ");
            html.text(&span(last.saturating_since(view.now)));
        }
        _ => {
            html.raw("; replaced ");
            html.time(ended);
        }
    }
}
