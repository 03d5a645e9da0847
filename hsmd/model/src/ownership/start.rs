//! From a start to serving: on without a claim, or by a claim, rules 4 to 7.

use super::actions::{Ownership, end};
use super::flaw::Flaw;
use super::state::{At, Event, Record, State, Token};

impl Ownership {
    pub(super) fn start_step(&self, state: &mut State, me: usize, at: At) -> bool {
        match at {
            At::Lock => self.lock(state, me),
            At::Open => self.open(state, me),
            At::ClaimLook => {
                state.look(me);
                if state.claims == 0 || !may_claim(state, me) {
                    end(state, me);
                    return true;
                }
                go(state, me, At::ClaimMake)
            }
            At::ClaimMake => self.claim(state, me),
            At::ClaimWait => {
                let over = !state.daemons[me].other_busy || self.has(Flaw::NoWaitForJobs);
                over && go(state, me, At::ClaimCheck)
            }
            At::ClaimCheck => {
                state.look(me);
                let next =
                    if self.has(Flaw::NoSecondChange) { At::LeaseWait } else { At::ChangeLook };
                self.withdraws(state, me) || go(state, me, next)
            }
            At::ChangeLook => {
                state.look(me);
                state.daemons[me].foreign_changed = false;
                self.withdraws(state, me) || go(state, me, At::Change)
            }
            At::Change => {
                state.change(me, |_| ());
                go(state, me, At::LeaseWait)
            }
            At::LeaseWait => {
                let (daemon, other) = (&state.daemons[me], &state.daemons[1 - me]);
                let idle = !daemon.other_busy || self.has(Flaw::NoWaitForJobs);
                let over = !other.lease || daemon.other_looked || self.has(Flaw::NoLeaseWait);
                (idle && over) && go(state, me, At::Reinitialise)
            }
            At::Reinitialise => self.reinitialised(state, me),
            _ => self.merge(state, me),
        }
    }

    fn lock(&self, state: &mut State, me: usize) -> bool {
        let database = state.database(me);
        if database.lock.is_some() {
            return false;
        }
        database.lock = Some(me);
        let log = database.log.clone();
        let daemon = &mut state.daemons[me];
        (daemon.stored, daemon.log) = (log.len(), log);
        if self.has(Flaw::PublishRowsAtStart) {
            daemon.published = daemon.stored;
        }
        if self.bounds.early {
            self.show_early(state, me);
        }
        go(state, me, At::Open)
    }

    /// The token may be away. Where the database's newest claim is of this folder, and what the records held is
    /// merged, none knows more than rows and journal: readers are shown these, a rotation only by its row.
    fn show_early(&self, state: &mut State, me: usize) {
        let newest = state.database(me).claims.iter().max().copied();
        let merged = |epoch| state.folders[me].merged == epoch || self.has(Flaw::ShowUnmerged);
        if newest.is_none_or(|(epoch, folder)| folder != me || !merged(epoch)) {
            return;
        }
        let journal = state.folders[me].events.clone();
        let daemon = &mut state.daemons[me];
        let lacking = journal.iter().filter(|event| usize::from(event.number) >= daemon.stored);
        if lacking.clone().all(|event| event.taint) {
            daemon.log.extend(lacking.copied());
        }
        (daemon.early, daemon.published) = (true, daemon.log.len());
    }

    /// Rule 6: on at once where the own record is the newest and not released.
    fn open(&self, state: &mut State, me: usize) -> bool {
        if self.resumes(state, me) {
            // A claim that this database does not know: it was away, or is another one.
            let claim = (state.daemons[me].epoch, me);
            let database = state.database(me);
            if !database.claims.contains(&claim) {
                database.claims.push(claim);
            }
            return go(state, me, At::Merge);
        }
        if state.claims > 0 && may_claim(state, me) {
            return go(state, me, At::ClaimLook);
        }
        end(state, me);
        true
    }

