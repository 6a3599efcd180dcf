//! The places at which a crash must lose nothing that was promised, and release nothing twice. A test ends a member there;
//! the program has no hook.

use std::ops::ControlFlow;
use std::sync::Arc;

use protocol::client::EffectKind;
use strum::{EnumIter, IntoEnumIterator as _};

/// A place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
    /// An effect of the protocol is carried out.
    Effect(EffectKind, Moment),
    /// A file is replaced, or removed.
    Kept(Kept, Moment),
    /// A line is added to the ledger.
    Ledger(Line, Moment),
    /// The aggregator has accepted the contribution.
    Accepted,
}

/// When.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, EnumIter)]
pub enum Moment {
    /// Nothing of it is done.
    Before,
    /// It is done, and durable.
    After,
}

/// What a member keeps in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, EnumIter)]
pub enum Kept {
    /// The TLS key.
    TlsKey,
    /// The key of its signatures.
    SigningKey,
    /// The key to which answers are sealed.
    MailboxKey,
    /// The authority that the invitation pins.
    Authority,
    /// The charter.
    Charter,
    /// Its certificate.
    Certificate,
    /// A renewed certificate in its place.
    Renewal,
    /// What it joined; a folder with this file is whole.
    Membership,
    /// The pinned roster.
    Roster,
    /// Where its ledger stood last.
    LedgerHead,
    /// What it promised and knows.
    Memory,
    /// The adapter state of the next round.
    Adapter,
    /// The state that the round under way came to.
    Candidate,
    /// What opened sums say of held-out units.
    Metrics,
    /// The last event that needs no second look.
    Handled,
    /// The number of the next one-time key.
    NextKey,
    /// A one-time key.
    OneTimeKey,
    /// One-time keys are erased.
    Erasure,
    /// A contribution's body.
    Body,
    /// A contribution's sealed shares.
    SealedShares,
    /// A contribution's manifest; an attempt with this file is whole.
    Manifest,
    /// The files of rounds that are over are removed.
    Forgetting,
}

/// A line of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, EnumIter)]
pub enum Line {
    /// An attempt is charged.
    Reserve,
    /// Its contribution may have left.
    Confirm,
}

/// Somebody to ask at each [`Place`] whether to end there; nobody in the program.
#[derive(Clone, Default)]
pub struct Crash(Option<Arc<dyn Fn(Place) -> ControlFlow<()> + Send + Sync>>);

/// A test ended the member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("stopped by a test at {0:?}")]
pub struct Stopped(pub Place);

impl Place {
    /// All of them. A new effect of the protocol is among them by itself.
    #[must_use]
    pub fn all() -> Vec<Self> {
        let effects = EffectKind::iter().flat_map(|kind| Moment::iter().map(move |moment| Self::Effect(kind, moment)));
        let files = Kept::iter().flat_map(|kept| Moment::iter().map(move |moment| Self::Kept(kept, moment)));
        let lines = Line::iter().flat_map(|line| Moment::iter().map(move |moment| Self::Ledger(line, moment)));
        effects.chain(files).chain(lines).chain([Self::Accepted]).collect()
    }
}

impl Crash {
    /// Asks `hook` at each place.
    pub fn new(hook: impl Fn(Place) -> ControlFlow<()> + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hook)))
    }

    /// Ends at this place.
    pub fn at(place: Place) -> Self {
        Self::new(move |here| if here == place { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
    }

    /// The member is at `place`.
    pub(crate) fn reach(&self, place: Place) -> Result<(), Stopped> {
        match &self.0 {
            Some(hook) if hook(place).is_break() => Err(Stopped(place)),
            _ => Ok(()),
        }
    }

    /// Does something durable to a file.
    pub(crate) fn keep<T, E: From<Stopped>>(&self, kept: Kept, change: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.around(|moment| Place::Kept(kept, moment), change)
    }

    /// Adds lines to the ledger.
    pub(crate) fn line<T, E: From<Stopped>>(&self, line: Line, change: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        self.around(|moment| Place::Ledger(line, moment), change)
    }

    fn around<T, E: From<Stopped>>(
        &self,
        place: impl Fn(Moment) -> Place,
        change: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.reach(place(Moment::Before))?;
        let done = change()?;
        self.reach(place(Moment::After))?;
        Ok(done)
    }
}

impl std::fmt::Debug for Crash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Crash(..)" } else { "Crash(none)" })
    }
}
