//! Sessions: giving out session keys for `OpenPGP` signatures, and authenticating requests under them.
//!
//! Owns: who may have a session, when a request is authentic, and in which order that is found out.
//! Refuses to know: HTTP, what requests are for.
//!
//! Invariant I-13: a nonce is advanced only after the signature over it was verified, in one atomic step. A forged
//! request moves nothing.
//!
//! Invariant I-14: [`Authenticated`] is made only here, from a verified signature, so a handler that asks for one
//! cannot forget to authenticate.

mod password;
mod request;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use countersign_protocol::id::ClientAddress;
use countersign_protocol::nonce::Nonce;
use countersign_protocol::openpgp::EncryptionFault;
use countersign_protocol::time::UnixMicros;

use crate::authority::{Authority, Organization};
use crate::clock::Clock;
use crate::entropy::Entropy;
pub use crate::ephemeral::Needs;
use crate::ephemeral::{Ephemeral, EphemeralError, ListingState, SessionId};
use crate::openpgp::{PoolError, PublicKeyPool};
use crate::store::{ClientPlace, Registry, StoreError};
pub use password::PasswordRequest;
pub use request::{Signed, Verified};

/// Why no session is given, or a request is not authentic.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The signature does not verify, or the user is unknown: a stranger cannot tell which.
    #[error("the signature is not valid")]
    SignatureInvalid,
    /// The nonce or `created` is too far from the clock.
    #[error("the nonce is outside the window")]
    NonceOutOfWindow,
    /// The nonce is not greater than the last one.
    #[error("the nonce was used before")]
    NonceReused,
    /// There is no such session.
    #[error("there is no such session")]
    SessionUnknown,
    /// The user has as many clients as allowed.
    #[error("the user has as many clients as allowed")]
    ClientLimit,
    /// Nothing can be encrypted to the user's certificate now.
    #[error("nothing can be encrypted to the user's certificate")]
    Encryption(#[source] EncryptionFault),
    /// The public-key pool gave no answer.
    #[error("the public-key pool gave no answer")]
    Pool(#[from] PoolError),
    /// The store failed.
    #[error("the registry failed")]
    Store(#[from] StoreError),
    /// The ephemeral store failed.
    #[error("the ephemeral store failed")]
    Ephemeral(#[from] EphemeralError),
}

/// Proof that a request was signed by a client of an active user, with a nonce never accepted before.
#[derive(Debug)]
pub struct Authenticated {
    client: ClientAddress,
    session: SessionId,
    since: u64,
    state: ListingState,
    organization: Arc<Organization>,
}

impl Authenticated {
    /// Returns who signed.
    #[must_use]
    pub const fn client(&self) -> &ClientAddress {
        &self.client
    }

    /// Returns the client's organization, as it was when the client was authenticated.
    #[must_use]
    pub fn organization(&self) -> &Organization {
        &self.organization
    }

    /// Returns which session of the client it is.
    #[must_use]
    pub const fn session(&self) -> SessionId {
        self.session
    }

    /// Takes what the client's listing begins with, if the request needed it.
    #[must_use]
    pub fn take_listing_state(&mut self) -> ListingState {
        std::mem::take(&mut self.state)
    }
}

/// What a request is authenticated by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// A signature under a session key.
    Session,
    /// An `OpenPGP` signature that asks for a session key.
    OpenPgp,
}

/// What sessions tell whoever counts.
pub trait SessionObserver: Send + Sync {
    /// A request was authenticated, or refused.
    fn authenticated(&self, _method: Method, _refusal: Option<&SessionError>) {}

    /// How many seconds later than this process's clock the time in a request's nonce is. Told for good signatures, and for
    /// nonces that are outside the window.
    fn clock_offset(&self, _seconds: f64) {}
}

/// Nobody who listens.
struct Unobserved;

impl SessionObserver for Unobserved {}

/// The numbers that sessions work with.
#[derive(Clone, Copy, Debug)]
pub struct SessionSettings {
    /// How far a nonce may be from the clock.
    pub nonce_window: Duration,
    /// How long a session key lives.
    pub lifetime: Duration,
}

/// Sessions and authentication.
#[derive(Clone)]
pub struct Sessions {
    authority: Authority,
    registry: Arc<dyn Registry>,
    ephemeral: Arc<dyn Ephemeral>,
    pool: PublicKeyPool,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    observer: Arc<dyn SessionObserver>,
    settings: SessionSettings,
}

impl Sessions {
    /// Puts sessions together.
    #[must_use]
    pub fn new(
        authority: Authority,
        registry: Arc<dyn Registry>,
        ephemeral: Arc<dyn Ephemeral>,
        pool: PublicKeyPool,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        settings: SessionSettings,
    ) -> Self {
        let observer = Arc::new(Unobserved);
        Self { authority, registry, ephemeral, pool, clock, entropy, observer, settings }
    }

    /// Tells somebody of each authentication.
    #[must_use]
    pub fn observed_by(self, observer: Arc<dyn SessionObserver>) -> Self {
        Self { observer, ..self }
    }

    fn observe_offset(&self, nonce: Nonce, now: UnixMicros) {
        let apart = nonce.time().distance(now).as_secs_f64();
        self.observer.clock_offset(if nonce.time() < now { -apart } else { apart });
    }

    /// Lists the registered clients of the caller's user.
    ///
    /// # Errors
    /// A failure of the store.
    pub async fn clients(&self, caller: &Authenticated) -> Result<Vec<ClientPlace>, SessionError> {
        Ok(self.registry.clients(caller.client.organization, caller.client.user).await?)
    }

    /// Unregisters a client: ends its session and frees its place. Tells whether it was registered.
    ///
    /// # Errors
    /// A failure of a store; the caller's client repeats it.
    pub async fn unregister(&self, client: &ClientAddress) -> Result<bool, SessionError> {
        // The session first: a client without a place must not go on.
        self.ephemeral.end_session(client).await?;
        Ok(self.registry.free_place(client).await?)
    }
}
