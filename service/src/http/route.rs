//! The table of routes: which path and method are which operation.
//!
//! Pure. It only annotates a request, so that everything outside of the handlers has a bounded name for it.

use countersign_protocol::id::{ClientId, OrganizationId, UserId};
use countersign_protocol::message_id::MessageId;
use http::Method;

/// What a request asks for. Its name is a metric label and a field of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// `GET /<organization>`
    ListUsers,
    /// `POST /<organization>`
    CreateOrganization,
    /// `GET /<organization>/log`
    ReadLog,
    /// `GET /<organization>/<user>`
    ReadUser,
    /// `POST /<organization>/<user>`
    AddUser,
    /// `PUT /<organization>/<user>`
    UpdateUser,
    /// `GET /<organization>/<user>/password`
    RequestSessionKey,
    /// `GET /<organization>/<user>/client`
    ListClients,
    /// `DELETE /<organization>/<user>/client/<client>`
    RemoveClient,
    /// `POST /<organization>/<user>/client/<client>/fetched`
    ConfirmFetched,
    /// `GET /<organization>/<user>/message`
    ListMessages,
    /// `POST /<organization>/<user>/message`
    SendMessage,
    /// `GET /<organization>/<user>/message/<message>`
    ReadMessage,
    /// `PUT /<organization>/<user>/message/<message>`
    AcknowledgeMessage,
    /// No known path.
    UnknownPath,
    /// A known path with another method.
    UnknownMethod,
}

impl Operation {
    /// Every operation there is.
    pub const ALL: [Self; 16] = [
        Self::ListUsers,
        Self::CreateOrganization,
        Self::ReadLog,
        Self::ReadUser,
        Self::AddUser,
        Self::UpdateUser,
        Self::RequestSessionKey,
        Self::ListClients,
        Self::RemoveClient,
        Self::ConfirmFetched,
        Self::ListMessages,
        Self::SendMessage,
        Self::ReadMessage,
        Self::AcknowledgeMessage,
        Self::UnknownPath,
        Self::UnknownMethod,
    ];

    /// Returns the name, as metrics and logs have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ListUsers => "list_users",
            Self::CreateOrganization => "create_organization",
            Self::ReadLog => "read_log",
            Self::ReadUser => "read_user",
            Self::AddUser => "add_user",
            Self::UpdateUser => "update_user",
            Self::RequestSessionKey => "request_session_key",
            Self::ListClients => "list_clients",
            Self::RemoveClient => "remove_client",
            Self::ConfirmFetched => "confirm_fetched",
            Self::ListMessages => "list_messages",
            Self::SendMessage => "send_message",
            Self::ReadMessage => "read_message",
            Self::AcknowledgeMessage => "acknowledge_message",
            Self::UnknownPath => "unknown_path",
            Self::UnknownMethod => "unknown_method",
        }
    }

    /// Tells whether the operation changes something. What changes something runs to its end though its client goes.
    #[must_use]
    pub const fn writes(self) -> bool {
        match self {
            Self::CreateOrganization
            | Self::AddUser
            | Self::UpdateUser
            | Self::RequestSessionKey
            | Self::RemoveClient
            | Self::ConfirmFetched
            | Self::SendMessage
            | Self::AcknowledgeMessage => true,
            Self::ListUsers
            | Self::ReadLog
            | Self::ReadUser
            | Self::ListClients
            | Self::ListMessages
            | Self::ReadMessage
            | Self::UnknownPath
            | Self::UnknownMethod => false,
        }
    }
}

/// The identifiers in a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PathIds {
    /// The organization.
    pub organization: Option<OrganizationId>,
    /// The user.
    pub user: Option<UserId>,
    /// The client.
    pub client: Option<ClientId>,
    /// The message.
    pub message: Option<MessageId>,
    /// Which part of the path is misspelled.
    pub malformed: Option<&'static str>,
}

/// A request's place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Matched {
    /// The operation.
    pub operation: Operation,
    /// The identifiers in the path.
    pub ids: PathIds,
    /// The methods that the path has, as the `Allow` header lists them.
    pub allow: &'static str,
}

#[derive(Clone, Copy, Debug)]
enum Path {
    Organization,
    Log,
    User,
    Password,
    Clients,
    Client,
    Fetched,
    Messages,
    Message,
}

impl Path {
    /// Returns the operations that a path has, by method. The `Allow` header lists the same.
    const fn methods(self) -> (&'static [(Method, Operation)], &'static str) {
        match self {
            Self::Organization => {
                (&[(Method::GET, Operation::ListUsers), (Method::POST, Operation::CreateOrganization)], "GET, POST")
            }
            Self::Log => (&[(Method::GET, Operation::ReadLog)], "GET"),
            Self::User => (
                &[
                    (Method::GET, Operation::ReadUser),
                    (Method::POST, Operation::AddUser),
                    (Method::PUT, Operation::UpdateUser),
                ],
                "GET, POST, PUT",
            ),
            Self::Password => (&[(Method::GET, Operation::RequestSessionKey)], "GET"),
            Self::Clients => (&[(Method::GET, Operation::ListClients)], "GET"),
            Self::Client => (&[(Method::DELETE, Operation::RemoveClient)], "DELETE"),
            Self::Fetched => (&[(Method::POST, Operation::ConfirmFetched)], "POST"),
            Self::Messages => {
                (&[(Method::GET, Operation::ListMessages), (Method::POST, Operation::SendMessage)], "GET, POST")
            }
            Self::Message => {
                (&[(Method::GET, Operation::ReadMessage), (Method::PUT, Operation::AcknowledgeMessage)], "GET, PUT")
            }
        }
    }
}

/// The table.
#[derive(Clone, Debug)]
pub struct Routes(matchit::Router<Path>);

