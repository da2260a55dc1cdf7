//! ureq on ropewalk's sockets: where a greenlet waits for one, its thread runs others.

use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ropewalk::net::TcpStream;
use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, LazyBuffers, NextTimeout, Transport};

use super::io::clocked;

/// Connects for greenlets; a thread is left to the next connector of the chain, which opens sockets of std's.
#[derive(Debug)]
pub(super) struct ForGreenlets;

/// A connection over a socket of ropewalk's.
pub(super) struct Socket {
    stream: TcpStream,
    buffers: LazyBuffers,
}

impl Connector<()> for ForGreenlets {
    type Out = Socket;

    fn connect(&self, details: &ConnectionDetails<'_>, _: Option<()>) -> Result<Option<Socket>, Error> {
        if !ropewalk::greenlet::in_greenlet() {
            return Ok(None);
        }
        let mut last = io::Error::from(io::ErrorKind::ConnectionRefused);
        for address in &details.addrs {
            match clocked(|| TcpStream::connect_timeout(address, limit(details.timeout))) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    let config = details.config;
                    let buffers = LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size());
                    return Ok(Some(Socket { stream, buffers }));
                }
                Err(error) => last = error,
            }
        }
        Err(explained(last, details.timeout))
    }
}

/// Looks up the name of a host. The system's lookup blocks its thread, so a greenlet has it done elsewhere.
#[derive(Debug, Default)]
pub(super) struct Names(Arc<DefaultResolver>);

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        // An address is no name.
        let is_name = uri.host().is_some_and(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().is_err());
        if !is_name || !ropewalk::greenlet::in_greenlet() {
            return self.0.resolve(uri, config, timeout);
        }
        let (names, uri, config) = (Arc::clone(&self.0), uri.clone(), config.clone());
        ropewalk::greenlet::offload(move || names.resolve(&uri, &config, timeout))
    }
}

fn limit(timeout: NextTimeout) -> Duration {
    timeout.not_zero().map_or(Duration::MAX, |after| *after)
}

fn explained(error: io::Error, timeout: NextTimeout) -> Error {
    if error.kind() == io::ErrorKind::TimedOut { Error::Timeout(timeout.reason) } else { error.into() }
}

impl Transport for Socket {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.set_write_timeout(timeout.not_zero().map(|after| *after))?;
        let output = &self.buffers.output()[..amount];
        self.stream.write_all(output).map_err(|error| explained(error, timeout))
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.set_read_timeout(timeout.not_zero().map(|after| *after))?;
        let amount = self.stream.read(self.buffers.input_append_buf()).map_err(|error| explained(error, timeout))?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    /// A server that has closed makes the next request fail, which ureq repeats on a new connection.
    fn is_open(&mut self) -> bool {
        true
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("to", &self.stream.peer_addr().ok()).finish_non_exhaustive()
    }
}
