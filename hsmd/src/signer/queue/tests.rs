//! The queue without a thread, a token or a process.

use hsmd_chain::Payload;

use super::*;

const SHORT: Duration = Duration::from_millis(1);

type Answer = oneshot::Receiver<Result<SignedDocument, SignError>>;

fn document(number: usize) -> Document {
    Document::Payload(Payload::parse(format!(r#"{{"purpose":"p","n":{number}}}"#)).unwrap())
}

fn tester() -> Caller {
    Caller::new("tester")
}

/// A job that can be told apart by the number in its document.
fn job(number: usize) -> (Queued, Answer) {
    let (reply, answer) = oneshot::channel();
    (Queued::new(tester(), Job::One { document: document(number), reply }, None, None), answer)
}

fn submit(queue: &TokenQueue, number: usize) -> Answer {
    let (job, answer) = job(number);
    queue.submit(job).unwrap();
    answer
}

fn number(job: &Queued) -> String {
    match &job.job {
        Job::One { document: Document::Payload(payload), .. } => payload.text().to_owned(),
        other => panic!("{other:?}"),
    }
}

/// What the thread gets next, by name; signing requests by their document.
fn next(queue: &TokenQueue) -> String {
    match queue.next(SHORT) {
        Next::Work(_) => "work".into(),
        Next::Sign(job) => number(&job),
        Next::Refuse(_, error) => format!("refuse: {error}"),
        Next::Idle => "idle".into(),
        Next::Stop => "stop".into(),
    }
}

fn text(number: usize) -> String {
    let Document::Payload(payload) = document(number) else { panic!("a payload") };
    payload.text().to_owned()
}

#[test]
fn admin_work_goes_first_and_signing_requests_keep_their_order() {
    let queue = TokenQueue::new(8);
    let _answers: Vec<_> = [1, 2].map(|number| submit(&queue, number)).into();
    assert!(queue.put(Box::new(|_| {})));
    assert!(queue.next_queued().is_none(), "admin work waits");
    assert_eq!(next(&queue), "work");
    assert_eq!(number(&queue.next_queued().unwrap()), text(1));
    assert_eq!(next(&queue), text(2));
    assert_eq!(next(&queue), "idle");
}

#[test]
fn a_full_queue_refuses_and_the_only_job_is_told_apart() {
    // One caller alone may have half of it.
    let queue = TokenQueue::new(4);
    let (first, _first) = job(1);
    let (second, _second) = job(2);
    let (third, _third) = job(3);
    assert_eq!(queue.submit(first), Ok(true));
    assert_eq!(queue.submit(second), Ok(false));
    assert_eq!(queue.submit(third), Err(SignError::QueueFull(4)));
    assert_eq!(queue.depth(), 2);
}

#[test]
fn signing_requests_are_held_during_a_taint_and_refused_after_a_while() {
    let queue = TokenQueue::new(8);
    queue.hold(true);
    let (mut old, _old) = job(1);
    old.since = Instant::now().checked_sub(HOLD_TIMEOUT + Duration::from_secs(1)).unwrap();
    assert_eq!(queue.submit(old), Ok(false), "a held job is not answered at once");
    let _young = submit(&queue, 2);
    assert!(queue.next_queued().is_none());
    assert_eq!(next(&queue), format!("refuse: {}", SignError::TaintInProgress));
    assert_eq!(next(&queue), "idle");
    assert!(queue.put(Box::new(|_| {})), "the taint itself goes on");
    assert_eq!(next(&queue), "work");
    queue.hold(false);
    assert_eq!(next(&queue), text(2));
}

#[test]
fn signing_requests_wait_between_the_pieces_of_a_rotation() {
    let queue = TokenQueue::new(8);
    let _answer = submit(&queue, 1);
    queue.reserve();
    assert!(queue.next_queued().is_none());
    assert!(queue.put(Box::new(|_| {})));
    assert_eq!(next(&queue), "work");
    queue.release();
    assert_eq!(next(&queue), text(1));
    // A reservation ends by itself.
    let _answer = submit(&queue, 2);
    queue.reserve();
    assert_eq!(next(&queue), text(2));
}

#[test]
fn a_job_with_documents_left_goes_behind_those_that_wait() {
    let queue = TokenQueue::new(8);
    let _answers: Vec<_> = [1, 2].map(|number| submit(&queue, number)).into();
    let first = queue.next_queued().unwrap();
    queue.put_back(first);
    assert_eq!(next(&queue), text(2));
    assert_eq!(next(&queue), text(1));
}

#[test]
fn what_was_accepted_is_done_before_the_end_and_nothing_more_is_accepted() {
    let queue = TokenQueue::new(8);
    let _answer = submit(&queue, 1);
    queue.hold(true);
    queue.reserve();
    queue.stop();
    let (late, _late) = job(2);
    assert!(matches!(queue.submit(late), Err(SignError::NotActive(_))));
    assert!(!queue.put(Box::new(|_| {})));
    assert_eq!(next(&queue), text(1));
    assert_eq!(next(&queue), "stop");
}

#[test]
fn a_job_knows_when_its_answer_is_of_no_use() {
    let now = Instant::now();
    let (reply, answer) = oneshot::channel();
    let job = Queued::new(tester(), Job::One { document: document(1), reply }, None, Some(now));
    assert!(job.is_expired(now) && !job.is_given_up());
    drop(answer);
    assert!(job.is_given_up());
    let (job, mut answer) = self::job(2);
    assert!(!job.is_expired(now));
    job.refuse(SignError::Expired);
    assert_eq!(answer.try_recv().unwrap().unwrap_err(), SignError::Expired);
}

/// Queues a document that may share a tree, and returns it with what it waits for.
fn submit_to(queue: &TokenQueue, number: usize, company: &Company) -> Answer {
    let (mut job, answer) = job(number);
    job.company = Some(company.clone());
    queue.submit(job).unwrap();
    answer
}

fn caller(name: &str) -> Company {
    Company::Caller(Caller::new(name))
}

#[test]
fn what_may_share_a_tree_is_taken_from_the_front_and_the_rest_keeps_its_order() {
    let queue = TokenQueue::new(16);
    let (a, b) = (caller("a"), caller("b"));
    let _answers: Vec<_> =
        [(1, &a), (2, &b), (3, &a), (4, &Company::Endorsements), (5, &a), (6, &b)]
            .map(|(number, company)| submit_to(&queue, number, company))
            .into();
    let _plain = submit(&queue, 7);
    let first = queue.next_queued().unwrap();
    let taken = queue.companions(&first, Space::new(16));
    assert_eq!(taken.iter().map(number).collect::<Vec<_>>(), [text(3), text(5)]);
    let left: Vec<_> = std::iter::from_fn(|| queue.next_queued()).map(|job| number(&job)).collect();
    assert_eq!(left, [text(2), text(4), text(6), text(7)]);
}

#[test]
fn a_document_of_a_caller_who_accepts_no_leaf_shares_no_tree() {
    let queue = TokenQueue::new(16);
    let _answers: Vec<_> = [1, 2].map(|number| submit(&queue, number)).into();
    let first = queue.next_queued().unwrap();
    assert!(queue.companions(&first, Space::new(16)).is_empty());
    assert_eq!(queue.depth(), 1);
}

#[test]
fn a_tree_takes_no_more_than_fits_and_none_overtakes_another() {
    let queue = TokenQueue::new(16);
    let a = caller("a");
    let (reply, _answer) = oneshot::channel();
    let rest: Vec<_> = (0..3).map(document).collect();
    let job = Job::Several { rest: rest.into_iter(), signed: Vec::new(), reply };
    let _answers: Vec<_> = [1, 2].map(|number| submit_to(&queue, number, &a)).into();
    queue.submit(Queued::new(tester(), job, Some(a.clone()), None)).unwrap();
    let _last = submit_to(&queue, 4, &a);
    let first = queue.next_queued().unwrap();
    // The three together do not fit, so the one behind them waits as well.
    let taken = queue.companions(&first, Space::new(4));
    assert_eq!(taken.iter().map(number).collect::<Vec<_>>(), [text(2)]);
    let several = queue.next_queued().unwrap();
    assert_eq!((several.documents(), several.bytes()), (3, 3 * text(0).len()));
    let taken = queue.companions(&several, Space::new(4));
    assert_eq!(taken.iter().map(number).collect::<Vec<_>>(), [text(4)]);
}

#[test]
fn nothing_joins_a_tree_while_admin_work_waits_or_signing_is_held() {
    let queue = TokenQueue::new(16);
    let a = caller("a");
    let _answers: Vec<_> = [1, 2].map(|number| submit_to(&queue, number, &a)).into();
    let first = queue.next_queued().unwrap();
    assert!(queue.put(Box::new(|_| {})));
    assert!(queue.companions(&first, Space::new(16)).is_empty());
    assert_eq!(next(&queue), "work");
    queue.hold(true);
    assert!(queue.companions(&first, Space::new(16)).is_empty());
    queue.hold(false);
    queue.reserve();
    assert!(queue.companions(&first, Space::new(16)).is_empty());
    queue.release();
    assert_eq!(queue.companions(&first, Space::new(16)).len(), 1);
}

/// 1,100 batches of one caller: another waits for no more than one document of them.
#[test]
fn a_caller_with_many_batches_makes_no_other_wait_for_them() {
    let queue = TokenQueue::new(1024);
    let (mut answers, mut refused) = (Vec::new(), 0);
    for _ in 0..1100 {
        let (reply, answer) = oneshot::channel();
        let rest: Vec<_> = (0..256).map(document).collect();
        let job = Job::Several { rest: rest.into_iter(), signed: Vec::new(), reply };
        match queue.submit(Queued::new(tester(), job, None, None)) {
            Ok(_) => answers.push(answer),
            Err(error) => {
                assert_eq!(error, SignError::QueueFull(1024));
                refused += 1;
            }
        }
    }
    assert_eq!((answers.len(), refused), (2, 1098), "half of the places");
    let (reply, _answer) = oneshot::channel();
    let one = Job::One { document: document(7), reply };
    queue.submit(Queued::new(Caller::new("other"), one, None, None)).unwrap();
    let first = queue.next_queued().unwrap();
    assert_eq!(first.documents(), 256);
    assert_eq!(number(&queue.next_queued().unwrap()), text(7));
    queue.put_back(first);
}
