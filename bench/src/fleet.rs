//! A fleet: a thousand callers of their own, each with its certificate and connection, before a device that
//! takes 70 ms for a signature. How long until all have their endorsement, at once and after a taint.

use std::time::{Duration, Instant};

use hsmd_proto::v1;
use hsmd_proto::v1::key_log_client::KeyLogClient;
use hsmd_proto::v1::signer_client::SignerClient;
use hsmd_proto::v1::watch_events_response::Message;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::Plan;
use crate::load::{endorse_request, installation};
use crate::report::{Report, Row};
use crate::sample::{Sample, median};
use crate::tls::Tls;

const CALLERS: usize = 1000;
const SIGNATURE: Duration = Duration::from_millis(70);
/// After that a caller counts as refused for ever.
const LONGEST: Duration = Duration::from_secs(60);

/// Measures both.
pub(crate) async fn measure(plan: &Plan, report: &mut Report) {
    let (hsmd, faults) = installation().await.with_faults();
    let (hsmd, tls) = Tls::configure(hsmd);
    // All come from one address here.
    let hsmd = hsmd.set("limits.connections_per_caller", 2048);
    let (hsmd, callers) = tls.add_callers(hsmd, CALLERS);
    let daemon = hsmd.serve().await;
    let mut channels = Vec::new();
    for caller in &callers {
        channels.push(caller.connect().await.expect("a connection to hsmd"));
    }
    let sign = "C_Sign".parse().expect("a name of PKCS#11");
    faults.delay(sign, SIGNATURE, Duration::ZERO).expect("a control file");
    let (mut at_once, mut answered, mut after_taint) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        eprintln!("{CALLERS} callers, round {round} of {}", plan.rounds);
        let began = Instant::now();
        let mut calls: JoinSet<_> =
            channels.iter().map(|channel| endorsed(channel.clone(), None)).collect();
        while let Some(done) = calls.join_next().await {
            done.expect("an endorsed caller");
        }
        at_once.push(Sample::in_turn(vec![began.elapsed()]));

        let head = daemon.head().await;
        let (watching, mut watched) = mpsc::channel(CALLERS);
        let after = head.event().sequence_number() + 1;
        let follow = |channel: &Channel| follow(channel.clone(), after, watching.clone());
        let mut calls: JoinSet<_> = channels.iter().map(follow).collect();
        drop(watching);
        for _ in 0..CALLERS {
            watched.recv().await.expect("a caller who watches");
        }
        let began = Instant::now();
        daemon.taint(head.event().id().as_str()).await.expect("Taint");
        answered.push(Sample::in_turn(vec![began.elapsed()]));
        while let Some(done) = calls.join_next().await {
            done.expect("a caller endorsed anew");
        }
        after_taint.push(Sample::in_turn(vec![began.elapsed()]));
    }
    let seconds = |samples: &[Sample]| median(samples.iter().map(|sample| sample.p50 / 1e6));
    let all = format!("{CALLERS} callers, 70 ms device: s until all are endorsed");
    report.at_most(&all, 0.5, seconds(&at_once));
    let anew = format!("taint → the last of {CALLERS} endorsed anew, 70 ms device, s");
    report.at_most(&anew, 2.0, seconds(&after_taint));
    let rows = vec![
        Row::of("all endorsed, at once", &at_once, None),
        Row::of("Taint answered", &answered, None),
        Row::of("all endorsed anew, from the call of Taint", &after_taint, None),
    ];
    report.table(format!("{CALLERS} callers of their own, 70 ms device, mTLS"), rows);
}

/// Has a key endorsed, by an event of this number or a later one.
async fn endorsed(channel: Channel, number: Option<u32>) {
    let mut signer = SignerClient::new(channel);
    let began = Instant::now();
    loop {
        let response = match signer.endorse(endorse_request(true)).await {
            Ok(response) => response.into_inner(),
            // Between the taint and the next generation there is nothing to sign with.
            Err(refusal) if began.elapsed() < LONGEST => {
                drop(refusal);
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            Err(refusal) => panic!("not endorsed after {LONGEST:?}: {refusal}"),
        };
        let body = response.batch.or(response.endorsement).expect("a signed body");
        if number.is_none_or(|number| body.sequence_number >= number) {
            return;
        }
    }
}

/// Waits for the event of a number, as the client library does, then has its key endorsed anew.
async fn follow(channel: Channel, number: u32, watching: mpsc::Sender<()>) {
    let request = v1::WatchEventsRequest { from_sequence: number };
    let mut events = KeyLogClient::new(channel.clone())
        .watch_events(request)
        .await
        .expect("a stream of events")
        .into_inner();
    loop {
        let answer = events.message().await.expect("a stream").expect("its next message");
        match answer.message.expect("an event or a heartbeat") {
            Message::Heartbeat(_) => drop(watching.try_send(())),
            Message::Event(_) => return endorsed(channel, Some(number)).await,
        }
    }
}
