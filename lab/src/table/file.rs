//! Files that appear whole.

use std::io::Write as _;
use std::path::Path;

use super::TableError;

/// Writes a file beside `path` and moves it there.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<(), TableError> {
    write(path, bytes).map_err(|source| TableError::File { doing: "write", path: path.to_owned(), source })
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let mut builder = tempfile::Builder::new();
    // Results are for colleagues too; the process's umask still applies.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.prefix(".plainchant-").tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
