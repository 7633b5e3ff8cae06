//! How one connects to a server of Valkey: log-in, TLS, and the answers' protocol.

use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, ProtocolVersion,
    RedisConnectionInfo, RedisError, TlsCertificates,
};
use zeroize::Zeroizing;

use super::ValkeyUrl;

/// Where Valkey is, and who we are there.
#[derive(Clone)]
pub struct Access {
    /// Where it is.
    pub url: ValkeyUrl,
    /// The password of its user.
    pub password: Option<Zeroizing<String>>,
    /// PEM text of the authority that signed its certificate; none for those that the system trusts.
    pub certificate_authority: Option<Vec<u8>>,
    /// How long a connection may take to stand.
    pub connect_timeout: Duration,
}

/// A file that the settings name cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {what} from {path}")]
pub struct UnreadableFile {
    what: &'static str,
    path: PathBuf,
    #[source]
    source: std::io::Error,
}

impl Access {
    /// Reads the files that settings name.
    ///
    /// # Errors
    /// [`UnreadableFile`] says which of them cannot be read.
    pub fn read(
        url: ValkeyUrl,
        password_file: Option<&Path>,
        authority: Option<&Path>,
        connect_timeout: Duration,
    ) -> Result<Self, UnreadableFile> {
        let unreadable = |what, path: &Path, source| UnreadableFile { what, path: path.to_owned(), source };
        let password = match password_file {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path);
                let text = Zeroizing::new(text.map_err(|error| unreadable("Valkey's password", path, error))?);
                Some(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()))
            }
        };
        let certificate_authority = match authority {
            None => None,
            Some(path) => {
                let read = std::fs::read(path);
                Some(read.map_err(|error| unreadable("Valkey's authority", path, error))?)
            }
        };
        Ok(Self { url, password, certificate_authority, connect_timeout })
    }

    /// Connects to one server, with what else the connection is to do.
    ///
    /// # Errors
    /// Why it does not stand within its time.
    pub async fn connect(
        &self,
        host: &str,
        port: u16,
        config: AsyncConnectionConfig,
    ) -> Result<MultiplexedConnection, RedisError> {
        let info = self.connection_info(host, port)?;
        let client = match self.certificates() {
            Some(certificates) => Client::build_with_tls(info, certificates)?,
            None => Client::open(info)?,
        };
        let config = config.set_connection_timeout(Some(self.connect_timeout));
        client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Returns what the client library needs for one server.
    ///
    /// # Errors
    /// If the library does not take the address.
    pub fn connection_info(&self, host: &str, port: u16) -> Result<ConnectionInfo, RedisError> {
        let host = host.to_owned();
        let address = if self.url.tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let mut login = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_lib_name("countersignd", env!("CARGO_PKG_VERSION"));
        if let Some(user) = &self.url.user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.password {
            login = login.set_password(password.as_str());
        }
        Ok(address.into_connection_info()?.set_redis_settings(login))
    }

    /// Returns whom to believe, where connections use TLS.
    #[must_use]
    pub fn certificates(&self) -> Option<TlsCertificates> {
        // Without an authority of its own, the system's are asked.
        self.url.tls.then(|| TlsCertificates { client_tls: None, root_cert: self.certificate_authority.clone() })
    }
}
