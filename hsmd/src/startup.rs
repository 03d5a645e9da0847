//! The start-up table: what log, tokens and journal say together, decided without guessing.
//!
//! Pure: what was read goes in, a verdict comes out. Keys are compared by public key; only keys that
//! no event explains are judged by the number in their CKA_ID.

use hsmd_chain::Event;

use crate::token::{Inventory, Pair};

/// What the journal knows that the decision depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// `init` has begun to make an identity.
    pub init_intent: bool,
    /// A rotation to this event has begun.
    pub begun: Option<u32>,
}

/// Where a key pair is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The index of the token.
    pub token: usize,
    /// CKA_ID.
    pub id: Vec<u8>,
}

/// How to serve: which key signs, which comes next, what is to be cleared away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The head's key.
    pub active: Place,
    /// The committed next key; without it the daemon can't rotate.
    pub next: Option<Place>,
    /// Keys of earlier generations, with their numbers.
    pub leftovers: Vec<(Place, u32)>,
}

/// What log, tokens and journal say together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No log and no keys: nothing was ever made here.
    Blank,
    /// No log, and `init` was interrupted.
    InitInterrupted,
    /// No log, but keys of ours.
    LogLost,
    /// Serve.
    Serve(Plan),
    /// A key beyond the committed one is there, and the journal knows of no rotation: the log may be
    /// one event old.
    OneEventOld(Plan),
    /// The tokens are ahead of the log.
    LogOld,
    /// Neither the head's key nor the next one is there.
    WrongToken,
}

impl Verdict {
    /// What it means and what to do, for the operator.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Blank => "there is no identity yet: run `hsmd init`",
            Self::InitInterrupted => "`hsmd init` was interrupted: run it again, it will finish",
            Self::LogLost => {
                "the token holds our keys but the log is empty: the log is lost or this is the \
                 wrong database; correct database.writer_url_file or import a copy with \
                 `hsmd import FILE`"
            }
            Self::Serve(Plan { next: Some(_), .. }) => "log and token agree",
            Self::Serve(Plan { next: None, .. }) => {
                "the committed next key is missing on the token or differs: signing works, rotate \
                 and taint do not; restore the token's backup"
            }
            Self::OneEventOld(_) => {
                "the token holds a key beyond the committed one and the journal knows of no rotation: \
                 the log may be one event old; import the newest copy with `hsmd import FILE`, or, \
                 if you know that a rotation crashed and its journal is lost, start with \
                 --assume-crashed"
            }
            Self::LogOld => {
                "the log is older than the token (a restored backup?): import the missing events \
                 with `hsmd import FILE`"
            }
            Self::WrongToken => {
                "the token holds neither the head's key nor the next one: this is the wrong token, \
                 or the wrong database"
            }
        }
    }
}

/// Decides. `tokens` are the inventories in the order of the configuration.
pub fn decide(head: Option<&Event>, tokens: &[Inventory], known: Known) -> Verdict {
    let pairs: Vec<(usize, &Pair)> = tokens
        .iter()
        .enumerate()
        .flat_map(|(token, inventory)| inventory.pairs.iter().map(move |pair| (token, pair)))
        .collect();
    let Some(head) = head else {
        return match (known.init_intent, pairs.is_empty()) {
            (false, true) => Verdict::Blank,
            (false, false) => Verdict::LogLost,
            (true, _) if pairs.iter().all(|(_, p)| matches!(p.sequence_number, Some(0 | 1))) => {
                Verdict::InitInterrupted
            }
            (true, _) => Verdict::LogLost,
        };
    };

    let n = head.sequence_number();
    let find = |wanted: &dyn Fn(&Pair) -> bool| {
        pairs
            .iter()
            .find(|(_, pair)| wanted(pair))
            .map(|(token, pair)| Place { token: *token, id: pair.id.clone() })
    };
    let is_next = |pair: &Pair| {
        pair.private > 0 && pair.public.iter().any(|key| key.digest() == head.rotation_hash())
    };
    let active = find(&|pair| pair.offers(head.public_key()));
    let next = find(&is_next);
    let others =
        || pairs.iter().filter(|(_, pair)| !pair.offers(head.public_key()) && !is_next(pair));
    let ahead = |distance: u32| {
        others().any(|(_, pair)| {
            pair.sequence_number.is_some_and(|number| number.checked_sub(n) == Some(distance))
        })
    };
    let far_ahead =
        others().any(|(_, pair)| pair.sequence_number.is_some_and(|number| number > n + 2));

    let Some(active) = active else {
        return if next.is_some() || far_ahead { Verdict::LogOld } else { Verdict::WrongToken };
    };
    if far_ahead {
        return Verdict::LogOld;
    }
    let leftovers = others()
        .filter_map(|(token, pair)| {
            let number = pair.sequence_number.filter(|number| *number < n)?;
            Some((Place { token: *token, id: pair.id.clone() }, number))
        })
        .collect();
    let has_next = next.is_some();
    let plan = Plan { active, next, leftovers };
    if has_next && ahead(2) && known.begun != Some(n + 1) {
        return Verdict::OneEventOld(plan);
    }
    Verdict::Serve(plan)
}

