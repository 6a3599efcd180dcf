//! What must survive a restart: a database for everything small, [`Blobs`] for everything large.
//!
//! The engine writes through [`Store::commit`] alone: what belongs together is one transaction, on the disk before
//! anybody is answered. The statements are SQL that SQLite and PostgreSQL both take.

mod blobs;
mod certificates;
mod keys;
mod members;
mod rounds;
mod transition;
mod uploads;
mod writes;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{Connection as _, SqlitePool};

pub use blobs::{BlobError, Blobs, Shelf};
pub use certificates::{NewestCertificate, Renewal, StoredCertificate};
pub use keys::StoredKey;
pub use members::{EnrolError, EnrolledMember, NewMember};
pub use rounds::{StoredAttempt, StoredContribution, StoredEvent, StoredStep};
use transition::Crash;
pub use transition::{CrashHook, Moment, Place, Transition};
pub use uploads::{KeptRun, Upload};
pub use writes::{Setting, Write};

const DATABASE: &str = "plainchant.db";
const BLOBS: &str = "blobs";
/// How long a writer waits for another process (`invite` beside `serve`).
const BUSY: Duration = Duration::from_secs(10);
const CONNECTIONS: u32 = 4;

/// The database and the blobs of one federation.
#[derive(Clone)]
pub struct Store {
    pool: SqlitePool,
    /// Who changes something: the others wait here in the order in which they came, and not by SQLite's own way, which is to try again after a while.
    writer: Arc<tokio::sync::Mutex<()>>,
    blobs: Blobs,
    /// Bytes that the folder may hold, where that is bounded.
    limit: Option<u64>,
    crash: Crash,
}

/// Why the storage could not be used: a failure, never a peer's fault.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be opened.
    #[error("{}: cannot open the database ({source}); {hint}", path.display(), hint = hint(source))]
    Open {
        /// The file.
        path: PathBuf,
        /// What the database said.
        source: sqlx::Error,
    },
    /// The database is of another version.
    #[error("the database does not fit this program: {0}")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// A statement failed; a full disk shows up here.
    #[error("the database failed: {0}")]
    Database(#[from] sqlx::Error),
    /// A blob could not be written or read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// A row holds what no version of this program wrote.
    #[error("the database is damaged: {what} cannot be read; restore it from a backup")]
    Damaged {
        /// Which rows.
        what: &'static str,
    },
    /// A count is beyond what a column holds.
    #[error("{what} is too large to store")]
    Range {
        /// Which number.
        what: &'static str,
    },
}

impl StoreError {
    /// Whether the disk is full: that passes without anybody's fault, once there is room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        /// SQLITE_FULL (sqlite.org/rescode.html).
        const SQLITE_FULL: &str = "13";
        self.is_caused_by(|error| error.kind() == std::io::ErrorKind::StorageFull, SQLITE_FULL)
    }

    /// Whether the process, or the system, may open no more files: that passes once others are closed.
    #[must_use]
    pub fn is_out_of_files(&self) -> bool {
        /// SQLITE_CANTOPEN: of a database that was open before, what else is missing is a descriptor.
        const SQLITE_CANTOPEN: &str = "14";
        use rustix::io::Errno;
        let none_left = |error: &std::io::Error| {
            let code = error.raw_os_error();
            code == Some(Errno::MFILE.raw_os_error()) || code == Some(Errno::NFILE.raw_os_error())
        };
        self.is_caused_by(none_left, SQLITE_CANTOPEN)
    }

    /// Whether the same may work later, without anybody's change to the storage: the disk is full or failed, or somebody else holds the database.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        /// SQLITE_BUSY, SQLITE_LOCKED, SQLITE_IOERR: a full disk is the last of them where SQLite writes beside the database.
        const PASSING: [&str; 3] = ["5", "6", "10"];
        self.is_full() || self.is_out_of_files() || PASSING.iter().any(|code| self.is_caused_by(|_| false, code))
    }

    /// Whether something in the chain is such an error of the system, or an error of SQLite with this code.
    fn is_caused_by(&self, system: impl Fn(&std::io::Error) -> bool, sqlite: &str) -> bool {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(error) = next {
            let found = match error.downcast_ref::<std::io::Error>() {
                Some(io) => system(io),
                None => match error.downcast_ref::<sqlx::Error>() {
                    Some(sqlx::Error::Database(database)) => {
                        database.code().is_some_and(|code| primary(&code) == sqlite)
                    }
                    _ => false,
                },
            };
            if found {
                return true;
            }
            next = error.source();
        }
        false
    }
}

