//! The file on disk: read as a whole or refused, changed under a lock, replaced atomically.

mod draft;
mod identity;
mod lock;
mod read;
mod save;
mod spoil;
mod warning;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use time::OffsetDateTime;

pub use draft::{Draft, DraftError, NewToken};
pub use identity::Identity;
pub use read::{LoadError, MAX_FILE_BYTES};
pub use warning::Warning;

pub(crate) use read::{parse, read};

use crate::{format::FormatError, set::TokenSet, token::Token};

/// A token file. It need not exist yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenFile {
    path: PathBuf,
}

/// What a file held when it was read.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The tokens; empty when there is no file.
    pub set: Arc<TokenSet>,
    /// Which file it was; `None` when there is none.
    pub identity: Option<Identity>,
    /// What should be put right although the file is usable.
    pub warnings: Vec<Warning>,
}

/// The outcome of a change that was made.
#[derive(Clone, Debug)]
pub struct Edited<T> {
    /// What the change returned.
    pub value: T,
    /// The tokens after it.
    pub set: Arc<TokenSet>,
    /// What a person should know although the change is made.
    pub warnings: Vec<Warning>,
}

/// Waits for the lock of a file beside the token file, which several servers may write to.
pub(crate) fn lock_beside(path: &Path) -> Result<lock::Lock, EditError> {
    lock::Lock::acquire(&save::resolve(path)?)
}

/// Replaces a file beside the token file.
pub(crate) fn replace_beside(path: &Path, content: &[u8]) -> Result<(), EditError> {
    let real = save::resolve(path)?;
    save::replace(&real, content, || false).map(|_| ())
}

/// Why a change was not made. The file is unchanged.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The existing file is unusable.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Another program, or another edit in this one, has held the lock for too long.
    #[error("another program or thread has held the lock {path} for 10 s; see who with `fuser {path}`, end it, and try again", path = .path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The file was changed in the meantime by a program that does not take the lock, such as an editor.
    #[error("{path} was changed by another program at the same time, and is as that left it; try again", path = .path.display())]
    Overtaken {
        /// The token file.
        path: PathBuf,
    },
    /// The file belongs to another user, and would not after it was replaced.
    #[error("{path} belongs to user {owner}, and only that user or root can replace it without taking it away from them; run this as that user", path = .path.display())]
    Owner {
        /// The token file.
        path: PathBuf,
        /// The number of the user that owns it.
        owner: u32,
    },
    /// The new content is larger than what is ever read back.
    #[error("{path} would have {bytes} bytes, more than the {MAX_FILE_BYTES} that are read; remove tokens that are no longer needed", path = .path.display())]
    TooLarge {
        /// The token file.
        path: PathBuf,
        /// Its new size in bytes.
        bytes: u64,
    },
    /// The new content would be refused by every reader, or read as something else.
    #[error("{path} is unchanged, for after the change it could not be read again: {why}", path = .path.display(), why = not_read_back(.error.as_ref()))]
    NotReadBack {
        /// The token file.
        path: PathBuf,
        /// What is wrong with the content, and where in it; `None` if it would be read as something else.
        error: Option<FormatError>,
    },
    /// The system refused a step.
    #[error("failed to {step} {path}: {source}; the token file is unchanged{hint}", path = .path.display(), hint = read::hint(.source))]
    System {
        /// What was attempted.
        step: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The change itself breaks a rule.
    #[error(transparent)]
    Draft(#[from] DraftError),
}

impl EditError {
    pub(crate) fn system<'a>(
        step: &'static str,
        path: &'a Path,
    ) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| Self::System {
            step,
            path: path.to_owned(),
            source,
        }
    }
}

fn not_read_back(error: Option<&FormatError>) -> String {
    error.map_or_else(
        || "a value that was set would be read as another one; set it otherwise".into(),
        ToString::to_string,
    )
}

impl TokenFile {
    /// Names a file. Nothing is read yet.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Returns the path as it was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads the file. A file that does not exist has no tokens.
    ///
    /// # Errors
    /// The path is empty, or the file cannot be read, is not a regular file, is larger than [`MAX_FILE_BYTES`], or is
    /// not entirely valid.
    pub fn load(&self) -> Result<Loaded, LoadError> {
        match read(&self.path)? {
            None => Ok(Loaded {
                set: Arc::default(),
                identity: None,
                warnings: Vec::new(),
            }),
            Some(content) => Ok(Loaded {
                set: Arc::new(parse(&content.bytes, &self.path, &TokenSet::default())?),
                identity: Some(content.identity),
                warnings: content.warnings,
            }),
        }
    }

