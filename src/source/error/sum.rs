//! Why a source cannot be used, and what to do next.
//!
//! Owns the sum of what the files beside it refuse. Each kind of source has its own errors, and text is made of them by
//! `Display`; only [`SourceError::what`] puts the causes behind.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::archive::ArchiveError;
use super::download::DownloadError;
use super::git::GitError;
use super::refused::RefusedEntry;
use super::repository::RepositoryError;
use super::unfit::Unfit;
use super::unknown_ref::UnknownRef;
use crate::source::quote::{list, show};

/// Why a source cannot be used.
#[derive(Debug)]
pub enum SourceError {
    /// A ref means no commit.
    Ref(UnknownRef),
    /// A setting of `[source]` is wrong.
    Setting(SettingError),
    /// Git cannot give what is released.
    Git(GitError),
    /// The repository that servers fetch from cannot be used.
    Repository(RepositoryError),
    /// A tar file cannot be used.
    Archive(ArchiveError),
    /// An archive cannot be downloaded.
    Download(DownloadError),
    /// A directory holds what a release must not.
    Directory {
        /// The directory.
        root: PathBuf,
        /// What it holds.
        found: Vec<Unfit>,
    },
    /// An entry cannot be part of a release.
    Entry(RefusedEntry),
    /// The source has changed since it was resolved.
    Changed(PathBuf),
    /// A file cannot be read.
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The packed release cannot be written.
    NoSpace(io::Error),
    /// Servers fetch the source: nothing of it is packed.
    Fetched,
    /// The run was interrupted.
    Stopped,
}

/// What is wrong with a setting of `[source]`.
#[derive(Debug)]
pub enum SettingError {
    /// `path` leads nowhere.
    Path {
        /// The path.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// `path` is no directory, and `kind` wants one.
    NoDirectory(PathBuf),
    /// A secret that it names does not exist.
    NoSecret(String),
    /// A secret that it names is no URL.
    NoUrl {
        /// The secret's name.
        secret: String,
        /// A predicate: "is nothing that …".
        fault: String,
        /// What to write.
        hint: String,
    },
    /// No checksum says which archive is meant.
    NoChecksum,
    /// The login to the repository holds a control character.
    Login,
    /// A link to an object of a store cannot be signed.
    Signing {
        /// The bucket.
        bucket: String,
        /// The object.
        key: String,
        /// What is wrong.
        fault: SigningFault,
    },
}

/// Why a link cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SigningFault {
    /// The environment holds no credentials.
    NoCredentials,
    /// The object's name has a segment that no URL keeps.
    Key,
    /// The endpoint is no URL.
    Endpoint(String),
}

impl SourceError {
    /// Tells the whole of it on one line, causes included.
    pub fn what(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        text
    }

    /// Says what to do next; may be empty.
    pub fn hint(&self) -> String {
        match self {
            Self::Ref(error) => error.hint(),
            Self::Setting(error) => error.hint().to_owned(),
            Self::Git(error) => error.hint(),
            Self::Repository(error) => error.hint().to_owned(),
            Self::Archive(error) => error.hint(),
            Self::Download(error) => error.hint().to_owned(),
            Self::Directory { .. } => {
                "Remove them or make them readable; a release holds files, links and directories only.".to_owned()
            }
            Self::Entry(_) => "Nothing was sent. Correct the source.".to_owned(),
            Self::Changed(_) => "Wait until whatever writes there is done, and deploy again.".to_owned(),
            Self::NoSpace(_) => "Make room there, or point TMPDIR to a directory that has room.".to_owned(),
            Self::Unreadable { .. } | Self::Fetched | Self::Stopped => String::new(),
        }
    }

    /// Tells whether another machine did not answer, or answered something else.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Repository(error) => matches!(error, RepositoryError::Failed { .. }),
            Self::Download(error) => !matches!(error, DownloadError::Another { .. }),
            _ => false,
        }
    }
}

impl SettingError {
    fn hint(&self) -> &str {
        match self {
            Self::Path { .. } => "Correct `path` in [source] of pitcrew.toml.",
            Self::NoDirectory(_) => "Set `kind = \"archive\"` in [source] to release a tar file.",
            Self::NoSecret(_) => "Add it to [secrets].",
            Self::NoUrl { hint, .. } => hint,
            Self::NoChecksum => "Write `pitcrew deploy SHA256`, or `sha256` in [source].",
            Self::Signing { fault: SigningFault::NoCredentials, .. } => {
                "Export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and AWS_SESSION_TOKEN where there is one: \
                 `aws configure export-credentials --format env` prints them."
            }
            Self::Login | Self::Signing { .. } => "",
        }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ref(error) => error.fmt(f),
            Self::Setting(error) => error.fmt(f),
            Self::Git(error) => error.fmt(f),
            Self::Repository(error) => error.fmt(f),
            Self::Archive(error) => error.fmt(f),
            Self::Download(error) => error.fmt(f),
            Self::Directory { root, found } => {
                let found: Vec<String> = found.iter().map(Unfit::to_string).collect();
                write!(f, "cannot release {}: it holds {}", show(root), list(&found))
            }
            Self::Entry(error) => error.fmt(f),
            Self::Changed(path) => write!(f, "cannot pack {}: it has changed since the run began", show(path)),
            Self::Unreadable { path, .. } => write!(f, "cannot read {}", show(path)),
            Self::NoSpace(_) => write!(f, "cannot write the packed release in {}", show(&std::env::temp_dir())),
            Self::Fetched => f.write_str("cannot pack what servers fetch"),
            Self::Stopped => f.write_str("cannot finish packing: the run was interrupted"),
        }
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path { path, .. } => write!(f, "cannot open {}", show(path)),
            Self::NoDirectory(path) => write!(f, "cannot release {}: it is not a directory", show(path)),
            Self::NoSecret(name) => write!(f, "cannot find the secret {name}"),
            Self::NoUrl { secret, fault, .. } => write!(f, "cannot use the secret {secret} as a URL: it {fault}"),
            Self::NoChecksum => f.write_str("cannot tell which archive to release: no checksum is given"),
            Self::Login => {
                f.write_str("cannot log in to the repository: a control character is in the user or the password")
            }
            Self::Signing { bucket, key, fault } => {
                write!(f, "cannot sign a link to s3://{bucket}/{key}: {fault}")
            }
        }
    }
}

impl fmt::Display for SigningFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoCredentials => f.write_str("there are no credentials in the environment"),
            Self::Key => f.write_str("its key has an empty segment, `.` or `..`"),
            Self::Endpoint(endpoint) => write!(f, "{endpoint} is no http(s) URL"),
        }
    }
}

impl std::error::Error for SourceError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Git(error) => error.source(),
            Self::Archive(error) => error.source(),
            Self::Download(error) => error.source(),
            Self::Setting(SettingError::Path { source, .. }) | Self::Unreadable { source, .. } => Some(source),
            Self::NoSpace(error) => Some(error),
            _ => None,
        }
    }
}

/// Makes every kind of error a [`SourceError`].
macro_rules! from {
    ($($kind:ident($error:ty)),*) => {$(
        impl From<$error> for SourceError {
            fn from(error: $error) -> Self {
                Self::$kind(error)
            }
        }
    )*};
}

from!(
    Ref(UnknownRef),
    Setting(SettingError),
    Git(GitError),
    Repository(RepositoryError),
    Archive(ArchiveError),
    Download(DownloadError),
    Entry(RefusedEntry)
);
