//! The I/O-bound work: one GET over a connection that its thread keeps open and uses again.
//!
//! The client is ureq's. Between it and the socket stands `Clocked`, which writes down when the socket made its thread
//! wait: looking up a name, connecting, reading what has not arrived yet. Time outside these is computing.

use std::cell::RefCell;
use std::io::Read as _;
use std::time::Duration;

use ropewalk_profile::timeline::{Cause, Wait};
use sha2::{Digest as _, Sha256};
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{Buffers, ConnectionDetails, Connector, NextTimeout, TcpConnector, Transport};

use super::hex;
use super::transport::{ForGreenlets, Names};
use crate::exit::Expected;
use crate::lab::usage;

/// Longest wait for a connection, and for each answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes of each of a connection's two buffers: an answer of the lab's own server fits.
const BUFFER_BYTES: usize = 16 * 1024;

thread_local! {
    /// One client for each thread, so that a thread keeps its connection, and greenlets of one share what is idle.
    static AGENT: ureq::Agent = agent();
}

ropewalk::greenlet_local! {
    /// Waits of the request in progress on this thread, or in this greenlet.
    static WAITS: RefCell<Vec<Wait>> = RefCell::new(Vec::new());
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder()
        // No timeout that covers the lookup of the name: ureq starts a thread for each of those.
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE))
        .timeout_recv_body(Some(PATIENCE))
        // Every model fetches exactly what was asked for, straight from where it is.
        .max_redirects(0)
        .max_redirects_will_error(false)
        .http_status_as_error(false)
        .proxy(None)
        // The default of 128 KiB each would be most of what 160 threads touch, and all of it is cleared first.
        .input_buffer_size(BUFFER_BYTES)
        .output_buffer_size(BUFFER_BYTES)
        .user_agent(concat!("ropewalk-lab/", env!("CARGO_PKG_VERSION")))
        .build();
    let connector = ().chain(ForGreenlets).chain(Clocked(TcpConnector::default()));
    #[cfg(feature = "tls")]
    let connector = connector.chain(ureq::unversioned::transport::RustlsConnector::default());
    ureq::Agent::with_parts(config, connector, Clocked(Names::default()))
}

/// Fetches `url` and returns the SHA-256 of its body; adds what it waited for to `waits`.
pub fn get(url: &str, waits: &mut Vec<Wait>) -> Result<String, String> {
    WAITS.with(|w| w.borrow_mut().clear());
    let body = fetch(url);
    WAITS.with(|w| waits.append(&mut w.borrow_mut()));
    body.map(|b| hex(&Sha256::digest(&b)))
}

fn fetch(url: &str) -> Result<Vec<u8>, String> {
    // A clone, since a greenlet must not hold a thread-local while it waits.
    let agent = AGENT.with(ureq::Agent::clone);
    let answer = agent.get(url).call().map_err(|e| e.to_string())?;
    let status = answer.status();
    if status.is_redirection() {
        let to = answer.headers().get("location").and_then(|v| v.to_str().ok()).unwrap_or("somewhere else");
        return Err(format!("answered {status} and points to {to}"));
    }
    if !status.is_success() {
        return Err(format!("answered {status}"));
    }
    let mut body = Vec::new();
    // A body shorter than its announced length is an error here already.
    answer.into_body().into_reader().read_to_end(&mut body).map_err(|e| format!("broke off in the body: {e}"))?;
    Ok(body)
}

/// Fetches each of the user's `urls` twice, before anything is measured, and returns what every later body must be: the
/// hash where both fetches agreed, `None` for a page that changes by itself, of which only status and completeness are
/// checked.
///
/// # Errors
/// Names the first URL that does not answer as it must, and says why.
pub fn survey(urls: &[String]) -> Result<Vec<Option<String>>, Expected> {
    urls.iter()
        .map(|url| {
            // Not shown: the part before an `@` may be a password, even where the rest is no URL.
            let after_scheme = url.split_once(':').map_or(url.as_str(), |(_, rest)| rest);
            let authority = after_scheme.trim_start_matches(['/', '\\']).split(['/', '?', '#']).next();
            if authority.is_some_and(|authority| authority.contains('@')) {
                return Err(Expected::Usage(
                    "--url: a user and password in a URL would stand in everything that the lab writes; name one that needs \
                     none"
                        .to_owned(),
                ));
            }
            let refused = |why: String| Expected::Unreachable(format!("--url {url}: {why}"));
            let parsed: Uri = url.parse().map_err(|e| refused(format!("is not a URL: {e}")))?;
            match parsed.scheme_str() {
                Some("http") => {}
                Some("https") if cfg!(feature = "tls") => {}
                Some("https") => {
                    let how =
                        "this build has no TLS; build it with `--features ropewalk-cli/tls`, or name an http:// URL";
                    return Err(refused(how.to_owned()));
                }
                _ => return Err(refused("must begin with http:// or https://".to_owned())),
            }
            let once = || get(url, &mut Vec::new()).map_err(|why| refused(advise(&why)));
            let (first, second) = (once()?, once()?);
            Ok((first == second).then_some(first))
        })
        .collect()
}

/// Whether it is fetched over TLS.
pub fn is_https(url: &str) -> bool {
    url.parse().is_ok_and(|url: Uri| url.scheme_str() == Some("https"))
}

fn advise(why: &str) -> String {
    match why.split_once(" and points to ") {
        Some(_) => format!("{why}; name that one instead"),
        None => format!("{why}; check that it can be reached from here, then try again"),
    }
}

/// Writes down how long the inner part took.
#[derive(Debug)]
struct Clocked<T>(T);

pub(super) fn clocked<R>(f: impl FnOnce() -> R) -> R {
    let start = usage::clock();
    let result = f();
    WAITS.with(|w| w.borrow_mut().push(Wait { start, end: usage::clock(), cause: Cause::Network }));
    result
}

impl<In: Transport, C: Connector<In>> Connector<In> for Clocked<C> {
    type Out = Clocked<C::Out>;

    fn connect(&self, details: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<Self::Out>, ureq::Error> {
        Ok(clocked(|| self.0.connect(details, chained))?.map(Clocked))
    }
}

impl<T: Transport> Transport for Clocked<T> {
    fn buffers(&mut self) -> &mut dyn Buffers {
        self.0.buffers()
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.0.transmit_output(amount, timeout)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        clocked(|| self.0.await_input(timeout))
    }

    fn is_open(&mut self) -> bool {
        self.0.is_open()
    }

    fn is_tls(&self) -> bool {
        self.0.is_tls()
    }
}

impl<R: Resolver> Resolver for Clocked<R> {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        clocked(|| self.0.resolve(uri, config, timeout))
    }
}
