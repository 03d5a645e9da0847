//! `hsmctl endorse` and `hsmctl sign`: both print what the daemon signed, in its published form.

use hsmd_client::Client;
use hsmd_client::chain::Payload;

use super::read;
use crate::args::{Endorse, Sign};
use hsmd_support::chain;

use crate::failure::{Failure, Kind};
use crate::output::Output;

/// Has a key endorsed.
pub(crate) async fn endorse(
    client: &Client,
    endorse: &Endorse,
    output: &Output,
) -> Result<(), Failure> {
    let signed = client.endorse(&endorse.purpose, &endorse.public_key, endorse.ttl).await?;
    output.line(&signed.to_json())?;
    Ok(())
}

/// Has a document signed.
pub(crate) async fn document(client: &Client, sign: &Sign, output: &Output) -> Result<(), Failure> {
    let mut bytes = read(&sign.file)?;
    // Editors end a file with a newline; a payload has none.
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
    }
    // The daemon checks the same, in fewer words.
    if let Err(error) = Payload::parse(bytes.clone()) {
        let message = format!("{} can't be signed: {}", sign.file.display(), chain(&error));
        return Err(Failure::text(Kind::Failed, message).advise(
            "A document is one compact JSON object without repeated names: try `jq -c . FILE`.",
        ));
    }
    let signed = client.sign(bytes).await?;
    output.line(&signed.to_json())?;
    Ok(())
}