    /// Changes the file: locks it, reads it, lets `change` work on a draft, and replaces it if the draft differs.
    ///
    /// The lock is a file beside the real file, `<real file>.lock`, and is waited for up to 10 s.
    /// An edit of the same file inside `change` would wait for itself: put what belongs together
    /// into one draft.
    ///
    /// A crash or a full disk at any moment leaves the old file or the new one, whole. Content that
    /// would not be read back as it is meant is not written. If a program that does not take the
    /// lock changes the file meanwhile, its change is not overwritten. When this returns `Ok`, the
    /// new file is in place: every later reader has it.
    ///
    /// # Errors
    /// The error of `change`, or an [`EditError`]. In both cases the file is unchanged.
    ///
    /// ```
    /// use time::OffsetDateTime;
    /// use token_store::{EditError, NewToken, Secret, TokenFile};
    ///
    /// # let folder = tempfile::tempdir()?;
    /// let file = TokenFile::new(folder.path().join("tokens.yaml"));
    /// let secret = Secret::generate()?;
    /// let made = file.edit(|draft| {
    ///     Ok::<_, EditError>(draft.create(&secret, NewToken::default(), OffsetDateTime::UNIX_EPOCH)?)
    /// })?;
    /// assert_eq!(file.load()?.set.get(&secret.hash()), Some(&made.value));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn edit<T, E: From<EditError>>(
        &self,
        change: impl FnOnce(&mut Draft) -> Result<T, E>,
    ) -> Result<Edited<T>, E> {
        // Checked before anything is created beside it.
        read::expect_file(&self.path).map_err(|error| E::from(error.into()))?;
        let real = save::resolve(&self.path).map_err(E::from)?;
        save::create_folder(&real).map_err(E::from)?;
        let lock = lock::Lock::acquire(&real).map_err(E::from)?;
        let old = read(&self.path).map_err(|error| E::from(error.into()))?;
        let parsed = match &old {
            Some(content) => parse(&content.bytes, &self.path, &TokenSet::default()),
            None => Ok(TokenSet::default()),
        };
        let mut draft = Draft::new(parsed.map_err(|error| E::from(error.into()))?);
        let value = change(&mut draft)?;
        let (set, changed) = draft.finish().map_err(|refused| E::from(refused.into()))?;
        let known = old.as_ref().map(|content| content.identity);
        let mut warnings = old.map_or_else(Vec::new, |content| content.warnings);
        if changed {
            let leads_elsewhere = || save::resolve(&self.path).is_ok_and(|now| now != real);
            let is_overtaken = || Identity::at(&self.path) != known || leads_elsewhere();
            let content = set.to_yaml();
            expect_readable(&content, &set, &self.path).map_err(E::from)?;
            let durable = save::replace(&real, content.as_bytes(), is_overtaken);
            let durable = durable.map_err(E::from)?;
            // Nobody else may read the new file, whoever may have read the old one.
            warnings.retain(|warning| !matches!(warning, Warning::Readable { .. }));
            warnings.extend(durable);
        }
        drop(lock);
        Ok(Edited {
            value,
            set: Arc::new(set),
            warnings,
        })
    }

    /// Removes every token that has expired at `now` and returns them; writes nothing when there
    /// are none.
    ///
    /// # Errors
    /// As [`TokenFile::edit`].
    pub fn remove_expired(
        &self,
        now: OffsetDateTime,
    ) -> Result<Edited<Vec<Arc<Token>>>, EditError> {
        let loaded = self.load()?;
        if !loaded.set.iter().any(|token| token.is_expired(now)) {
            return Ok(Edited {
                value: Vec::new(),
                set: loaded.set,
                warnings: loaded.warnings,
            });
        }
        self.edit(|draft| Ok(draft.remove_where(|token| token.is_expired(now))))
    }
}

/// Refuses content that would not be read back as it is meant: once it was in place, no token would
/// be accepted any more.
fn expect_readable(content: &str, meant: &TokenSet, path: &Path) -> Result<(), EditError> {
    let refused = |error| EditError::NotReadBack {
        path: path.to_owned(),
        error,
    };
    // Not with `parse_next`: what is in a set already would be taken over without being judged.
    let read = TokenSet::parse(content.as_bytes()).map_err(|error| refused(Some(error)))?;
    let is_as_meant = read.iter().len() == meant.iter().len()
        && read
            .iter()
            .zip(meant.iter())
            .all(|(read, meant)| read.is_known_alike(meant));
    is_as_meant.then_some(()).ok_or_else(|| refused(None))
}
