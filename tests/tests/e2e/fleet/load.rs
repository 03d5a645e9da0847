//! Users who keep asking while something happens, and what they saw.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hsmd_tests::until;
use parking_lot::Mutex;

use crate::fleet::stack::{Face, Fleet};
use crate::fleet::user::{Outcome, User};

/// Who is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asked {
    App,
    Auth(usize),
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) asked: Asked,
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
    pub(crate) outcome: Outcome,
}

/// All answers so far, in the order in which they came.
pub(crate) type Answers = Arc<Mutex<Vec<Answer>>>;

/// Everybody who can be asked.
pub(crate) const ALL: [Asked; 3] = [Asked::App, Asked::Auth(0), Asked::Auth(1)];

/// Lets one user keep asking each service while `fault` runs, which says when it was over, until each
/// has accepted again, and prints what the user saw. The answers come back, and since when every key was
/// published and endorsed again: from then on nobody may see a reply that nobody vouches for.
pub(crate) async fn under_load(
    name: &str,
    fleet: &mut Fleet,
    fault: impl AsyncFnOnce(&mut Fleet, &Answers) -> Instant,
) -> (Vec<Answer>, Instant) {
    let answers = Answers::default();
    let user = User::enrol(&fleet.face).await;
    let asking = ask_on(fleet.face.clone(), user, &answers);
    let begun = Instant::now();
    accepted_again(&answers, begun).await;
    let fault_begun = Instant::now();
    let over = fault(fleet, &answers).await;
    fleet.endorsed().await;
    let endorsed = Instant::now();
    accepted_again(&answers, endorsed).await;
    asking.iter().for_each(tokio::task::JoinHandle::abort);
    let answers = std::mem::take(&mut *answers.lock());
    println!("{name}:\n{}", table(&answers, fault_begun, over));
    let unendorsed = |it: &&Answer| it.begun > endorsed && it.outcome == Outcome::Unendorsed;
    assert_eq!(answers.iter().find(unendorsed), None);
    (answers, endorsed)
}

/// Waits until each service has accepted a question that was asked after `since`.
pub(crate) async fn accepted_again(answers: &Answers, since: Instant) {
    until("each service accepts", async || {
        let answers = answers.lock();
        let accepts = |asked| {
            answers.iter().any(|answer| {
                answer.asked == asked && answer.begun > since && answer.outcome == Outcome::Accepted
            })
        };
        ALL.into_iter().all(accepts).then_some(())
    })
    .await;
}

/// Waits until this was answered.
pub(crate) async fn saw(answers: &Answers, asked: Asked, outcome: &Outcome) {
    let is_it = |answer: &Answer| answer.asked == asked && answer.outcome == *outcome;
    until(&format!("{asked:?} answers {outcome:?}"), async || {
        answers.lock().iter().any(is_it).then_some(())
    })
    .await;
}

fn ask_on(face: Face, user: User, answers: &Answers) -> Vec<tokio::task::JoinHandle<()>> {
    let (face, user) = (Arc::new(face), Arc::new(user));
    let ask = |asked| {
        let (face, user, answers) = (Arc::clone(&face), Arc::clone(&user), Arc::clone(answers));
        tokio::spawn(async move {
            loop {
                let begun = Instant::now();
                let outcome = match asked {
                    Asked::App => user.access(&face).await,
                    Asked::Auth(replica) => user.challenge(&face, replica).await,
                };
                answers.lock().push(Answer { asked, begun, ended: Instant::now(), outcome });
            }
        })
    };
    ALL.into_iter().map(ask).collect()
}

/// What was seen of each service from the fault on: how often, and how long after it was over the first
/// question was accepted.
fn table(answers: &[Answer], fault_begun: Instant, over: Instant) -> String {
    let mut lines = String::new();
    for asked in ALL {
        let of = || answers.iter().filter(move |it| it.asked == asked && it.ended > fault_begun);
        let mut seen = BTreeMap::<&Outcome, usize>::new();
        of().for_each(|answer| *seen.entry(&answer.outcome).or_default() += 1);
        let bad: Vec<_> = of().filter(|it| it.outcome != Outcome::Accepted).collect();
        let healed = bad.last().map_or(Duration::ZERO, |last| {
            let first = of().find(|it| it.outcome == Outcome::Accepted && it.ended > last.ended);
            first.map_or(Duration::MAX, |first| first.ended.saturating_duration_since(over))
        });
        let _written = writeln!(lines, "  {asked:?}: {seen:?}, well {healed:.0?} after the fault");
    }
    lines
}
