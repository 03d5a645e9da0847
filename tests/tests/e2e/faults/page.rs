//! docs/faults.md: a row of what was seen for each fault.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::task::LocalSet;

use crate::faults::{
    Section, Seen, clock, commit, database, history, overload, ownership, peers, process, quirks,
    recovery, token,
};
use crate::told;

const HEAD: &str = "\
# When parts fail

Each row is a test (`tests/tests/e2e/faults/`) that plays the fault on real parts: a real Postgres, a real
SoftHSM token behind the PKCS#11 fault module, real processes. The rows are written by these tests
(`HSMD_WRITE_FAULTS=1 cargo test -p hsmd-tests --features hsmd/failpoints --test e2e faults`), and each
fails when its row says anything else.

*What callers see*: the answers while the fault lasts, in the order in which they were asked for; a
quotation is what a command, the daemon's last line or Status said. *Heals within*: from the moment at
which the fault is over, or has happened if it is over at once, until the daemon does again what it did
not; the test waits no longer. Most take less than a second; a PKCS#11 module is reinitialised after
1, 2, 4, … and at most 30 s. *at once* means that no caller noticed, *by the operator* that it does not heal by itself.
*Nothing lost*: at the end all events that anybody ever saw, by any way of reading, are one verified
history of so many, and all signatures that were handed out verify by it.
";

const SECTIONS: [Section; 11] = [
    database::SECTION,
    commit::SECTION,
    history::SECTION,
    ownership::SECTION,
    token::SECTION,
    quirks::SECTION,
    process::SECTION,
    clock::SECTION,
    recovery::SECTION,
    overload::SECTION,
    peers::SECTION,
];

/// The page has one writer at a time.
static PAGE: Mutex<()> = Mutex::new(());

/// Plays a fault, and compares its row with the page's, or writes it there.
pub(crate) async fn compare(fault: &str, operator: &str, play: impl Future<Output = Seen>) {
    let began = Instant::now();
    let seen = LocalSet::new().run_until(play).await;
    eprintln!("{fault}: healed after {:?}, {:?} in all", seen.healed_after, began.elapsed());
    let (answers, heals, kept) = (seen.answers(), &seen.heals, &seen.kept);
    let row = format!("| {fault} | {answers} | {heals} | {operator} | {kept} |");
    if told("HSMD_WRITE_FAULTS").is_some() {
        write(|rows| drop(rows.insert(fault.to_owned(), row.clone())));
    }
    let written = rows(&read()).remove(fault);
    assert_eq!(written, Some(row), "docs/faults.md: write it anew with HSMD_WRITE_FAULTS=1");
}

#[test]
fn the_page_has_a_row_for_each_fault_and_nothing_else() {
    if told("HSMD_WRITE_FAULTS").is_some() {
        write(|_| {});
    }
    let page = read();
    let rows = rows(&page);
    assert_eq!(page, text(&rows), "docs/faults.md: write it anew with HSMD_WRITE_FAULTS=1");
    for (fault, _) in SECTIONS.iter().flat_map(|section| section.faults) {
        let is_being_written = told("HSMD_WRITE_FAULTS").is_some();
        assert!(rows.contains_key(*fault) || is_being_written, "no row says: {fault}");
    }
}

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/faults.md")
}

fn read() -> String {
    let _alone = PAGE.lock();
    std::fs::read_to_string(path()).expect("docs/faults.md")
}

fn write(change: impl FnOnce(&mut BTreeMap<String, String>)) {
    let _alone = PAGE.lock();
    let mut rows = rows(&std::fs::read_to_string(path()).expect("docs/faults.md"));
    change(&mut rows);
    std::fs::write(path(), text(&rows)).expect("write docs/faults.md");
}

/// The page's rows, by what goes wrong.
fn rows(page: &str) -> BTreeMap<String, String> {
    let fault = |row: &str| row.strip_prefix("| ")?.split(" | ").next().map(str::to_owned);
    page.lines().filter_map(|row| Some((fault(row)?, row.to_owned()))).collect()
}

/// The page with these rows, as far as there is a fault for them.
fn text(rows: &BTreeMap<String, String>) -> String {
    let mut page = HEAD.to_owned();
    for Section { title, faults } in SECTIONS {
        page.push_str(&format!(
            "\n## {title}\n\n| fault | what callers see | heals within | what an operator does | nothing lost |\n\
             |---|---|---|---|---|\n"
        ));
        for row in faults.iter().filter_map(|(fault, _)| rows.get(*fault)) {
            page.push_str(row);
            page.push('\n');
        }
    }
    page
}