impl Default for Routes {
    fn default() -> Self {
        let mut router = matchit::Router::new();
        for (pattern, path) in [
            ("/{organization}", Path::Organization),
            ("/{organization}/log", Path::Log),
            ("/{organization}/{user}", Path::User),
            ("/{organization}/{user}/password", Path::Password),
            ("/{organization}/{user}/client", Path::Clients),
            ("/{organization}/{user}/client/{client}", Path::Client),
            ("/{organization}/{user}/client/{client}/fetched", Path::Fetched),
            ("/{organization}/{user}/message", Path::Messages),
            ("/{organization}/{user}/message/{message}", Path::Message),
        ] {
            router.insert(pattern, path).expect("the table's patterns do not conflict");
        }
        Self(router)
    }
}

impl Routes {
    /// Finds a request's place.
    #[must_use]
    pub fn find(&self, method: &Method, path: &str) -> Matched {
        let Ok(found) = self.0.at(path) else {
            return Matched { operation: Operation::UnknownPath, ids: PathIds::default(), allow: "" };
        };
        let mut ids = PathIds::default();
        for (name, text) in found.params.iter() {
            let well_formed = match name {
                "organization" => text.parse().map(|id| ids.organization = Some(id)).is_ok(),
                "user" => text.parse().map(|id| ids.user = Some(id)).is_ok(),
                "client" => text.parse().map(|id| ids.client = Some(id)).is_ok(),
                _ => text.parse().map(|id| ids.message = Some(id)).is_ok(),
            };
            if !well_formed {
                ids.malformed = ids.malformed.or(Some(match name {
                    "organization" => "organization",
                    "user" => "user",
                    "client" => "client",
                    _ => "message",
                }));
            }
        }
        let (methods, allow) = found.value.methods();
        let operation = methods.iter().find(|(allowed, _)| allowed == method).map(|(_, operation)| *operation);
        Matched { operation: operation.unwrap_or(Operation::UnknownMethod), ids, allow }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORGANIZATION: &str = "1d48332a-2591-5aa1-9381-2c8254a0f5e1";
    const USER: &str = "d6bf3569-703e-59e3-81fa-7918be4a2e66";
    const CLIENT: &str = "dd163e8f-84e7-5a72-80dc-a82289200927";
    const MESSAGE: &str = "01a2062d-e27b-8e97-8ebb-14349f9a8c19";

    fn find(method: &Method, path: &str) -> Matched {
        Routes::default().find(method, path)
    }

    #[test]
    fn every_row_of_the_table_is_found() {
        let user = format!("/{ORGANIZATION}/{USER}");
        let rows = [
            (Method::GET, format!("/{ORGANIZATION}"), Operation::ListUsers),
            (Method::POST, format!("/{ORGANIZATION}"), Operation::CreateOrganization),
            (Method::GET, format!("/{ORGANIZATION}/log"), Operation::ReadLog),
            (Method::GET, user.clone(), Operation::ReadUser),
            (Method::POST, user.clone(), Operation::AddUser),
            (Method::PUT, user.clone(), Operation::UpdateUser),
            (Method::GET, format!("{user}/password"), Operation::RequestSessionKey),
            (Method::GET, format!("{user}/client"), Operation::ListClients),
            (Method::DELETE, format!("{user}/client/{CLIENT}"), Operation::RemoveClient),
            (Method::POST, format!("{user}/client/{CLIENT}/fetched"), Operation::ConfirmFetched),
            (Method::GET, format!("{user}/message"), Operation::ListMessages),
            (Method::POST, format!("{user}/message"), Operation::SendMessage),
            (Method::GET, format!("{user}/message/{MESSAGE}"), Operation::ReadMessage),
            (Method::PUT, format!("{user}/message/{MESSAGE}"), Operation::AcknowledgeMessage),
        ];
        for (method, path, operation) in rows {
            let matched = find(&method, &path);
            assert_eq!((matched.operation, matched.ids.malformed), (operation, None), "{path}");
        }
    }

    #[test]
    fn other_methods_and_paths_are_told_apart() {
        assert_eq!(find(&Method::DELETE, &format!("/{ORGANIZATION}")).operation, Operation::UnknownMethod);
        assert_eq!(find(&Method::DELETE, &format!("/{ORGANIZATION}")).allow, "GET, POST");
        for path in ["/", "", "*", &format!("/{ORGANIZATION}/"), &format!("/{ORGANIZATION}/{USER}/nothing")] {
            assert_eq!(find(&Method::GET, path).operation, Operation::UnknownPath, "{path}");
        }
    }

    #[test]
    fn a_misspelled_id_is_named() {
        let matched = find(&Method::GET, &format!("/{}", ORGANIZATION.to_uppercase()));
        assert_eq!((matched.operation, matched.ids.malformed), (Operation::ListUsers, Some("organization")));
        let matched = find(&Method::GET, &format!("/{ORGANIZATION}/{USER}/message/{USER}"));
        assert_eq!((matched.operation, matched.ids.malformed), (Operation::ReadMessage, Some("message")));
    }

    #[test]
    fn the_allow_header_lists_what_the_table_has() {
        for (_, path) in [
            ("organization", Path::Organization),
            ("log", Path::Log),
            ("user", Path::User),
            ("password", Path::Password),
            ("clients", Path::Clients),
            ("client", Path::Client),
            ("fetched", Path::Fetched),
            ("messages", Path::Messages),
            ("message", Path::Message),
        ] {
            let (methods, allow) = path.methods();
            let listed: Vec<&str> = methods.iter().map(|(method, _)| method.as_str()).collect();
            assert_eq!(listed.join(", "), allow);
        }
    }
}
