//! Invitations, and the requests that answer them: short texts that fit into a QR code.
//!
//! Owns: what is pinned before a server is asked anything. An invitation comes from a person whom the invited trusts, by
//! a way that they trust: from screen to camera, or in a letter.
//!
//! Invariant: an invitation names the hash of the organization's first statement. Whoever joins with it accepts no other
//! organization, whatever the server says.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use countersign_protocol::digest::Sha256Digest;
use countersign_protocol::id::{OrganizationId, UserId};
use countersign_protocol::openpgp::Certificate;

use crate::connection::ServerUrl;

const INVITATION: &str = "countersign:join?";
const REQUEST: &str = "countersign:add?";

/// An invitation into an organization.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// The server.
    pub server: ServerUrl,
    /// The organization.
    pub organization: OrganizationId,
    /// The hash of its first statement.
    pub genesis: Sha256Digest,
    /// Who is invited, if they are in the organization already.
    pub user: Option<UserId>,
    /// The super-administrators. They may be left out: the hash vouches for what they signed.
    pub super_administrators: Vec<Certificate>,
}

/// What somebody who was invited sends to an administrator.
#[derive(Clone, Debug)]
pub struct JoinRequest {
    /// The organization.
    pub organization: OrganizationId,
    /// The id that they chose.
    pub user: UserId,
    /// Their certificate.
    pub certificate: Certificate,
}

/// A text that is no invitation, or no request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInvitation {
    /// It begins otherwise.
    #[error("this is not {0}: it begins with {1}")]
    Beginning(&'static str, &'static str),
    /// Something is missing or cannot be read.
    #[error("its {0} is missing or cannot be read; it may have been cut")]
    Field(&'static str),
    /// A later version.
    #[error("it was made by a later version of this program; update it")]
    Version,
}

impl Invitation {
    /// Returns the text, with the super-administrators' certificates.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.write(&self.super_administrators)
    }

    /// Returns the text without certificates, which makes a QR code that a camera reads easily.
    #[must_use]
    pub fn to_short_text(&self) -> String {
        self.write(&[])
    }

    fn write(&self, certificates: &[Certificate]) -> String {
        let mut query = form_urlencoded::Serializer::new(INVITATION.to_owned());
        query
            .append_pair("version", "1")
            .append_pair("server", self.server.as_str())
            .append_pair("organization", &self.organization.to_string())
            .append_pair("genesis", &self.genesis.to_string());
        if let Some(user) = self.user {
            query.append_pair("user", &user.to_string());
        }
        for certificate in certificates {
            query.append_pair("super", &encode(certificate));
        }
        query.finish()
    }

    /// Reads a text. Space and line breaks in it, as they come from letters, are ignored.
    ///
    /// # Errors
    /// [`InvalidInvitation`].
    pub fn parse(text: &str) -> Result<Self, InvalidInvitation> {
        let fields = Fields::read(text, INVITATION, "an invitation")?;
        let certificates = fields.all("super").map(decode).collect::<Option<_>>();
        Ok(Self {
            server: fields.parsed("server")?,
            organization: fields.parsed("organization")?,
            genesis: fields.parsed("genesis")?,
            user: fields.first("user").is_some().then(|| fields.parsed("user")).transpose()?,
            super_administrators: certificates.ok_or(InvalidInvitation::Field("super"))?,
        })
    }
}

impl JoinRequest {
    /// Returns the text.
    #[must_use]
    pub fn to_text(&self) -> String {
        form_urlencoded::Serializer::new(REQUEST.to_owned())
            .append_pair("version", "1")
            .append_pair("organization", &self.organization.to_string())
            .append_pair("user", &self.user.to_string())
            .append_pair("certificate", &encode(&self.certificate))
            .finish()
    }

    /// Tells whether a text looks like a request.
    #[must_use]
    pub fn is_one(text: &str) -> bool {
        text.trim_start().starts_with(REQUEST)
    }

    /// Reads a text.
    ///
    /// # Errors
    /// [`InvalidInvitation`].
    pub fn parse(text: &str) -> Result<Self, InvalidInvitation> {
        let fields = Fields::read(text, REQUEST, "a request to join")?;
        let certificate = fields.first("certificate").and_then(decode);
        Ok(Self {
            organization: fields.parsed("organization")?,
            user: fields.parsed("user")?,
            certificate: certificate.ok_or(InvalidInvitation::Field("certificate"))?,
        })
    }
}

/// The fields of a text.
struct Fields(Vec<(String, String)>);

impl Fields {
    fn read(text: &str, beginning: &'static str, what: &'static str) -> Result<Self, InvalidInvitation> {
        let text: String = text.chars().filter(|character| !character.is_whitespace()).collect();
        let query = text.strip_prefix(beginning).ok_or(InvalidInvitation::Beginning(what, beginning))?;
        let fields = Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect());
        match fields.first("version") {
            Some("1") => Ok(fields),
            Some(_) => Err(InvalidInvitation::Version),
            None => Err(InvalidInvitation::Field("version")),
        }
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn parsed<T: std::str::FromStr>(&self, name: &'static str) -> Result<T, InvalidInvitation> {
        self.first(name).and_then(|value| value.parse().ok()).ok_or(InvalidInvitation::Field(name))
    }
}

fn encode(certificate: &Certificate) -> String {
    URL_SAFE_NO_PAD.encode(certificate.to_bytes())
}

fn decode(text: &str) -> Option<Certificate> {
    Certificate::from_bytes(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invitation() -> Invitation {
        Invitation {
            server: "https://messages.example.org:8443".parse().unwrap(),
            organization: OrganizationId::from_bytes([1; 16]),
            genesis: Sha256Digest::of(b"x"),
            user: Some(UserId::from_bytes([2; 16])),
            super_administrators: Vec::new(),
        }
    }

    #[test]
    fn an_invitation_is_read_as_it_was_written() {
        let written = invitation();
        let mut text = written.to_text();
        text.insert(40, '\n');
        let read = Invitation::parse(&format!("  {text}\n")).unwrap();
        assert_eq!(read.server, written.server);
        assert_eq!(
            (read.organization, read.genesis, read.user),
            (written.organization, written.genesis, written.user)
        );
    }

    #[test]
    fn what_is_cut_is_refused() {
        let text = invitation().to_text();
        let cut = text.split("&genesis").next().unwrap();
        assert_eq!(Invitation::parse(cut).unwrap_err(), InvalidInvitation::Field("genesis"));
        assert!(matches!(Invitation::parse("hello"), Err(InvalidInvitation::Beginning(..))));
        let later = text.replace("version=1", "version=2");
        assert_eq!(Invitation::parse(&later).unwrap_err(), InvalidInvitation::Version);
        assert!(matches!(JoinRequest::parse(&text), Err(InvalidInvitation::Beginning(..))));
    }
}
