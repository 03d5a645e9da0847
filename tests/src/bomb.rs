//! A text that is small when it travels and large when it is read.

use std::io::Write;

use base64ct::{Base64UrlUnpadded, Encoding};
use flate2::{Compression, write::GzEncoder};

/// Ten megabytes of blanks, gzipped to ten kilobytes, in base64url: what might stand in a token after its
/// signature.
pub fn gzip_bomb() -> String {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![b' '; 10_000_000]).expect("written to memory");
    let packed = encoder.finish().expect("written to memory");
    assert!(packed.len() < 12_000);
    Base64UrlUnpadded::encode_string(&packed)
}
