//! The queue without a thread, a token or a process.

use hsmd_chain::Payload;

use super::*;

const SHORT: Duration = Duration::from_millis(1);

type Answer = oneshot::Receiver<Result<Signed, SignError>>;

fn document(number: usize) -> Document {
    Document::Payload(Payload::parse(format!(r#"{{"purpose":"p","n":{number}}}"#)).unwrap())
}

/// A job that can be told apart by the number in its document.
fn job(number: usize) -> (Queued, Answer) {
    let (reply, answer) = oneshot::channel();
    (Queued::new(Job::One { document: document(number), reply }, None), answer)
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
    let queue = TokenQueue::new(2);
    let (first, _first) = job(1);
    let (second, _second) = job(2);
    let (third, _third) = job(3);
    assert_eq!(queue.submit(first), Ok(true));
    assert_eq!(queue.submit(second), Ok(false));
    assert_eq!(queue.submit(third), Err(SignError::QueueFull(2)));
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
fn a_batch_goes_behind_those_who_wait() {
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
    let job = Queued::new(Job::One { document: document(1), reply }, Some(now));
    assert!(job.is_expired(now) && !job.is_given_up());
    drop(answer);
    assert!(job.is_given_up());
    let (job, mut answer) = self::job(2);
    assert!(!job.is_expired(now));
    job.refuse(SignError::Expired);
    assert_eq!(answer.try_recv().unwrap().unwrap_err(), SignError::Expired);
}
