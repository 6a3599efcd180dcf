//! Compiles the .proto files with protox, so that no `protoc` is needed, and lists their calls as an enum, so that a call without a
//! row in a table of calls does not build.

use std::fmt::Write as _;
use std::path::Path;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_imports(true).include_source_info(true).open_file("plainchant/v1/federation.proto")?;
    let descriptors = compiler.file_descriptor_set();
    let (mut variants, mut paths) = (String::new(), String::new());
    for file in &descriptors.file {
        for service in &file.service {
            for method in &service.method {
                let (service, name) = (service.name(), method.name());
                writeln!(variants, "/// `{service}.{name}`.\n{name},")?;
                writeln!(paths, "Self::{name} => \"/{}.{service}/{name}\",", file.package())?;
            }
        }
    }
    let list = format!(
        "/// A call of the contract.\n#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, strum::EnumIter)]\npub enum Rpc {{\n{variants}}}\n\
         impl Rpc {{\n/// Its path on the wire.\n#[must_use]\npub const fn path(self) -> &'static str {{\nmatch self {{\n{paths}}}\n}}\n}}\n"
    );
    let out = std::env::var("OUT_DIR")?;
    std::fs::write(Path::new(&out).join("rpc.rs"), list)?;
    std::fs::write(Path::new(&out).join("federation.bin"), compiler.encode_file_descriptor_set())?;
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    println!("cargo:rerun-if-changed=proto");
    Ok(())
}
