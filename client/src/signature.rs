//! A JSON file that this house signs with the key that the roster has, for people who verify it with common tools.

use std::path::Path;

use base64::Engine as _;
use protocol::{Digest, PublicKey, Signer};

use crate::files::{self, FileError};

/// The public key beside a signed file.
const PUBLIC_KEY: &str = "house.pub.pem";

/// Makes the folder `out`, whole or not at all: `json`, an object, as the file `name`, its signature (64 bytes of Ed25519) as `name`.sig, the public key,
/// README.md, and the files beside them.
pub(crate) fn write_folder(
    out: &Path,
    (name, json): (&str, &str),
    signer: &Signer,
    readme: &str,
    others: &[(&str, &[u8])],
) -> Result<(), FileError> {
    // A JSON object always begins as one.
    let signature = signer.sign_json(json).unwrap_or([0; 64]);
    files::write_folder(out, |folder| {
        for (name, bytes) in others {
            files::write(&folder.join(name), bytes)?;
        }
        files::write(&folder.join(name), json.as_bytes())?;
        files::write(&folder.join(format!("{name}.sig")), &signature)?;
        files::write(&folder.join(PUBLIC_KEY), pem(&signer.public_key()).as_bytes())?;
        files::write(&folder.join("README.md"), readme.as_bytes())
    })
}

/// Two steps of a README.md: the signature of the file `name`, and whose key it is.
pub(crate) fn how_to_verify(name: &str, key_sha256: &Digest) -> String {
    format!(
        "1. The signature, with OpenSSL 3 or later:\n\
         \n\
         ```\n\
         openssl pkeyutl -verify -pubin -inkey {PUBLIC_KEY} -rawin -in {name} -sigfile {name}.sig\n\
         ```\n\
         \n\
         2. That `{PUBLIC_KEY}` is this house's key: its fingerprint, SHA-256 of the 32 bytes, is {key_sha256}. Any other member reads it in\n   `plainchant-client roster show DIR`, which prints the first 40 digits, and it stands in the roster of the record:\n\
         \n\
         ```\n\
         openssl pkey -pubin -in {PUBLIC_KEY} -outform DER | tail -c 32 | sha256sum\n\
         ```\n"
    )
}

/// The key as OpenSSL reads it: a SubjectPublicKeyInfo of RFC 8410, section 4.
fn pem(key: &PublicKey) -> String {
    const PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let der = [PREFIX.as_slice(), key.as_bytes()].concat();
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
}
