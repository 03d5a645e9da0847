//! HTTP/1.1 as callers of the accounts service speak it, with as little work as it takes: the callers run on
//! the processors of what is measured.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::sample::Sample;

/// One caller, whose connection is kept.
pub(crate) struct Caller {
    stream: TcpStream,
    answer: Vec<u8>,
}

impl Caller {
    pub(crate) async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("a TCP connection");
        Self { stream, answer: Vec::with_capacity(16 * 1024) }
    }

    /// Sends a request and returns the whole answer, which must be 200.
    pub(crate) async fn ask(&mut self, request: &str) -> &str {
        let good = self.is_good(request).await;
        let answer = str::from_utf8(&self.answer).expect("text");
        assert!(good, "{request}: {answer}");
        answer
    }

    /// Sends a request. Whether its answer is 200.
    pub(crate) async fn is_good(&mut self, request: &str) -> bool {
        self.stream.write_all(request.as_bytes()).await.expect("it is sent");
        self.answer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.answer).await.expect("an answer");
            assert!(read > 0, "the connection was closed");
            if is_whole(&self.answer) {
                break;
            }
        }
        self.answer.starts_with(b"HTTP/1.1 200 ")
    }
}

/// Whether the head and as much of a body as it says are there.
fn is_whole(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.expect("a length").parse().expect("a number")
}

/// `GET PATH` with a cookie, which may be empty.
pub(crate) fn get(path: &str, cookie: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: accounts\r\ncookie: {cookie}\r\n\r\n")
}

/// `POST PATH` with a body of JSON.
pub(crate) fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: accounts\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

/// Lets one caller for each request ask it again and again, until it is dropped.
pub(crate) fn press(address: &str, requests: &[String]) -> JoinSet<Vec<Duration>> {
    let began = Instant::now();
    let request = |request: &String| repeat(address.to_owned(), request.clone(), began, None);
    requests.iter().map(request).collect()
}

/// Lets one caller for each request ask it for so long.
pub(crate) async fn measure(address: &str, requests: &[String], millis: u64) -> Sample {
    let (began, time) = (Instant::now(), Some(Duration::from_millis(millis)));
    let mut callers = JoinSet::new();
    for request in requests {
        callers.spawn(repeat(address.to_owned(), request.clone(), began, time));
    }
    let times = callers.join_all().await.concat();
    Sample::of(times, began.elapsed())
}

async fn repeat(
    address: String,
    request: String,
    began: Instant,
    time: Option<Duration>,
) -> Vec<Duration> {
    let mut caller = Caller::connect(&address).await;
    let mut times = Vec::new();
    while time.is_none_or(|time| began.elapsed() < time) {
        let one = Instant::now();
        caller.ask(&request).await;
        times.push(one.elapsed());
    }
    times
}
