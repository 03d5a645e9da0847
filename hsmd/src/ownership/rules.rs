//! The rules of ownership, decided without any I/O.

use std::time::Duration;

use super::Record;
use crate::keylog::Claim;
use crate::token::Pair;

/// All of ours that is on a token at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    /// The records.
    pub records: Vec<Record>,
    journals: Vec<Vec<u8>>,
    pairs: Vec<Pair>,
}

impl Snapshot {
    /// What was read, in an order of its own: a token gives none.
    pub fn new(mut records: Vec<Record>, mut journals: Vec<Vec<u8>>, pairs: Vec<Pair>) -> Self {
        records.sort_by(|a, b| (&a.folder, a.epoch, a.change).cmp(&(&b.folder, b.epoch, b.change)));
        journals.sort();
        Self { records, journals, pairs }
    }

    /// The same without a folder's own records: what others may have changed.
    pub fn without(&self, folder: &str) -> Self {
        let mut others = self.clone();
        others.records.retain(|record| record.folder != folder);
        others
    }
}

/// What a daemon knows before it claims.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The id of its state folder.
    pub folder: &'a str,
    /// The epoch that this folder claimed last on this token, since the machine was started; 0 if none.
    pub epoch: u64,
    /// All records on the token.
    pub records: &'a [Record],
    /// The highest epoch that this folder ever had on any token.
    pub highest: u64,
    /// The claims that the database knows whose lock it holds.
    pub named: &'a [Claim],
    /// A person has said that the token is to be taken over.
    pub take_over: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The own record is the newest, and was made since the machine was started: on at once.
    Resume,
    /// Claim the token with this epoch.
    Claim {
        /// One more than any that is known.
        epoch: u64,
    },
    /// Another folder's claim stands, and only a person can decide.
    Refuse(Record),
}

/// Decides. The newest record is the one with the highest epoch; an own one is older than a foreign one
/// of the same epoch.
pub fn decide(facts: Facts<'_>) -> Decision {
    let own = own(facts.records, facts.folder);
    let newest = foreign(facts.records, facts.folder).max_by_key(|record| record.epoch);
    let own_is_newest = own.is_some_and(|own| newest.is_none_or(|newest| own.epoch > newest.epoch));
    if own_is_newest
        && own.is_some_and(|own| !own.released && own.epoch == facts.epoch && facts.epoch > 0)
    {
        return Decision::Resume;
    }
    let highest = facts.records.iter().map(|record| record.epoch);
    let highest = highest.chain(facts.named.iter().map(|claim| claim.epoch)).max();
    let epoch = highest.unwrap_or(0).max(facts.epoch).max(facts.highest) + 1;
    let Some(newest) = newest.filter(|_| !own_is_newest) else { return Decision::Claim { epoch } };
    let named = facts
        .named
        .iter()
        .any(|claim| claim.epoch == newest.epoch && claim.folder == newest.folder);
    if newest.released || newest.epoch == 0 || named || facts.take_over {
        Decision::Claim { epoch }
    } else {
        Decision::Refuse(newest.clone())
    }
}

/// The record that keeps the holder of an epoch from going on: a foreign one that is not older, or one
/// of its own folder that another process has made since.
pub fn superseded<'a>(records: &'a [Record], folder: &str, epoch: u64) -> Option<&'a Record> {
    records.iter().find(|record| {
        if record.folder == folder { record.epoch > epoch } else { record.epoch >= epoch }
    })
}

/// How long a claim waits behind its last change: until none serves any more whose record stands among
/// these, a second more for what had begun; or `wait`, if there is none.
pub fn until_shut<'a>(others: impl Iterator<Item = &'a Record>, wait: Duration) -> Duration {
    let lease = others.filter(|record| record.stands()).map(Record::lease).max();
    lease.map_or(wait, |lease| lease + Duration::from_secs(1))
}

/// The newest record of a folder.
pub fn own<'a>(records: &'a [Record], folder: &str) -> Option<&'a Record> {
    let own = records.iter().filter(|record| record.folder == folder);
    own.max_by_key(|record| (record.epoch, record.change))
}

