//! Other tokens: slower ones, made so by the fault module, ones that hold many keys, and a TPM.

use std::time::Duration;

use hsmd_tests::{Device, Hsmd, program};

use crate::Plan;
use crate::load::{Ask, connect, installation, measure};
use crate::raw::Raw;
use crate::report::{Report, Row, share};
use crate::sample::Sample;

const DELAYS: [u64; 3] = [1, 5, 70];
const PAIRS: [u64; 3] = [1, 200, 1000];

/// Devices that take 1, 5 and 70 ms for a signature.
pub(crate) async fn slow(plan: &Plan, report: &mut Report) {
    let (hsmd, faults) = installation().await.with_faults();
    let daemon = hsmd.serve().await;
    let channel = connect(&hsmd.path("service.sock")).await;
    let module = program("libhsmd_fault.so");
    let mut raw = Raw::through(&hsmd, &module, |command| {
        command.env("HSMD_FAULT_MODULE", hsmd_softhsm::MODULE);
        command.env("HSMD_FAULT_CONTROL", hsmd.path("fault"));
    });
    let mut samples = DELAYS.map(|delay| (delay, Vec::new(), Vec::new()));
    for round in 1..=plan.rounds {
        eprintln!("slow devices, round {round} of {}", plan.rounds);
        for (delay, floor, signing) in &mut samples {
            let sign = "C_Sign".parse().expect("a name of PKCS#11");
            let delay = Duration::from_millis(*delay);
            faults.delay(sign, delay, Duration::ZERO).expect("a control file");
            floor.push(raw.sign(plan.millis));
            signing.push(measure(&channel, Ask::Sign, 64, plan.millis).await);
        }
    }
    drop(daemon);
    let mut rows = Vec::new();
    for (delay, floor, signing) in &samples {
        rows.push(Row::of(&format!("raw session, {delay} ms device"), floor, None));
        rows.push(Row::of(&format!("Sign, 64 callers, {delay} ms device"), signing, Some(floor)));
    }
    report.table("Slower devices", rows);
    let [(_, floor, signing), ..] = &samples;
    report.at_least("Sign, 64 callers, 1 ms device, share of raw", 0.97, share(signing, floor));
}

/// Tokens that hold 1, 200 and 1,000 more key pairs, each served by a daemon of its own.
pub(crate) async fn crowded(plan: &Plan, report: &mut Report) {
    let mut installations = Vec::new();
    for pairs in PAIRS {
        let hsmd = installation().await;
        Raw::start(&hsmd).generate(pairs);
        let daemon = hsmd.serve().await;
        let channel = connect(&hsmd.path("service.sock")).await;
        let raw = Raw::start(&hsmd);
        installations.push((pairs, hsmd, daemon, channel, raw));
    }
    let mut samples = PAIRS.map(|_| (Vec::<Sample>::new(), Vec::<Sample>::new()));
    for round in 1..=plan.rounds {
        eprintln!("crowded tokens, round {round} of {}", plan.rounds);
        for ((_, _, _, channel, raw), (floor, signing)) in
            installations.iter_mut().zip(&mut samples)
        {
            floor.push(raw.sign(plan.millis));
            signing.push(measure(channel, Ask::Sign, 64, plan.millis).await);
        }
    }
    let mut rows = Vec::new();
    for ((pairs, ..), (floor, signing)) in installations.iter().zip(&samples) {
        rows.push(Row::of(&format!("raw session, {pairs} other pairs"), floor, None));
        let name = format!("Sign, 64 callers, {pairs} other pairs");
        rows.push(Row::of(&name, signing, Some(floor)));
    }
    report.table("Tokens with many keys", rows);
    let found = share(&samples[2].1, &samples[0].1);
    report.at_least("Sign with 1,000 key pairs / with one", 0.95, found);
}

/// A TPM (swtpm behind tpm2-abrmd and tpm2-pkcs11): the raw session beside a daemon on the same key.
pub(crate) async fn tpm(plan: &Plan, report: &mut Report) {
    let device = tokio::task::spawn_blocking(Device::swtpm).await.expect("a TPM");
    let hsmd = Hsmd::fresh().await.directly_on(&device);
    hsmd.migrate().await;
    hsmd.init().await;
    let daemon = hsmd.serve().await;
    let channel = connect(&hsmd.path("service.sock")).await;
    let mut raw = Raw::through(&hsmd, device.module(), |command| device.prepare(command));
    let asks = [(Ask::Sign, 1), (Ask::Sign, 64), (Ask::EndorseAccepting, 256)];
    let (mut floor, mut samples) = (Vec::new(), asks.map(|asked| (asked, Vec::new())));
    for round in 1..=plan.rounds {
        eprintln!("a TPM, round {round} of {}", plan.rounds);
        floor.push(raw.sign(plan.millis));
        for ((ask, callers), signing) in &mut samples {
            signing.push(measure(&channel, *ask, *callers, plan.millis).await);
        }
    }
    drop(daemon);
    let mut rows = vec![Row::of("raw session, TPM", &floor, None)];
    for ((ask, callers), signing) in &samples {
        let (what, bound) =
            if *ask == Ask::Sign { ("Sign", 0.9) } else { ("Endorse, leaves accepted", 20.0) };
        let name = format!("{what}, callers: {callers}, TPM");
        rows.push(Row::of(&name, signing, Some(&floor)));
        report.at_least(&format!("{name}, share of raw"), bound, share(signing, &floor));
    }
    report.table("A TPM (swtpm)", rows);
}
