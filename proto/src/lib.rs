//! The gRPC interface of hsmd, package `hsmd.v1`: messages, clients and servers generated from the
//! files in `proto/hsmd/v1/`, which document every field. Clients and servers are features.

/// Messages, clients and servers of package `hsmd.v1`.
pub mod v1 {
    #![expect(
        missing_docs,
        clippy::allow_attributes,
        clippy::allow_attributes_without_reason,
        reason = "generated code; the .proto files are its documentation"
    )]
    tonic::include_proto!("hsmd.v1");
}

/// The encoded `FileDescriptorSet` of package `hsmd.v1`, for gRPC server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hsmd.v1.bin"));

/// The `domain` of every `google.rpc.ErrorInfo` that hsmd sends.
pub const ERROR_DOMAIN: &str = "hsmd";
