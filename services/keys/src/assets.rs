//! What the page loads: style sheet, scripts and their vendored parts, all compiled in. They lie under a
//! folder named after their content, so browsers may keep them for ever.

use std::sync::LazyLock;

use axum::{
    extract::Path,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use hsmd_chain::Digest;
use hsmd_service::caching::{IMMUTABLE, tagged};

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const TEXT: &str = "text/plain; charset=utf-8";

/// A file of the vendored @noble/hashes, byte for byte as npm has it (see `assets/rebuild-vendor`).
macro_rules! vendored {
    ($name:literal, $content_type:ident) => {
        (
            concat!("vendor/noble-hashes/", $name),
            $content_type,
            include_str!(concat!("../assets/vendor/noble-hashes/", $name)),
        )
    };
}

/// Name, content type, content.
const FILES: [(&str, &str, &str); 11] = [
    ("page.css", CSS, include_str!("../assets/page.css")),
    ("icon.svg", SVG, include_str!("../assets/icon.svg")),
    ("verify.js", JS, include_str!("../assets/verify.js")),
    ("keylog.js", JS, include_str!("../assets/keylog.js")),
    vendored!("LICENSE", TEXT),
    vendored!("blake3.js", JS),
    vendored!("blake2.js", JS),
    vendored!("_blake.js", JS),
    vendored!("_md.js", JS),
    vendored!("_u64.js", JS),
    vendored!("utils.js", JS),
];

/// The folder's name.
pub(crate) static VERSION: LazyLock<String> = LazyLock::new(|| {
    let all: String =
        FILES.iter().map(|(name, _, content)| format!("{name}\0{content}\0")).collect();
    Digest::of(all.as_bytes()).as_str()[..16].to_owned()
});

/// `GET /assets/{version}/{*name}`. Another version's folder has nothing to offer.
pub(crate) async fn asset(
    Path((version, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    let file = FILES.iter().find(|(known, ..)| *known == name);
    match file {
        Some((_, content_type, content)) if version == *VERSION => {
            tagged(&headers, content_type, IMMUTABLE, Bytes::from_static(content.as_bytes()))
        }
        _ => StatusCode::NOT_FOUND.into_response(),
    }
}
