//! The client: how it is made, how long calls may take, what is repeated, what errors mean.
//!
//! The SDK's own repetitions are switched off. It would not tell whether an attempt before the last one may have been
//! carried out, which conditional writes have to know, and it draws its pauses by itself. So requests are repeated here: what
//! DynamoDB has refused for want of capacity was not done; what got no answer may have been done, and all writes can be
//! repeated.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::ProvideCredentials as _;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

use super::settings::DynamodbSettings;
use crate::deadline::Deadline;
use crate::entropy::{Entropy, fraction};
use crate::store::StoreError;

/// The longest pause before the second attempt, of what got no answer and of what was throttled; it doubles with each.
/// Capacity comes back over a second.
const PAUSE: Duration = Duration::from_millis(4);
const THROTTLED_PAUSE: Duration = Duration::from_millis(50);
/// The longest pause of all.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Errors that say that there is too much to do at the moment, and that nothing was done.
const THROTTLED: [&str; 5] = [
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "ThrottlingException",
    "Throttling",
    // Another region writes the same item at this moment: a global table with strong consistency.
    "ReplicatedWriteConflictException",
];
/// The condition of a write did not hold.
const CONDITION_FAILED: &str = "ConditionalCheckFailedException";
/// There is no such table.
pub(super) const NO_TABLE: &str = "ResourceNotFoundException";

/// Why a request to DynamoDB failed, with the operation's own type taken away.
#[derive(Debug, thiserror::Error)]
#[error("DynamoDB did not do {request}")]
pub(super) struct Failure {
    /// What was asked for.
    request: Request,
    /// What kind of failure it is.
    pub(super) kind: FailureKind,
    /// The error's name in DynamoDB's language, if it answered.
    pub(super) code: Option<String>,
    #[source]
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// What a failure means for the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailureKind {
    /// Not done, for want of capacity.
    Throttled,
    /// Nobody knows whether it was done.
    Unknown,
    /// Likewise, since it took too long.
    TooLate,
    /// Not done: its condition does not hold.
    Condition,
    /// Not done, and repeating it is no use.
    Refused,
}

impl Failure {
    /// Sorts an error of the SDK's.
    pub(super) fn of<E>(request: Request, error: SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        let code = error.code().map(str::to_owned);
        let kind = match (&error, code.as_deref()) {
            (SdkError::TimeoutError(_), _) => FailureKind::TooLate,
            // Not sent, as where there are no credentials.
            (SdkError::ConstructionFailure(_), _) => FailureKind::Refused,
            (SdkError::ServiceError(_), Some(CONDITION_FAILED)) => FailureKind::Condition,
            (SdkError::ServiceError(_), Some(code)) if THROTTLED.contains(&code) => FailureKind::Throttled,
            (SdkError::ServiceError(answer), _) if answer.raw().status().as_u16() < 500 => FailureKind::Refused,
            _ => FailureKind::Unknown,
        };
        Self { request, kind, code, source: Box::new(error) }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure.kind {
            FailureKind::TooLate => Self::Timeout,
            _ => Self::Unavailable(Box::new(failure)),
        }
    }
}

/// Makes an enum of requests with what each is called in words.
macro_rules! requests {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// What is asked of DynamoDB, by operation and table.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Request {
            $($(#[doc = $doc])* $name,)*
        }

        impl std::fmt::Display for Request {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(match self {
                    $(Self::$name => stringify!($name),)*
                })
            }
        }
    };
}

requests! {
    /// Puts a part of a content.
    PutPart,
    /// Puts a message with the first part of its content.
    PutMessage,
    /// Gets a message.
    GetMessage,
    /// Gets a part of a content.
    GetPart,
    /// Writes rows of mailboxes.
    WriteItems,
    /// Reads a page of a mailbox.
    QueryItems,
    /// Writes confirmations.
    WriteFetched,
    /// Reads a page of confirmations.
    QueryFetched,
    /// Gets confirmations by their keys.
    GetFetched,
    /// Puts an entry of a log.
    PutEntry,
    /// Reads a page of a log.
    QueryLog,
    /// Puts a user's record.
    PutUser,
    /// Gets a user's record.
    GetUser,
    /// Reads a page of users' records.
    QueryUsers,
    /// Gets the places of a user's clients.
    GetPlaces,
    /// Puts the places of a user's clients.
    PutPlaces,
    /// Gets the schema's version.
    GetVersion,
    /// Puts the schema's version.
    PutVersion,
    /// Makes a table.
    CreateTable,
    /// Asks how a table is.
    DescribeTable,
    /// Asks how a table's retention is.
    DescribeTimeToLive,
    /// Sets it.
    UpdateTimeToLive,
}

/// How it is connected.
pub(super) struct Connecting {
    config: SdkConfig,
}

impl Connecting {
    /// Looks where credentials are; asks for none yet.
    pub(super) async fn prepare(settings: &DynamodbSettings) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(settings.connect_timeout)
            .operation_attempt_timeout(settings.attempt_timeout)
            .build();
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(Region::new(settings.address.region.clone()))
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts);
        // The environment of a process of many tests is nobody's to change; those of the whole program have theirs.
        #[cfg(test)]
        {
            let credentials = aws_sdk_dynamodb::config::Credentials::new("test", "not a secret", None, None, "tests");
            loader = loader.credentials_provider(credentials);
        }
        if let Some(endpoint) = &settings.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        Self { config: loader.load().await }
    }

    /// Asks for credentials, to say it in words where there are none.
    pub(super) async fn credentials(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let provider = self.config.credentials_provider().ok_or("no place of credentials is known")?;
        provider.provide_credentials().await?;
        Ok(())
    }

    /// Makes a client. It connects when it is used.
    pub(super) fn client(&self) -> Client {
        Client::new(&self.config)
    }
}

