//! `hsmctl endorse` and `hsmctl sign`: both print what the daemon signed, in its published form.

use hsmd_client::Client;
use hsmd_client::chain::Payload;

use super::read_at_most;
use crate::args::{Endorse, Sign};
use hsmd_support::chain;

use crate::failure::{Failure, Kind};
use crate::output::Output;

/// The largest document that the daemon signs.
const MAX_DOCUMENT: usize = 64 * 1024;

/// Has a key endorsed.
pub(crate) async fn endorse(
    client: &Client,
    endorse: &Endorse,
    output: &Output,
) -> Result<(), Failure> {
    let signed = client.endorse(&endorse.purpose, &endorse.public_key, endorse.ttl).await?;
    output.verbatim(&signed.to_json())?;
    Ok(())
}

/// Has a document signed.
pub(crate) async fn document(client: &Client, sign: &Sign, output: &Output) -> Result<(), Failure> {
    let mut bytes = read_at_most(&sign.file, MAX_DOCUMENT + 1)?;
    if bytes.len() > MAX_DOCUMENT + 1 {
        let message = format!("{} has more than 64 KiB", sign.file.display());
        return Err(Failure::text(Kind::Failed, message).advise("The daemon signs no larger ones."));
    }
    // Editors end a file with a newline; a payload has none.
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    // The daemon checks the same, in fewer words.
    if let Err(error) = Payload::parse(bytes.clone()) {
        let message = format!("{} can't be signed: {}", sign.file.display(), chain(&error));
        return Err(Failure::text(Kind::Failed, message).advise(
            "A document is one JSON object without blanks or repeated names: have its author write it so. \
             A tool that writes it again may change its numbers.",
        ));
    }
    let signed = client.sign(bytes).await?;
    output.verbatim(&signed.to_json())?;
    Ok(())
}