#[cfg(test)]
mod tests {
    use hsmd_chain::testing::SoftwareKey;
    use hsmd_chain::{PublicKey, Timestamp};

    use super::*;

    fn key(number: u32) -> PublicKey {
        *SoftwareKey::from_seed(&number.to_string()).public_key()
    }

    fn pair(number: u32, public: PublicKey) -> Pair {
        Pair {
            id: crate::token::keys::id(number).to_vec(),
            sequence_number: Some(number),
            public: vec![public],
            private: 1,
        }
    }

    fn head(number: u32) -> Event {
        let at = |n: u32| Timestamp::from_unix_millis(1_700_000_000_000 + i64::from(n)).unwrap();
        let mut event = Event::inception(key(0), key(1).digest(), at(0));
        for n in 1..=number {
            event = Event::successor(&event, key(n), key(n + 1).digest(), at(n), false).unwrap();
        }
        event
    }

    fn verdict(number: u32, keys: &[u32], known: Known) -> &'static str {
        let inventory = Inventory { pairs: keys.iter().map(|n| pair(*n, key(*n))).collect() };
        name(&decide(Some(&head(number)), &[inventory], known))
    }

    fn name(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Blank => "blank",
            Verdict::InitInterrupted => "init",
            Verdict::LogLost => "lost",
            Verdict::Serve(Plan { next: Some(_), .. }) => "serve",
            Verdict::Serve(_) => "serve without next",
            Verdict::OneEventOld(_) => "one old",
            Verdict::LogOld => "old",
            Verdict::WrongToken => "wrong token",
        }
    }

    #[test]
    fn every_row_of_the_table() {
        let nothing = Known::default();
        let begun = |n| Known { begun: Some(n), ..nothing };
        for (keys, known, expected) in [
            (&[3, 4][..], nothing, "serve"),
            (&[2, 3, 4], nothing, "serve"),
            (&[3, 4, 5], begun(4), "serve"),
            (&[3, 4, 5], nothing, "one old"),
            (&[3, 4, 5], begun(3), "one old"),
            (&[3], nothing, "serve without next"),
            (&[4], nothing, "old"),
            (&[4, 5], nothing, "old"),
            (&[3, 4, 6], begun(4), "old"),
            (&[9, 10], nothing, "old"),
            (&[], nothing, "wrong token"),
            (&[1, 2], nothing, "wrong token"),
        ] {
            assert_eq!(verdict(3, keys, known), expected, "{keys:?} {known:?}");
        }
    }

    #[test]
    fn without_a_log() {
        let intent = Known { init_intent: true, begun: None };
        for (keys, known, expected) in [
            (&[][..], Known::default(), "blank"),
            (&[0], Known::default(), "lost"),
            (&[], intent, "init"),
            (&[0], intent, "init"),
            (&[0, 1], intent, "init"),
            (&[1, 2], intent, "lost"),
        ] {
            let inventory = Inventory { pairs: keys.iter().map(|n| pair(*n, key(*n))).collect() };
            assert_eq!(name(&decide(None, &[inventory], known)), expected, "{keys:?}");
        }
    }

    #[test]
    fn keys_are_compared_by_public_key() {
        let renamed = Inventory { pairs: vec![pair(77, key(3)), pair(4, key(4))] };
        let Verdict::Serve(plan) = decide(Some(&head(3)), &[renamed], Known::default()) else {
            panic!("a renamed key is the same key");
        };
        assert_eq!(plan.active.id, b"00000077");
        let other = Inventory { pairs: vec![pair(3, key(3)), pair(4, key(40))] };
        assert_eq!(name(&decide(Some(&head(3)), &[other], Known::default())), "serve without next");
    }

    #[test]
    fn a_chain_may_lie_on_two_tokens() {
        let old = Inventory { pairs: vec![pair(2, key(2)), pair(3, key(3))] };
        let new = Inventory { pairs: vec![pair(4, key(4))] };
        let Verdict::Serve(plan) = decide(Some(&head(3)), &[old, new], Known::default()) else {
            panic!("both tokens together hold what is needed");
        };
        assert_eq!((plan.active.token, plan.next.map(|place| place.token)), (0, Some(1)));
        assert_eq!(plan.leftovers.len(), 1);
    }
}
