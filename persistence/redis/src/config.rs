//! Where Redis is, and what is said when it cannot be used.

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, ServerErrorKind, TlsCertificates, aio::MultiplexedConnection,
};
use std::path::PathBuf;
use std::time::Duration;

/// A connection that is not there by then is given up.
const CONNECT_PATIENCE: Duration = Duration::from_secs(1);
/// Of requests that nobody waits for.
const ANSWER_PATIENCE: Duration = Duration::from_secs(1);

/// How to reach Redis.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// `host:port`.
    pub address: String,
    /// Empty: the default user.
    pub user: String,
    /// Empty: Redis asks for none.
    pub password: String,
    /// Speak TLS.
    pub tls: bool,
    /// Certificates of those who may sign Redis's, PEM; empty: those that the system trusts.
    pub ca_file: PathBuf,
    /// What every key begins with.
    pub prefix: String,
    /// A conversation's window goes so many seconds after its last message.
    pub window_s: u64,
}

/// Why Redis cannot be used: one line, with a cure.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The side thread does not start.
    #[error("cannot start the thread of Redis: {0}")]
    Thread(std::io::Error),
    /// The address is none.
    #[error("redis.address = {0:?}: must be host:port, as in 127.0.0.1:6379")]
    Address(String),
    /// The certificates cannot be used.
    #[error("redis.ca_file = {0}: {1}; name a PEM file, or none to trust what the system does")]
    CaFile(String, String),
    /// It does not answer, or refuses.
    #[error("{0}")]
    Refused(String),
}

impl Config {
    /// Reads what there is to read: address and certificates.
    pub(crate) fn client(&self) -> Result<Client, OpenError> {
        let wrong = || OpenError::Address(self.address.clone());
        let (host, port) = self.address.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port: u16 = port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?;
        let addr = match self.tls {
            false => ConnectionAddr::Tcp(host, port),
            true => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
        };
        let mut login = RedisConnectionInfo::default();
        if !self.user.is_empty() {
            login = login.set_username(&self.user);
        }
        if !self.password.is_empty() {
            login = login.set_password(&self.password);
        }
        let info = addr.into_connection_info().map_err(|_| wrong())?.set_redis_settings(login);
        if !self.tls {
            return Client::open(info).map_err(|_| wrong());
        }
        // The second one finds the first one's, which is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let bad = |why: String| OpenError::CaFile(self.ca_file.display().to_string(), why);
        let root_cert = match self.ca_file.as_os_str().is_empty() {
            true => None,
            false => Some(std::fs::read(&self.ca_file).map_err(|error| bad(error.to_string()))?),
        };
        let certificates = TlsCertificates { client_tls: None, root_cert };
        Client::build_with_tls(info, certificates).map_err(|error| bad(one_line(&error)))
    }

    /// The line about a failure.
    pub(crate) fn words(&self, error: &RedisError) -> String {
        let (address, why) = (&self.address, one_line(error));
        let code = error.code().unwrap_or_default();
        let refused = matches!(code, "NOAUTH" | "WRONGPASS" | "NOPERM")
            || error.kind() == ErrorKind::AuthenticationFailed
            || error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm);
        match (refused, error.kind()) {
            (true, _) => format!(
                "Redis at {address} refuses ({why}); set redis.user and redis.password to a user \
                 that may use every key that begins with {}:",
                self.prefix
            ),
            (false, ErrorKind::Server(_) | ErrorKind::Extension) => {
                format!("Redis at {address} cannot do its work ({why}); look at its log")
            }
            (false, _) => format!(
                "Redis at {address} does not answer ({why}); start it, or correct redis.address, \
                 redis.tls and redis.ca_file"
            ),
        }
    }
}

fn one_line(error: &RedisError) -> String {
    error.to_string().replace(['\n', '\r'], " ")
}

/// Connects and logs in.
pub(crate) async fn connect(client: &Client) -> Result<MultiplexedConnection, RedisError> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT_PATIENCE))
        .set_response_timeout(Some(ANSWER_PATIENCE));
    client.get_multiplexed_async_connection_with_config(&config).await
}
