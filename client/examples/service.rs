//! A service that keeps its key endorsed and trusts other keys by their endorsements. Run it with
//! an endpoint, an identity and a public key; it prints every endorsement it gets.

use std::io::Write;
use std::time::Duration;

use hsmd_client::chain::{Anchor, PublicKey, SignedPayload};
use hsmd_client::{Client, ConnectOptions, Endorser, LogOptions, LogSource, VerifiedLog};

/// For how long this service trusts what an older, untainted generation has signed.
const WINDOW: Duration = Duration::from_secs(12 * 3600);

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let usage = "usage: service ENDPOINT IDENTITY PUBLIC_KEY";
    let mut arguments = std::env::args().skip(1);
    let endpoint = arguments.next().ok_or(usage)?;
    let identity: Anchor = arguments.next().ok_or(usage)?.parse()?;
    let public_key: PublicKey = arguments.next().ok_or(usage)?.parse()?;

    // The daemon's key log: every event is verified, in the background, for as long as `log` lives.
    let client = Client::connect(&ConnectOptions::new(endpoint))?;
    let source = LogSource::Grpc(client.clone());
    let log = VerifiedLog::follow(source, identity, LogOptions::default())?;

    // Our key stays endorsed: renewed before it expires, and at once after a rotation or a taint.
    let hour = Duration::from_secs(3600);
    let endorser = Endorser::start(&client, log.clone(), "access", public_key, hour);
    let mut endorsements = endorser.subscribe();
    loop {
        let Some(endorsement) = endorsements.borrow_and_update().clone() else {
            endorsements.changed().await?;
            continue;
        };
        writeln!(std::io::stdout(), "{}", endorsement.to_json())?;

        // What every other service does before it trusts our key.
        let published = SignedPayload::parse(endorsement.to_json())?;
        log.check_endorsement(&published, "access", &public_key, WINDOW)?;
        endorsements.changed().await?;
    }
}