/// The records of other folders.
pub fn foreign<'a>(
    records: &'a [Record],
    folder: &'a str,
) -> impl Iterator<Item = &'a Record> + 'a {
    records.iter().filter(move |record| record.folder != folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(folder: &str, epoch: u64, released: bool) -> Record {
        Record {
            epoch,
            folder: folder.into(),
            lease_ms: 3000,
            wait_ms: 1000,
            released,
            change: 0,
            journal: None,
        }
    }

    fn named(epoch: u64, folder: &str) -> Claim {
        Claim { epoch, folder: folder.into() }
    }

    /// What folder `a` may do.
    fn decided(epoch: u64, records: &[Record], claims: &[Claim], take_over: bool) -> String {
        let facts = Facts { folder: "a", epoch, highest: 2, records, named: claims, take_over };
        match decide(facts) {
            Decision::Resume => "resume".into(),
            Decision::Claim { epoch } => format!("claim {epoch}"),
            Decision::Refuse(owner) => format!("refuse {} {}", owner.folder, owner.epoch),
        }
    }

    #[test]
    fn every_row_of_the_table() {
        let (ours, theirs) = (|epoch| record("a", epoch, false), |epoch| record("b", epoch, false));
        for (epoch, records, claims, take_over, expected) in [
            (0, vec![], vec![], false, "claim 3"),
            (0, vec![], vec![named(4, "b")], false, "claim 5"),
            (3, vec![], vec![], false, "claim 4"),
            (3, vec![ours(3)], vec![], false, "resume"),
            // Another boot of the machine, or a lost file.
            (0, vec![ours(3)], vec![], false, "claim 4"),
            (3, vec![record("a", 3, true)], vec![], false, "claim 4"),
            (3, vec![ours(3), theirs(2)], vec![], false, "resume"),
            (0, vec![ours(3), theirs(2)], vec![], false, "claim 4"),
            (3, vec![ours(3), theirs(3)], vec![], false, "refuse b 3"),
            (3, vec![ours(3), theirs(4)], vec![], false, "refuse b 4"),
            (3, vec![ours(3), theirs(4)], vec![named(3, "b")], false, "refuse b 4"),
            (3, vec![ours(3), theirs(4)], vec![named(4, "c")], false, "refuse b 4"),
            (3, vec![ours(3), theirs(4)], vec![named(4, "b")], false, "claim 5"),
            (3, vec![ours(3), theirs(4)], vec![], true, "claim 5"),
            (0, vec![theirs(1)], vec![], false, "refuse b 1"),
            (0, vec![record("b", 1, true)], vec![], false, "claim 3"),
            // A claim that was taken back.
            (0, vec![theirs(0)], vec![], false, "claim 3"),
            (0, vec![record("b", 1, true), record("c", 2, false)], vec![], false, "refuse c 2"),
        ] {
            let found = decided(epoch, &records, &claims, take_over);
            assert_eq!(found, expected, "{epoch} {records:?} {claims:?} {take_over}");
        }
    }

    #[test]
    fn who_is_superseded() {
        let by =
            |records: &[Record]| superseded(records, "a", 3).map(|record| record.folder.clone());
        assert_eq!(by(&[record("a", 3, false)]), None);
        assert_eq!(by(&[record("a", 3, false), record("b", 2, false)]), None);
        assert_eq!(by(&[record("a", 3, false), record("b", 3, false)]).as_deref(), Some("b"));
        assert_eq!(by(&[record("a", 3, false), record("b", 4, true)]).as_deref(), Some("b"));
        assert_eq!(by(&[record("a", 4, false)]).as_deref(), Some("a"), "a clone of the folder");
    }

    #[test]
    fn how_long_a_claim_waits_for_those_before_it() {
        let wait =
            |records: &[Record]| until_shut(records.iter(), Duration::from_secs(1)).as_secs();
        assert_eq!(wait(&[]), 1);
        assert_eq!(wait(&[record("b", 2, false)]), 4);
        assert_eq!(wait(&[record("b", 2, true), record("c", 0, false)]), 1);
        let slow = Record { lease_ms: 9000, ..record("c", 1, false) };
        assert_eq!(wait(&[record("b", 2, false), slow]), 10);
    }
}
