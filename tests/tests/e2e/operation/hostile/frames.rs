//! HTTP/2 frames written by hand: what no proper client would send.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::operation::remote::{Dial, PREFACE, Wire};

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const ACK: u8 = 1;

/// SETTINGS_INITIAL_WINDOW_SIZE 0: the other end may send no DATA before a WINDOW_UPDATE.
pub(super) const NO_WINDOW: [u8; 6] = [0, 4, 0, 0, 0, 0];

pub(super) const SIGN: &str = "/hsmd.v1.Signer/Sign";
pub(super) const LIST: &str = "/hsmd.v1.KeyLog/ListEvents";
pub(super) const WATCH: &str = "/hsmd.v1.KeyLog/WatchEvents";

/// A frame: length, type, flags, stream, payload.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The header block of a gRPC call, as literals without indexing (HPACK, RFC 7541 section 6.2.2).
pub(super) fn headers(path: &str) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", path),
        (":authority", "hsmd.test"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        literal(&mut block, name, value);
    }
    block
}

/// A header of up to 126 bytes of name and of value.
pub(super) fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        block.push(u8::try_from(text.len()).ok().filter(|length| *length < 127).unwrap());
        block.extend(text.as_bytes());
    }
}

/// A gRPC message: not compressed, length, bytes.
pub(super) fn message(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[0], &length[..], bytes].concat()
}

/// Reads until a frame of this kind comes, which it returns, or the connection ends.
pub(super) async fn next(wire: &mut Wire, wanted: u8) -> io::Result<Vec<u8>> {
    loop {
        let mut header = [0; 9];
        wire.read_exact(&mut header).await?;
        let length = u32::from_be_bytes([0, header[0], header[1], header[2]]);
        let mut payload = vec![0; length as usize];
        wire.read_exact(&mut payload).await?;
        if header[3] == wanted {
            return Ok(payload);
        }
    }
}

/// Opens a call and leaves it; `settings` are of the connection, `flags` of the body's only frame.
pub(super) async fn half_a_call(
    dial: &Dial,
    path: &str,
    settings: &[u8],
    flags: u8,
    body: &[u8],
) -> Wire {
    let mut wire = begin(dial, settings).await;
    wire.write_all(&frame(HEADERS, END_HEADERS, 1, &headers(path))).await.unwrap();
    wire.write_all(&frame(DATA, flags, 1, body)).await.unwrap();
    wire
}

/// A connection with these settings and no call yet.
pub(super) async fn begin(dial: &Dial, settings: &[u8]) -> Wire {
    let mut wire = dial.connect().await.unwrap();
    let (magic, _) = PREFACE.split_at(24);
    wire.write_all(magic).await.unwrap();
    wire.write_all(&frame(SETTINGS, 0, 0, settings)).await.unwrap();
    wire
}

/// Answers pings and takes everything else, until the connection ends.
pub(super) async fn answer_pings(wire: &mut Wire) {
    while let Ok(ping) = next(wire, PING).await {
        if wire.write_all(&frame(PING, ACK, 0, &ping)).await.is_err() {
            return;
        }
    }
}
