//! A proxy that passes requests on and loses chosen replies.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// Listens on a port of its own until the test's process ends.
pub(crate) struct LossyProxy {
    address: SocketAddr,
    /// The route whose next reply is lost.
    lose: Arc<Mutex<Option<String>>>,
}

impl LossyProxy {
    pub(crate) fn start(upstream: &str) -> Self {
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let lose = Arc::new(Mutex::new(None));
        let shared = Arc::clone(&lose);
        thread::spawn(move || {
            for connection in listener.incoming() {
                let connection = connection.expect("accepted");
                let (upstream, shared) = (upstream.clone(), Arc::clone(&shared));
                thread::spawn(move || pass(connection, &upstream, &shared));
            }
        });
        Self { address, lose }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Loses the next reply to this route.
    pub(crate) fn lose(&self, route: &str) {
        *self.lose.lock().expect("no panic") = Some(route.to_owned());
    }

    /// Whether the reply that was to be lost has been.
    pub(crate) fn lost(&self) -> bool {
        self.lose.lock().expect("no panic").is_none()
    }
}

/// Passes one request on and its reply back, or loses that; then closes.
fn pass(mut client: TcpStream, upstream: &str, lose: &Mutex<Option<String>>) {
    let Some(request) = read_message(&mut client) else { return };
    let mut server = TcpStream::connect(upstream).expect("the service listens");
    server.write_all(&request).expect("sent");
    let Some(reply) = read_message(&mut server) else { return };
    let mut lose = lose.lock().expect("no panic");
    let wanted =
        lose.as_ref().is_some_and(|route| request.starts_with(format!("POST {route} ").as_bytes()));
    if wanted {
        *lose = None;
    } else {
        client.write_all(&reply).expect("sent");
    }
}

/// Reads one HTTP message whose length its head tells.
fn read_message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    let mut chunk = [0_u8; 4096];
    loop {
        let head = message.windows(4).position(|window| window == b"\r\n\r\n");
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&message[..head]).to_ascii_lowercase();
            let length = text.split("content-length: ").nth(1).and_then(|rest| {
                rest.split("\r\n").next().and_then(|length| length.trim().parse::<usize>().ok())
            });
            if message.len() >= head + 4 + length.unwrap_or(0) {
                return Some(message);
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return None,
            Ok(count) => message.extend_from_slice(&chunk[..count]),
        }
    }
}
