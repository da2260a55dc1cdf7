//! What the sockets have in common, written once: other owners, options that the system keeps, time limits, streams.

/// Handles, owners and modes of a socket.
macro_rules! face {
    ($type:ident, std: $std:ty, tokio: $tokio:ty, says: $name:literal) => {
        impl $type {
            #[doc = concat!("Takes over a `", $name, "` of std's.")]
            ///
            /// The descriptor becomes non-blocking, and so do duplicates of it (std's `try_clone`). Time limits that were set
            /// before are not taken over.
            ///
            /// # Errors
            ///
            /// When the system refuses to make it non-blocking.
            pub fn from_std(socket: $std) -> io::Result<Self> {
                socket.set_nonblocking(true)?;
                Ok(Self { socket: Socket::new(OwnedFd::from(socket).into()) })
            }

            #[doc = concat!("Gives the socket away as a `", $name, "` of std's, which blocks.")]
            ///
            /// # Errors
            ///
            /// `ResourceBusy` while there are other handles (`try_clone`): they need it non-blocking. This handle is gone
            /// then.
            pub fn into_std(self) -> io::Result<$std> {
                let descriptor = self.socket.into_only().map_err(|_| {
                    io::Error::new(io::ErrorKind::ResourceBusy, "other handles of the socket need it non-blocking")
                })?;
                let socket = <$std>::from(descriptor);
                socket.set_nonblocking(false)?;
                Ok(socket)
            }

            #[doc = concat!("Takes over a `", $name, "` of tokio's, from whatever runtime.")]
            ///
            /// # Errors
            ///
            /// When the runtime does not let go of it.
            pub fn from_tokio(socket: $tokio) -> io::Result<Self> {
                Ok(Self { socket: Socket::new(OwnedFd::from(socket.into_std()?).into()) })
            }

            #[doc = concat!("Gives the socket away as a `", $name, "` of tokio's, for async code.")]
            ///
            /// While there are other handles (`try_clone`), tokio's is a duplicate and they stay what they are.
            ///
            /// # Panics
            ///
            /// Where no runtime is at hand. One is in greenlets, in async code, and inside
            /// [`block_on`](crate::block_on)`(async { .. })` on a plain thread.
            ///
            /// # Errors
            ///
            /// When the reactor does not take it, or there is no descriptor for a duplicate.
            #[track_caller]
            pub fn into_tokio(self) -> io::Result<$tokio> {
                <$tokio>::from_std(self.socket.into_any()?.into())
            }

            /// Another handle of the same socket. Time limits and modes are those of the socket.
            ///
            /// # Errors
            ///
            /// None; the result is that of std's method.
            pub fn try_clone(&self) -> io::Result<Self> {
                Ok(Self { socket: self.socket.clone() })
            }

            /// Makes every call of this socket's that would wait fail with `WouldBlock` instead, or ends that.
            ///
            /// # Errors
            ///
            /// None; the result is that of std's method.
            pub fn set_nonblocking(&self, nonblocking: bool) -> io::Result<()> {
                self.socket.set_nonblocking(nonblocking);
                Ok(())
            }

            /// The error that the system keeps for this socket, which is cleared.
            ///
            /// # Errors
            ///
            /// When the system does not tell.
            pub fn take_error(&self) -> io::Result<Option<io::Error>> {
                self.socket.io().take_error()
            }
        }

        impl AsFd for $type {
            fn as_fd(&self) -> BorrowedFd<'_> {
                self.socket.as_fd()
            }
        }

        impl AsRawFd for $type {
            fn as_raw_fd(&self) -> RawFd {
                self.socket.as_fd().as_raw_fd()
            }
        }

        impl TryFrom<OwnedFd> for $type {
            type Error = io::Error;

            fn try_from(descriptor: OwnedFd) -> io::Result<Self> {
                Self::from_std(descriptor.into())
            }
        }

        impl TryFrom<$type> for OwnedFd {
            type Error = io::Error;

            fn try_from(socket: $type) -> io::Result<Self> {
                socket.into_std().map(Self::from)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.socket.fmt(f)
            }
        }
    };
}
pub(super) use face;

/// Methods that only ask or tell the system something.
macro_rules! options {
    ($type:ident { $($(#[$attribute:meta])* fn $name:ident(&self $(, $argument:ident: $of:ty)*) -> $result:ty;)* }) => {
        impl $type {
            $(
                $(#[$attribute])*
                ///
                /// # Errors
                ///
                /// Whatever the system says.
                pub fn $name(&self $(, $argument: $of)*) -> io::Result<$result> {
                    self.socket.io().$name($($argument),*)
                }
            )*
        }
    };
}
pub(super) use options;

/// Time limits of reads and writes.
macro_rules! timeouts {
    ($type:ident) => {
        impl $type {
            /// How long a read may wait; None for as long as it takes. A read that waits longer fails with `TimedOut`.
            ///
            /// Holds for every handle of the socket, and for calls that begin afterwards.
            ///
            /// # Errors
            ///
            /// `InvalidInput` for a limit of zero.
            pub fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                self.socket.read_timeout().set(timeout)
            }

            /// How long a write may wait; None for as long as it takes. A write that waits longer fails with `TimedOut`.
            ///
            /// Holds for every handle of the socket, and for calls that begin afterwards.
            ///
            /// # Errors
            ///
            /// `InvalidInput` for a limit of zero.
            pub fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
                self.socket.write_timeout().set(timeout)
            }

            /// How long a read may wait.
            ///
            /// # Errors
            ///
            /// None; the result is that of std's method.
            pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
                Ok(self.socket.read_timeout().get())
            }

            /// How long a write may wait.
            ///
            /// # Errors
            ///
            /// None; the result is that of std's method.
            pub fn write_timeout(&self) -> io::Result<Option<Duration>> {
                Ok(self.socket.write_timeout().get())
            }
        }
    };
}
pub(super) use timeouts;

/// `Read` and `Write` for a stream and for a reference to it. `$taken` says what a read tells about what is left.
macro_rules! stream {
    ($type:ident, $taken:expr) => {
        impl Read for &$type {
            #[track_caller]
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.socket.take(|mut io| Ok($taken(io.read(buffer)?, buffer.len())))
            }

            #[track_caller]
            fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                self.socket.take(|mut io| Ok($taken(io.read_vectored(buffers)?, socket::total(buffers))))
            }
        }

        impl Write for &$type {
            #[track_caller]
            fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
                self.socket.give(|mut io| Ok(socket::written(io.write(buffer)?, buffer.len())))
            }

            #[track_caller]
            fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
                self.socket.give(|mut io| Ok(socket::written(io.write_vectored(buffers)?, socket::total(buffers))))
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        impl Read for $type {
            #[track_caller]
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                (&*self).read(buffer)
            }

            #[track_caller]
            fn read_vectored(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
                (&*self).read_vectored(buffers)
            }
        }

        impl Write for $type {
            #[track_caller]
            fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
                (&*self).write(buffer)
            }

            #[track_caller]
            fn write_vectored(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
                (&*self).write_vectored(buffers)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
    };
}
pub(super) use stream;
