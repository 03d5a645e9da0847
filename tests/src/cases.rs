//! The cases of a table, a few at a time.

use tokio::sync::Semaphore;
use tokio::task::{JoinSet, LocalSet};

/// Each case has processes of its own: so many, of all tables together, wait side by side without starving
/// the machine.
static PLACES: Semaphore = Semaphore::const_new(4);

/// Runs a test for each case of a table; the first that fails fails the test.
pub async fn for_each_case<C, F>(cases: impl IntoIterator<Item = C>, test: impl Fn(C) -> F)
where
    F: Future<Output = ()> + 'static,
{
    let (local, mut running) = (LocalSet::new(), JoinSet::new());
    for case in cases {
        let case = test(case);
        let in_its_turn = async move {
            let _place = PLACES.acquire().await;
            case.await;
        };
        running.spawn_local_on(in_its_turn, &local);
    }
    local
        .run_until(async {
            while let Some(ended) = running.join_next().await {
                if let Err(error) = ended {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
        })
        .await;
}