/// What became of a conditional write.
#[derive(Debug)]
pub(super) enum Conditional {
    /// It was applied.
    Applied,
    /// The condition did not hold. `doubtful` says that an attempt before may have been applied.
    Refused {
        /// Whether an earlier attempt of this call may have been applied.
        doubtful: bool,
        /// The failure, with what stands there if that was asked for.
        failure: Failure,
    },
}

/// A client, with how it is used.
pub(super) struct Session {
    pub(super) client: Client,
    attempts: NonZeroU32,
    timeout: Duration,
    entropy: Arc<dyn Entropy>,
    #[cfg(test)]
    pub(super) sent: std::sync::Mutex<Vec<Request>>,
}

impl Session {
    pub(super) fn new(client: Client, settings: &DynamodbSettings, entropy: Arc<dyn Entropy>) -> Self {
        Self {
            client,
            attempts: settings.attempts,
            timeout: settings.timeout,
            entropy,
            #[cfg(test)]
            sent: std::sync::Mutex::default(),
        }
    }

    /// Sends what can be repeated, until it is done, there is no time left, or enough attempts were made.
    pub(super) async fn send<T, E, F>(&self, request: Request, send: impl Fn() -> F) -> Result<T, StoreError>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        F: Future<Output = Result<T, SdkError<E>>>,
    {
        let mut patience = self.patience();
        loop {
            match self.attempt(request, &send).await {
                Ok(done) => return Ok(done),
                Err(failure) => patience.pause_or_give_up(failure).await?,
            }
        }
    }

    /// Sends a write with a condition.
    pub(super) async fn conditional<T, E, F>(
        &self,
        request: Request,
        send: impl Fn() -> F,
    ) -> Result<Conditional, StoreError>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        F: Future<Output = Result<T, SdkError<E>>>,
    {
        let (mut patience, mut doubtful) = (self.patience(), false);
        loop {
            match self.attempt(request, &send).await {
                Ok(_) => return Ok(Conditional::Applied),
                Err(failure) if failure.kind == FailureKind::Condition => {
                    return Ok(Conditional::Refused { doubtful, failure });
                }
                Err(failure) => {
                    doubtful |= matches!(failure.kind, FailureKind::Unknown | FailureKind::TooLate);
                    patience.pause_or_give_up(failure).await?;
                }
            }
        }
    }

    async fn attempt<T, E, F>(&self, request: Request, send: impl Fn() -> F) -> Result<T, Failure>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
        F: Future<Output = Result<T, SdkError<E>>>,
    {
        #[cfg(test)]
        self.sent.lock().expect("no test fails while it counts").push(request);
        // Boxed: the SDK's futures are large, and a store's call is made of several.
        Box::pin(send()).await.map_err(|error| Failure::of(request, error))
    }

    /// The attempts and pauses of one request.
    pub(super) fn patience(&self) -> Patience<'_> {
        Patience { session: self, attempts: 1 }
    }

    /// Ends a call in its time.
    pub(super) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let bounded = Deadline::current().bound(self.timeout, Box::pin(work)).await;
        bounded.unwrap_or(Err(StoreError::Timeout))
    }
}

/// The attempts of a request so far.
pub(super) struct Patience<'a> {
    session: &'a Session,
    attempts: u32,
}

impl Patience<'_> {
    /// Pauses after a failure that another attempt may be spared of.
    pub(super) async fn pause_or_give_up(&mut self, failure: Failure) -> Result<(), StoreError> {
        let first = match failure.kind {
            FailureKind::Throttled => THROTTLED_PAUSE,
            FailureKind::Unknown | FailureKind::TooLate => PAUSE,
            FailureKind::Condition | FailureKind::Refused => return Err(failure.into()),
        };
        if self.attempts >= self.session.attempts.get() {
            return Err(failure.into());
        }
        self.pause(first).await;
        Ok(())
    }

    /// Pauses after an answer that left something unprocessed, for want of capacity. `progress` says that something was
    /// processed: then one begins to count anew.
    pub(super) async fn pause_for_capacity(&mut self, progress: bool) -> Result<(), StoreError> {
        if progress {
            self.attempts = 1;
        }
        if self.attempts >= self.session.attempts.get() {
            return Err(StoreError::Unavailable(
                "DynamoDB leaves items unprocessed: it has too little capacity".into(),
            ));
        }
        self.pause(THROTTLED_PAUSE).await;
        Ok(())
    }

    /// Pauses for a random time, so that those who came at once do not come back at once.
    async fn pause(&mut self, first: Duration) {
        let longest = first.saturating_mul(2_u32.saturating_pow(self.attempts - 1)).min(PAUSE_MAX);
        tokio::time::sleep(longest.mul_f64(fraction(&*self.session.entropy))).await;
        self.attempts += 1;
    }

    /// Pauses where a condition did not hold since others wrote at the same time. Only time ends this: each refusal
    /// means that somebody was served.
    pub(super) async fn pause_for_others(&mut self) {
        self.pause(PAUSE).await;
    }
}