    fn resumes(&self, state: &mut State, me: usize) -> bool {
        state.reinitialise(me);
        let epoch = state.folders[me].epoch;
        let own = state.token.records[me].as_ref();
        let unreleased = own.is_some_and(|own| own.epoch == epoch && !own.released && epoch > 0);
        let newest = foreign_epoch(&state.token, me).is_none_or(|foreign| foreign < epoch);
        let resumes = unreleased && (newest || self.has(Flaw::ResumeWithoutLook));
        if resumes {
            state.daemons[me].epoch = epoch;
            state.daemons[me].lease = true;
        }
        resumes
    }

    /// A start that waits for its database: the owner of before makes a taint, by rule 6 alone.
    pub(super) fn taint_alone(&self, state: &mut State, me: usize) -> bool {
        if !self.resumes(state, me) {
            return false;
        }
        let Some(log) = self.merged(state, me, state.folders[me].log.clone()) else { return false };
        if self.is_refused(state, me, &log) {
            return false;
        }
        state.admin_requests -= 1;
        // Each event of the journal may be one that the database lacks.
        let first = state.folders[me].events.first();
        let stored = first.map_or(log.len(), |event| usize::from(event.number));
        let daemon = &mut state.daemons[me];
        (daemon.stored, daemon.log, daemon.alone) = (stored, log, true);
        daemon.request = Some(true);
        daemon.dead_below = daemon.head() + 1;
        go(state, me, At::SignLook)
    }

    /// A log with the events of all records and the own journal; none where they contradict each other or
    /// leave a gap.
    fn merged(&self, state: &State, me: usize, mut log: Vec<Event>) -> Option<Vec<Event>> {
        let mut found: Vec<Event> = state.folders[me].events.clone();
        for (folder, record) in state.daemons[me].view.records.iter().enumerate() {
            if folder == me || !self.has(Flaw::NoMerge) {
                found.extend(record.iter().flat_map(|record| &record.events));
            }
        }
        found.sort_unstable();
        for event in found {
            match log.get(usize::from(event.number)) {
                Some(ours) if *ours == event => {}
                None if usize::from(event.number) == log.len() => log.push(event),
                _ => return None,
            }
        }
        Some(log)
    }

    /// The startup table, where records show nothing of what others have done: keys do. The head's is gone, or
    /// one is there that no rotation of this folder has begun.
    fn is_refused(&self, state: &State, me: usize, log: &[Event]) -> bool {
        if self.bounds.journaled || self.has(Flaw::NoTable) {
            return false;
        }
        let Some(head) = log.last().map(|event| event.number) else { return true };
        let keys = state.daemons[me].view.private;
        let beyond = |distance: u8| keys >> (head + distance) != 0;
        let begun = state.folders[me].begun == Some(head + 1);
        keys & (1 << head) == 0 || beyond(3) || (beyond(2) && !begun)
    }

    /// Rule 4: the claim in the database, then on the token.
    fn claim(&self, state: &mut State, me: usize) -> bool {
        let Some(left) = state.claims.checked_sub(1) else {
            end(state, me);
            return true;
        };
        state.claims = left;
        let seen = state.daemons[me].view.records.iter().flatten().map(|record| record.epoch);
        let rows = state.databases[state.uses[me]].claims.iter().map(|(epoch, _)| *epoch);
        let epoch = 1 + seen.chain(rows).max().unwrap_or(0).max(state.folders[me].epoch);
        state.database(me).claims.push((epoch, me));
        let journal = if self.bounds.journaled { &state.folders[me].events[..] } else { &[] };
        let mut events = journal.to_vec();
        if let Some(own) = &state.token.records[me] {
            events.extend(
                own.events
                    .iter()
                    .filter(|event| !events.contains(event))
                    .copied()
                    .collect::<Vec<_>>(),
            );
            events.sort_unstable();
        }
        if self.has(Flaw::KeptBeforeTaken) {
            state.folders[me].epoch = epoch;
        }
        state.daemons[me].epoch = epoch;
        let record = Record { epoch, released: false, events };
        state.change(me, |token| token.records[me] = Some(record.clone()));
        go(state, me, At::ClaimWait)
    }

    /// A foreign epoch that is not below ours: the claim is taken back. The events that the record
    /// held stay, in a record that claims nothing: who is the owner next has to find them.
    fn withdraws(&self, state: &mut State, me: usize) -> bool {
        if !self.is_superseded(state, me) {
            return false;
        }
        take_back(state, me);
        true
    }

