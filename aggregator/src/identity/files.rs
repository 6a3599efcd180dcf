//! Secret files: made once, readable by their owner only, flushed to the disk before they count.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use super::IdentityError;

/// Larger than any key or certificate of ours.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Writes a file that is not there yet.
pub(super) fn write_new(path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    let write = || -> std::io::Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let mut file = options.open(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(|source| IdentityError::File { path: path.to_path_buf(), source })
}

/// Reads a text file of ours.
pub(super) fn read_text(path: &Path) -> Result<Zeroizing<String>, IdentityError> {
    let read = || -> std::io::Result<Zeroizing<String>> {
        let mut text = Zeroizing::new(String::new());
        File::open(path)?.take(MAX_FILE_BYTES).read_to_string(&mut text)?;
        Ok(text)
    };
    read().map_err(|source| IdentityError::File { path: path.to_path_buf(), source })
}

/// Reads a file of exactly 32 bytes.
pub(super) fn read_seed(path: &Path) -> Result<Zeroizing<[u8; 32]>, IdentityError> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(64));
    File::open(path)
        .and_then(|file| file.take(64).read_to_end(&mut bytes))
        .map_err(|source| IdentityError::File { path: path.to_path_buf(), source })?;
    let seed: [u8; 32] = bytes.as_slice().try_into().map_err(|_| IdentityError::Length {
        path: path.to_path_buf(),
        found: bytes.len(),
        expected: 32,
    })?;
    Ok(Zeroizing::new(seed))
}

/// The certificate in a PEM file.
pub(super) fn pem_to_der(path: &Path, pem: &[u8]) -> Result<Vec<u8>, IdentityError> {
    CertificateDer::from_pem_slice(pem).map(|der| der.to_vec()).map_err(|_| IdentityError::Malformed {
        path: path.to_path_buf(),
        source: rcgen::Error::CouldNotParseCertificate,
    })
}
