//! Generates the Rust code from the .proto files with protox: no `protoc` has to be installed.

use std::path::PathBuf;

use prost::Message;

const FILES: [&str; 3] = ["hsmd/v1/signer.proto", "hsmd/v1/keylog.proto", "hsmd/v1/admin.proto"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=hsmd");
    let descriptors = protox::compile(FILES, ["."])?;
    #[expect(clippy::disallowed_methods, reason = "cargo tells a build script where to write")]
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("hsmd.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .client_mod_attribute(".", "#[cfg(feature = \"client\")]")
        .server_mod_attribute(".", "#[cfg(feature = \"server\")]")
        .compile_fds(descriptors)?;
    Ok(())
}