    /// Whether the view shows a foreign epoch that is not below ours.
    pub(super) fn is_superseded(&self, state: &State, me: usize) -> bool {
        let daemon = &state.daemons[me];
        foreign_epoch(&daemon.view, me).is_some_and(|epoch| {
            epoch > daemon.epoch || (epoch == daemon.epoch && !self.has(Flaw::EqualEpochsStay))
        })
    }

    fn reinitialised(&self, state: &mut State, me: usize) -> bool {
        let renewed = if self.has(Flaw::NoReinitialise) {
            state.look(me)
        } else {
            state.reinitialise(me);
            true
        };
        if self.withdraws(state, me) {
            return true;
        }
        if state.daemons[me].foreign_changed && renewed && !self.has(Flaw::NoSecondChange) {
            return go(state, me, At::ChangeLook);
        }
        state.daemons[me].lease = true;
        state.daemons[me].claimed = true;
        // Not before: a claim that was cut off has waited for no lease.
        state.folders[me].epoch = state.daemons[me].epoch;
        go(state, me, At::Merge)
    }

    /// The events of all records follow the rows; what the database lacks is appended, and only then
    /// is anything published.
    fn merge(&self, state: &mut State, me: usize) -> bool {
        let rows = state.databases[state.uses[me]].log.clone();
        let log = self.merged(state, me, rows).filter(|log| !self.is_refused(state, me, log));
        let Some(log) = log else {
            // Two histories, or a database that is too old: refused, a person is needed.
            if state.daemons[me].claimed {
                take_back(state, me);
            } else {
                end(state, me);
            }
            return true;
        };
        state.database(me).log = log.clone();
        state.folders[me].events = log.last().copied().into_iter().collect();
        let (epoch, kept) = (state.daemons[me].epoch, state.folders[me].events.clone());
        let lower = foreign_epoch(&state.token, me).is_some_and(|foreign| foreign < epoch);
        if lower {
            state.change(me, |token| {
                token.records[1 - me] = None;
                if let Some(own) = token.records[me].as_mut().filter(|_| self.bounds.journaled) {
                    own.events.clone_from(&kept);
                }
            });
        }
        let daemon = &mut state.daemons[me];
        daemon.dead_below =
            log.iter().filter(|event| event.taint).map(|event| event.number).max().unwrap_or(0);
        (daemon.stored, daemon.published, daemon.log) = (log.len(), log.len(), log);
        (daemon.serving, daemon.claimed) = (true, false);
        if self.bounds.early {
            state.folders[me].merged = epoch;
        }
        self.keep_log(state, me);
        go(state, me, At::Idle)
    }

    /// The log in the state folder.
    pub(super) fn keep_log(&self, state: &mut State, me: usize) {
        if self.bounds.alone {
            state.folders[me].log = state.daemons[me].log.clone();
        }
    }
}

/// A claim under which nothing was done is taken back, and the start ends. What the record held of the journal
/// stays in one that claims nothing.
pub(super) fn take_back(state: &mut State, me: usize) {
    state.change(me, |token| {
        token.records[me] = token.records[me]
            .take()
            .filter(|record| !record.events.is_empty())
            .map(|record| Record { epoch: 0, released: true, ..record });
    });
    end(state, me);
}

/// The epoch of the other's record.
fn foreign_epoch(token: &Token, me: usize) -> Option<u8> {
    token.records[1 - me].as_ref().map(|record| record.epoch)
}

/// Rule 7.
fn may_claim(state: &State, me: usize) -> bool {
    let daemon = &state.daemons[me];
    let (own, foreign) = (&daemon.view.records[me], &daemon.view.records[1 - me]);
    let Some(foreign) = foreign else { return true };
    let own_is_newest = own.as_ref().is_some_and(|own| own.epoch > foreign.epoch);
    let database = &state.databases[state.uses[me]];
    let named = database.lock == Some(me) && database.claims.contains(&(foreign.epoch, 1 - me));
    own_is_newest || foreign.released || named || daemon.take_over
}

pub(super) fn go(state: &mut State, me: usize, at: At) -> bool {
    state.daemons[me].at = at;
    true
}
