//! The user's clients: other devices and programs that act for them.

use countersign_protocol::body::{ClientList, RegisteredClient};
use countersign_protocol::id::ClientId;

use super::Account;
use super::log::json;
use crate::connection::Call;
use crate::error::Result;

impl Account {
    /// Lists the registered clients of this user.
    ///
    /// # Errors
    /// [`crate::Error`].
    pub async fn clients(&self) -> Result<Vec<RegisteredClient>> {
        self.extend_log().await?;
        let call = Call::get(format!("{}/client", self.user_path()));
        let list: ClientList = json(&self.server.call(&call, &*self.certificate()?).await?)?;
        Ok(list.clients)
    }

    /// Unregisters a client of this user: its session ends, and its place is free.
    ///
    /// # Errors
    /// [`crate::Error`].
    pub async fn remove_client(&self, client: &ClientId) -> Result<()> {
        self.extend_log().await?;
        let call = Call::delete(format!("{}/client/{client}", self.user_path()));
        self.server.call(&call, &*self.certificate()?).await?;
        Ok(())
    }
}
