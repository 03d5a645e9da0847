//! `hsmd init`: `hsmd/src/commands/init.rs`.

use super::{append, complete_pair, destroy_public, exit, go, make_pair, sign};
use crate::actions::History;
use crate::step::Step;
use crate::world::{Entries, State};

impl History {
    pub(super) fn init_step(&self, state: &mut State, daemon: usize, step: Step) -> bool {
        match step {
            Step::InitLock => self.init_lock(state, daemon),
            Step::InitIntent => {
                state.daemons[daemon].lease = true;
                let begun = Entries { begun: Some(0), event: None };
                let entries = *state.disk(daemon).intent.get_or_insert(begun);
                state.daemons[daemon].entries = entries;
                let signed = entries.event.is_some();
                go(state, daemon, if signed { Step::InitInsert } else { Step::InitKey0 })
            }
            Step::InitKey0 => {
                find_or_make(state, 0);
                go(state, daemon, Step::InitKey1)
            }
            Step::InitKey1 => {
                find_or_make(state, 1);
                go(state, daemon, Step::InitSign)
            }
            Step::InitSign => {
                let (Some(first), Some(second)) =
                    (complete_pair(state, 0), complete_pair(state, 1))
                else {
                    exit(state, daemon);
                    return true;
                };
                let event = sign(state, 0, first, second, false);
                state.daemons[daemon].event = Some(event);
                go(state, daemon, Step::InitJournal)
            }
            Step::InitJournal => {
                let entries = Entries { begun: Some(0), event: state.daemons[daemon].event };
                state.disk(daemon).intent = Some(entries);
                state.daemons[daemon].entries = entries;
                go(state, daemon, Step::InitInsert)
            }
            Step::InitInsert => {
                if self.holds_lock(state, daemon) {
                    go(state, daemon, Step::InitCommit)
                } else {
                    exit(state, daemon);
                    true
                }
            }
            Step::InitCommit => {
                let event = state.daemons[daemon].entries.event;
                if self.holds_lock(state, daemon) && event.is_some_and(|event| append(state, event))
                {
                    go(state, daemon, Step::InitFinish)
                } else {
                    exit(state, daemon);
                    true
                }
            }
            Step::InitFinish => {
                let event = state.log.first().copied();
                let journal = &mut state.disk(daemon).journal;
                if *journal == Entries::default() {
                    journal.event = event;
                }
                go(state, daemon, Step::InitDiscard)
            }
            _ => {
                state.disk(daemon).intent = None;
                exit(state, daemon);
                true
            }
        }
    }

    fn init_lock(&self, state: &mut State, daemon: usize) -> bool {
        if !self.try_lock(state, daemon) {
            exit(state, daemon);
            return true;
        }
        let intent = state.disk(daemon).intent.is_some();
        if !state.log.is_empty() {
            if intent {
                return go(state, daemon, Step::InitFinish);
            }
            exit(state, daemon);
            return true;
        }
        let ours_only = state.keys.iter().all(|pair| pair.key.number <= 1);
        if if intent { ours_only } else { state.keys.is_empty() } {
            go(state, daemon, Step::InitIntent)
        } else {
            exit(state, daemon);
            true
        }
    }
}

fn find_or_make(state: &mut State, number: u8) {
    if complete_pair(state, number).is_none() {
        destroy_public(state, number);
        make_pair(state, number, true);
    }
}
