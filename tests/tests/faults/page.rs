//! docs/faults.md: every fault is played, and the page must say what was seen.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hsmd_tests::for_each_case;
use parking_lot::Mutex;

use crate::{Fault, MACHINE, Seen, told};

const HEAD: &str = "\
# When parts fail

Each row is a test (`tests/tests/faults/`) that plays the fault on real parts: a real Postgres, a real
SoftHSM token behind the PKCS#11 fault module, real processes. The page is written by these tests
(`HSMD_WRITE_FAULTS=1 cargo test -p hsmd-tests --features hsmd/failpoints --test faults`), and they fail
when it says anything else.

*What callers see*: the answers while the fault lasts, in the order in which they were asked for; a
quotation is what a command, the daemon's last line or Status said. *Heals within*: from the moment at
which the fault is over, or has happened if it is over at once, until the daemon does again what it did
not; the test waits no longer. Most take less than a second; a PKCS#11 module is reinitialised at most
once in 30 s. *at once* means that no caller noticed, *by the operator* that it does not heal by itself.
*Nothing lost*: at the end all events that anybody ever saw, by any way of reading, are one verified
history of so many, and all signatures that were handed out verify by it.
";

static REPLIES: AtomicUsize = AtomicUsize::new(0);

pub(crate) fn note_replies(count: usize) {
    REPLIES.fetch_add(count, Ordering::Relaxed);
}

#[tokio::test]
async fn every_fault_is_as_the_page_says() {
    let groups: [(&str, &[Fault]); 8] = [
        ("Database", &crate::database::FAULTS),
        ("A transaction that is cut off", &crate::commit::FAULTS),
        ("A log that is not what it was", &crate::history::FAULTS),
        ("Token", &crate::token::FAULTS),
        ("Process and machine", &crate::process::FAULTS),
        ("Clock", &crate::clock::FAULTS),
        ("Disaster and recovery", &crate::recovery::FAULTS),
        ("Load", &crate::overload::FAULTS),
    ];
    let only = told("HSMD_FAULT").unwrap_or_default();
    let rows = Rc::new(Mutex::new(BTreeMap::new()));
    let mut count = 0;
    for (shared, groups) in [(true, &groups[..7]), (false, &groups[7..])] {
        let all = groups.iter().flat_map(|(_, faults)| faults.iter());
        let cases: Vec<&'static Fault> = all.filter(|fault| fault.name.contains(&only)).collect();
        count += cases.len();
        if shared {
            let _machine = MACHINE.read().await;
            play(cases, &rows).await;
        } else {
            let _machine = MACHINE.write().await;
            play(cases, &rows).await;
        }
    }
    assert!(count > 0, "no fault has {only:?} in its name");
    assert_eq!(rows.lock().len(), count, "faults that are not as they should be");
    let longest = rows.lock().values().map(|(healed, _)| *healed).max().unwrap_or_default();
    let replies = REPLIES.load(Ordering::Relaxed);
    eprintln!("{count} faults, {replies} signatures verified, the longest heal took {longest:?}");
    if !only.is_empty() {
        eprintln!("{:#?}", rows.lock());
        return;
    }

    let mut page = HEAD.to_owned();
    for (title, faults) in groups {
        page.push_str(&format!(
            "\n## {title}\n\n| fault | what callers see | heals within | what an operator does | nothing lost |\n\
             |---|---|---|---|---|\n"
        ));
        for fault in faults {
            let rows = rows.lock();
            page.push_str(&rows[fault.name].1);
        }
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/faults.md");
    if told("HSMD_WRITE_FAULTS").is_some() {
        std::fs::write(&path, &page).expect("write docs/faults.md");
    }
    let there = std::fs::read_to_string(&path).expect("docs/faults.md");
    for (there, seen) in there.lines().zip(page.lines()) {
        assert_eq!(there, seen, "docs/faults.md: write it anew with HSMD_WRITE_FAULTS=1");
    }
    assert_eq!(there.lines().count(), page.lines().count(), "docs/faults.md");
}

/// By the fault's name: how long it took to heal, and its row.
type Rows = Rc<Mutex<BTreeMap<&'static str, (Duration, String)>>>;

async fn play(cases: Vec<&'static Fault>, rows: &Rows) {
    for_each_case(cases, |fault| {
        let rows = Rc::clone(rows);
        async move {
            let began = Instant::now();
            // A task of its own: one that fails does not keep the others from being seen.
            let Ok(seen) = tokio::task::spawn_local((fault.play)()).await else {
                return eprintln!("not as it should be: {}", fault.name);
            };
            eprintln!(
                "as it should be: {} (healed after {:?}, {:?} in all)",
                fault.name,
                seen.healed_after,
                began.elapsed()
            );
            rows.lock().insert(fault.name, (seen.healed_after, row(fault, &seen)));
        }
    })
    .await;
}

fn row(fault: &Fault, seen: &Seen) -> String {
    format!(
        "| {} | {} | {} | {} | {} |\n",
        fault.name,
        seen.answers(),
        seen.heals,
        fault.operator,
        seen.kept
    )
}
