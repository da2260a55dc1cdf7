//! How a Redis broker is opened: the address, and what there is to say before the first word.

use super::watch::Board;
use super::wire::Wire;
use super::{Inner, RedisBroker};
use crate::broker::{BrokerError, Clock, ErrorKind};
use crate::rq::data::Serializer;
use crate::rq::keys::Keys;
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// How a broker is opened: [`RedisBroker::at`].
#[must_use = "it is opened by `open`"]
pub struct Opening {
    url: String,
    prefix: Option<String>,
    serializer: Serializer,
    clock: Option<Box<dyn Clock>>,
}

impl Opening {
    pub(super) fn new(url: String) -> Self {
        Self { url, prefix: None, serializer: Serializer::Json, clock: None }
    }

    /// Keys begin with this, and not with `rq`. rq 3 takes it from `RQ_KEY_PREFIX`. In braces (`{rq}`) it keeps all keys in one place
    /// of a cluster.
    pub fn prefix(self, prefix: impl Into<String>) -> Self {
        Self { prefix: Some(prefix.into()), ..self }
    }

    /// The jobs that are enqueued here are written like this: as everybody else who reads these queues does. Jobs that are
    /// taken are answered in their own form.
    pub fn serializer(self, serializer: Serializer) -> Self {
        Self { serializer, ..self }
    }

    /// Its own idea of time, for tests: Redis itself forgets nothing then.
    pub fn clock(self, clock: impl Clock + 'static) -> Self {
        Self { clock: Some(Box::new(clock)), ..self }
    }

    /// Connects.
    ///
    /// # Errors
    ///
    /// When the address is none, the server cannot be reached, or it does not let us in.
    pub fn open(self) -> Result<RedisBroker, BrokerError> {
        let keys = match &self.prefix {
            Some(prefix) => Keys::with_prefix(prefix)?,
            None => Keys::default(),
        };
        let (client, server) = client(&self.url)?;
        let wire = Wire::new(client.clone(), server.clone())?;
        let board = Arc::new(Board::new(&keys));
        let inner = Inner {
            keys,
            server,
            client,
            wire,
            board,
            serializer: self.serializer,
            clock: self.clock,
            maintain_at: AtomicU64::new(0),
            offset: AtomicI64::new(0),
            begun: Instant::now(),
            given: Mutex::default(),
        };
        let broker = RedisBroker { inner: Arc::new(inner) };
        broker.look_at_the_clock()?;
        Ok(broker)
    }
}

/// Who speaks to the server at this address, and how the address is told to people: without a password.
pub(crate) fn client(url: &str) -> Result<(redis::Client, String), BrokerError> {
    use redis::IntoConnectionInfo as _;
    let wrong = |why: String| BrokerError::new(ErrorKind::Refused, why);
    let info = url.into_connection_info().map_err(|error| {
        wrong(format!(
            "this is no address of Redis: {error}; write redis://HOST:PORT/DB, rediss:// for TLS, or redis+unix:///PATH"
        ))
    })?;
    let server = info.addr().to_string();
    let is_tls = match info.addr() {
        redis::ConnectionAddr::TcpTls { insecure, .. } => {
            if *insecure {
                return Err(unprotected(&server, "#insecure"));
            }
            true
        }
        _ => false,
    };
    let info = info.set_tcp_settings(redis::io::tcp::TcpSettings::default().set_nodelay(true));
    // The connection that listens needs the third version of the protocol, and the other one does no worse by it.
    let settings = info.redis_settings().clone().set_protocol(redis::ProtocolVersion::RESP3).set_skip_set_lib_name();
    let info = info.set_redis_settings(settings);
    let client = if is_tls {
        // The program may have chosen one; without any, TLS would panic.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        redis::Client::build_with_tls(info, certificates(url, &server)?)
    } else {
        if has_words_of_tls(url) {
            return Err(wrong(format!("{server}: `ssl_` words without TLS protect nothing: write rediss://")));
        }
        redis::Client::open(info)
    };
    Ok((client.map_err(|error| wrong(format!("{server} is no address of Redis: {error}")))?, server))
}

/// Whether the address says something of certificates.
fn has_words_of_tls(url: &str) -> bool {
    redis::parse_redis_url(url).is_some_and(|url| url.query_pairs().any(|(name, _)| name.starts_with("ssl_")))
}

fn unprotected(server: &str, word: &str) -> BrokerError {
    BrokerError::new(
        ErrorKind::Refused,
        format!("{server}: a TLS connection whose certificate is not looked at protects nobody: leave `{word}` out"),
    )
}

/// What the address says of certificates, in the words that Python has for it: `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`.
fn certificates(url: &str, server: &str) -> Result<redis::TlsCertificates, BrokerError> {
    let (mut root_cert, mut cert, mut key) = (None, None, None);
    let url = redis::parse_redis_url(url).expect("read as an address before");
    for (name, value) in url.query_pairs() {
        let place = match &*name {
            "ssl_ca_certs" => &mut root_cert,
            "ssl_certfile" => &mut cert,
            "ssl_keyfile" => &mut key,
            "ssl_cert_reqs" if value != "required" => {
                return Err(unprotected(server, &format!("ssl_cert_reqs={value}")));
            }
            "ssl_check_hostname" if !value.eq_ignore_ascii_case("true") => {
                return Err(unprotected(server, &format!("ssl_check_hostname={value}")));
            }
            _ => continue,
        };
        let read = std::fs::read(&*value).map_err(|error| {
            BrokerError::new(ErrorKind::Refused, format!("{server}: {name}={value} cannot be read: {error}"))
        })?;
        *place = Some(read);
    }
    let client_tls = match (cert, key) {
        (Some(client_cert), Some(client_key)) => Some(redis::ClientTlsConfig { client_cert, client_key }),
        (None, None) => None,
        _ => {
            return Err(BrokerError::new(
                ErrorKind::Refused,
                format!("{server}: a certificate of ours needs its key: name both `ssl_certfile` and `ssl_keyfile`"),
            ));
        }
    };
    Ok(redis::TlsCertificates { client_tls, root_cert })
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("prefix", &self.prefix)
            .field("serializer", &self.serializer)
            .finish_non_exhaustive()
    }
}
