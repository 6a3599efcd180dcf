//! Small files that survive a crash whole: written beside their place, flushed, renamed, the folder flushed. Everything
//! in a client's folder is its owner's only.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// A file operation that failed, with the file.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct FileError {
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

pub(crate) trait Named<T> {
    fn at(self, path: &Path) -> Result<T, FileError>;
}

impl<T> Named<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T, FileError> {
        self.map_err(|source| FileError { path: path.to_owned(), source })
    }
}

/// Makes a folder that only its owner can read, and those that it lies in.
pub(crate) fn create_dir(path: &Path) -> Result<(), FileError> {
    if path.is_dir() {
        return Ok(());
    }
    let within = folder_of(path);
    create_dir(within)?;
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => return Ok(()),
        other => other.at(path)?,
    }
    open_dir(path).and_then(|made| give(&made, within)).at(path)
}

/// A folder, and not one that a link leads to: whoever owns the folder that it lies in could have put a link in its place.
#[cfg(unix)]
fn open_dir(path: &Path) -> io::Result<File> {
    use rustix::fs::OFlags;
    let flags = OFlags::NOFOLLOW | OFlags::DIRECTORY;
    let mut options = OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits().cast_signed());
    options.read(true).open(path)
}

#[cfg(not(unix))]
fn open_dir(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// The file by whose lock processes take turns, made where there is none.
pub(crate) fn open_lock(path: &Path) -> Result<File, FileError> {
    match create_new(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            OpenOptions::new().write(true).open(path).at(path)
        }
        other => other.at(path),
    }
}

/// Makes a file that only its owner can read: never takes one that is there, or that a link leads to, since its owner may be changed.
fn create_new(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(path)?;
    give(&file, folder_of(path))?;
    Ok(file)
}

/// What root makes in a folder of somebody else's is that one's: the service, which runs as that user, could not open it else.
#[cfg(unix)]
fn give(made: &File, folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    let owner = fs::metadata(folder)?;
    if made.metadata()?.uid() == 0 && owner.uid() != 0 {
        fchown(made, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn give(_: &File, _: &Path) -> io::Result<()> {
    Ok(())
}

/// Puts `bytes` at `path`, replacing what is there: after a crash the old file or the new one is there, whole.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    let write = || -> io::Result<()> {
        // What was left of an earlier time.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = create_new(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        sync_folder(path)
    };
    write().at(path)
}

/// Makes the folder `path` whole or not at all: `fill` writes into one beside it, which then takes its name.
pub(crate) fn write_folder(path: &Path, fill: impl FnOnce(&Path) -> Result<(), FileError>) -> Result<(), FileError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = path.with_file_name(name);
    // What was left of an earlier time.
    if beside.exists() {
        fs::remove_dir_all(&beside).at(&beside)?;
    }
    create_dir(&beside)?;
    fill(&beside)?;
    fs::rename(&beside, path).at(path)?;
    sync_folder(path).at(path)
}

/// The bytes at `path`, at most `limit` of them; `None` when there is no such file.
pub(crate) fn read(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, FileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).at(path),
    };
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).at(path)?;
    if bytes.len() > limit {
        return Err(io::Error::other(format!("is larger than {limit} bytes"))).at(path);
    }
    Ok(Some(bytes))
}

/// A secret of exactly 32 bytes; `None` when there is no such file.
pub(crate) fn read_secret(path: &Path) -> Result<Option<Zeroizing<[u8; 32]>>, FileError> {
    let Some(bytes) = read(path, 32)?.map(Zeroizing::new) else { return Ok(None) };
    let wrong = || io::Error::other(format!("has {} bytes; a key has 32", bytes.len()));
    let key: [u8; 32] = bytes.as_slice().try_into().map_err(|_| wrong()).at(path)?;
    Ok(Some(Zeroizing::new(key)))
}

/// Removes a secret; its bytes are overwritten first, as far as the file system allows that.
pub(crate) fn erase(path: &Path) -> Result<(), FileError> {
    let erase = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(path)?;
        let length = file.metadata()?.len();
        file.write_all(&vec![0; usize::try_from(length).unwrap_or(0)])?;
        file.sync_all()?;
        fs::remove_file(path)?;
        sync_folder(path)
    };
    match erase() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.at(path),
    }
}

/// Bytes that the disk of the folder `dir` has left.
pub(crate) fn room(dir: &Path) -> Result<u64, FileError> {
    let disk = rustix::fs::statvfs(dir).map_err(io::Error::from).at(dir)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Whether this user may make files in the folder `dir`.
pub(crate) fn may_write(dir: &Path) -> Result<(), FileError> {
    use rustix::fs::Access;
    rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from).at(dir)
}

/// The files in these folders that others than their owner can open, as their own modes say. A folder that is not there has none.
pub(crate) fn readable_by_others(folders: &[PathBuf]) -> Result<Vec<PathBuf>, FileError> {
    let mut found = Vec::new();
    for folder in folders {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error).at(folder),
        };
        for entry in entries {
            let entry = entry.at(folder)?;
            if is_open(&entry.metadata().at(&entry.path())?) {
                found.push(entry.path());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Whether others than its owner can open this file; one that is not there, nobody can.
pub(crate) fn is_readable_by_others(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|file| is_open(&file))
}

#[cfg(unix)]
fn is_open(file: &fs::Metadata) -> bool {
    std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o077 != 0
}

#[cfg(not(unix))]
fn is_open(_: &fs::Metadata) -> bool {
    false
}

/// Flushes the folder of `path`, so that a new name survives a crash too.
fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_file_is_replaced_read_within_its_limit_and_erased() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert!(read(&path, 9).unwrap().is_none());
        write(&path, &[1; 40]).unwrap();
        assert!(read_secret(&path).unwrap_err().to_string().contains("larger than 32"));
        write(&path, &[2; 32]).unwrap();
        assert_eq!(*read_secret(&path).unwrap().unwrap(), [2; 32]);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        erase(&path).unwrap();
        erase(&path).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
