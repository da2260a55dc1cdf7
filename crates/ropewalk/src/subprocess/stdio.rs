//! Where the standard streams of a child lead.

use super::{ChildStderr, ChildStdout};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// Where a standard stream of a child leads.
///
/// As std's, and a stream can also be read from, or written to, anything that has a descriptor.
#[derive(Debug)]
pub struct Stdio(pub(super) Kind);

#[derive(Debug)]
pub(super) enum Kind {
    Inherit,
    Null,
    Piped,
    Descriptor(OwnedFd),
    /// For standard error: wherever standard output leads.
    Merged,
}

impl Stdio {
    /// That of this process.
    pub fn inherit() -> Self {
        Self(Kind::Inherit)
    }

    /// Nothing to read, and what is written is thrown away.
    #[doc(alias = "DEVNULL")]
    pub fn null() -> Self {
        Self(Kind::Null)
    }

    /// A pipe whose other end is in the [`Child`](super::Child).
    #[doc(alias = "PIPE")]
    pub fn piped() -> Self {
        Self(Kind::Piped)
    }

    /// For standard error: wherever standard output leads, in the order of the writes.
    #[doc(alias = "STDOUT")]
    pub fn merged() -> Self {
        Self(Kind::Merged)
    }
}

impl<D: Into<OwnedFd>> From<D> for Stdio {
    fn from(descriptor: D) -> Self {
        Self(Kind::Descriptor(descriptor.into()))
    }
}

impl From<ChildStdout> for OwnedFd {
    /// The pipe, which blocks as usual again: another program may get it.
    fn from(stdout: ChildStdout) -> Self {
        stdout.into_descriptor()
    }
}

impl From<ChildStderr> for OwnedFd {
    /// The pipe, which blocks as usual again: another program may get it.
    fn from(stderr: ChildStderr) -> Self {
        stderr.into_descriptor()
    }
}

impl Kind {
    /// What was given, or else what the command says, or else `otherwise`.
    pub(super) fn choose(given: Option<OwnedFd>, own: Option<&Stdio>, otherwise: Self) -> io::Result<Self> {
        match (given, own) {
            (Some(given), _) => Ok(Self::Descriptor(given)),
            (None, None) => Ok(otherwise),
            // The command may be started once more, and be merged then too.
            (None, Some(Stdio(Self::Merged))) => Ok(Self::Merged),
            (None, Some(Stdio(Self::Piped))) => Ok(Self::Piped),
            (None, Some(Stdio(Self::Inherit))) => Ok(Self::Inherit),
            (None, Some(own)) => own.0.again(),
        }
    }

    /// Where this leads, once more: for another stream of the same child. Inherited is that of standard output.
    pub(super) fn again(&self) -> io::Result<Self> {
        match self {
            Self::Inherit | Self::Merged => Ok(Self::Descriptor(io::stdout().as_fd().try_clone_to_owned()?)),
            Self::Descriptor(descriptor) => Ok(Self::Descriptor(descriptor.try_clone()?)),
            Self::Null | Self::Piped => Ok(Self::Null),
        }
    }

    pub(super) fn into_std(self) -> std::process::Stdio {
        match self {
            Self::Inherit | Self::Merged => std::process::Stdio::inherit(),
            Self::Null => std::process::Stdio::null(),
            Self::Piped => std::process::Stdio::piped(),
            Self::Descriptor(descriptor) => descriptor.into(),
        }
    }
}
