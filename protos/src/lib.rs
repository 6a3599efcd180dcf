//! The wire contract: .proto files, their Rust code and checked conversions.