impl Store {
    /// Bytes that are left for this storage: of the disk, and of what [`within`](Self::within) allows.
    ///
    /// # Errors
    /// [`StoreError::Blob`].
    pub fn room(&self) -> Result<u64, StoreError> {
        Ok(self.blobs.room(self.limit)?)
    }

    /// The same storage, which may hold so many MiB, with all that is in its folder; 0: as much as the disk.
    #[must_use]
    pub fn within(mut self, disk_mib: u64) -> Self {
        self.limit = (disk_mib > 0).then(|| disk_mib.saturating_mul(1 << 20));
        self
    }

    /// Opens the storage in `dir`, and makes it there when `create` is set.
    ///
    /// Boxed, so that the future's code is made here once, and not again in every program and test that awaits it.
    ///
    /// # Errors
    /// [`StoreError`] naming the file.
    pub fn open(dir: &Path, create: bool) -> BoxFuture<'_, Result<Self, StoreError>> {
        Box::pin(Self::opened(dir, create))
    }

    async fn opened(dir: &Path, create: bool) -> Result<Self, StoreError> {
        let path = dir.join(DATABASE);
        if create {
            // SQLite's other files take its mode; who took part in what is nobody else's business.
            let made = private_file(&path);
            made.map_err(|source| StoreError::Open { path: path.clone(), source: source.into() })?;
        }
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(create)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            // A file does not go away as a server does.
            .test_before_acquire(false)
            // A full disk makes SQLite roll a transaction back by itself, of which the driver hears nothing: such a connection begins no
            // other, and is given up.
            .after_release(|connection, _| {
                Box::pin(async move {
                    connection.ping().await?;
                    Ok(!connection.is_in_transaction())
                })
            })
            .connect_with(options)
            .await
            .map_err(|source| StoreError::Open { path, source })?;
        sqlx::migrate!("./migrations").run(&pool).await?;
        let (blobs, crash) = (Blobs::open(&dir.join(BLOBS))?, Crash::default());
        Ok(Self { pool, writer: Arc::default(), blobs, limit: None, crash })
    }

    /// The same storage, with a hook at every durable change: for tests of crashes.
    #[must_use]
    pub fn with_crash_hook(mut self, hook: CrashHook) -> Self {
        self.crash = Crash(Some(hook));
        self.blobs = self.blobs.with_crash(self.crash.clone());
        self
    }

    /// True when `dir` holds a database.
    #[must_use]
    pub fn exists(dir: &Path) -> bool {
        dir.join(DATABASE).exists()
    }

    /// The large bodies.
    #[must_use]
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// The value of a setting, when it was written.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub async fn setting(&self, setting: Setting) -> Result<Option<Vec<u8>>, StoreError> {
        let value = sqlx::query_scalar("SELECT value FROM settings WHERE name = $1")
            .bind(setting.name())
            .fetch_optional(&self.pool)
            .await?;
        Ok(value)
    }

    /// Closes the database after the statements under way.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// Makes a folder that only its owner can read: database and sums are nobody else's business. One that is there stays as
/// it is.
pub(crate) fn private_dir(dir: &Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// Makes an empty file that only its owner can read; one that is there stays as it is.
fn private_file(path: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(drop)
}

/// What may be done about a database that does not open.
fn hint(source: &sqlx::Error) -> &'static str {
    let code = source.as_database_error().and_then(|error| error.code()).map(|code| primary(&code));
    match code.as_deref() {
        Some("5" | "6") => "another program holds it: end that, or try again later",
        Some("10" | "13") => "is its disk full?",
        Some("11" | "26") => "it is damaged: restore it from a backup",
        _ => "is this an aggregator's directory?",
    }
}

/// The primary code of one of SQLite's extended ones, which is its low byte.
fn primary(code: &str) -> String {
    code.parse::<u32>().map_or_else(|_| code.to_owned(), |code| (code & 0xff).to_string())
}

/// A count or time as the database's 64-bit signed integer.
fn to_column(number: u64, what: &'static str) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|_| StoreError::Range { what })
}

/// A number of the database as ours.
fn from_column<T: TryFrom<i64>>(number: i64, what: &'static str) -> Result<T, StoreError> {
    T::try_from(number).map_err(|_| StoreError::Damaged { what })
}

/// A digest or key of the database.
fn fixed(bytes: &[u8], what: &'static str) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Damaged { what })
}
