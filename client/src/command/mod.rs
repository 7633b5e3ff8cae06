//! The commands, one file for each noun. A command asks the library, and says what came of it.

mod change;
mod doctor;
mod evidence;
mod generate;
mod inbox;
mod join;
mod log;
mod organization;
mod profile;
mod read;
mod receipts;
mod send;
mod user;
mod watch;

use std::path::Path;

use countersign_client::account::Environment;
use countersign_client::gnupg::Gnupg;
use countersign_client::profile::{Directories, Profile};
use countersign_client::{Account, Error};
use countersign_protocol::openpgp::{Certificate, parse_certificates};

use crate::cli::{Cli, ClientCommand, Command, LogCommand};
use crate::exit::{DONE, Failure};
use crate::output::{Output, bold};
use crate::progress::shown;

/// How a command ended.
pub(crate) type Ended = Result<u8, Failure>;

/// What commands share.
pub(crate) struct Context {
    directories: Directories,
    profile: Option<String>,
    environment: Environment,
    output: Output,
}

impl Context {
    /// Returns the profile that is meant.
    fn profile(&self) -> Result<Profile, Failure> {
        let name = self.profile.clone().unwrap_or_else(|| self.directories.current());
        Ok(self.directories.profile(&name).map_err(Error::from)?)
    }

    /// Opens the account of the profile that is meant.
    fn account(&self) -> Result<Account, Failure> {
        Ok(Account::open(&self.profile()?, self.environment.clone())?)
    }
}

/// Runs a command.
pub(crate) async fn run(arguments: Cli, output: Output) -> Ended {
    let gpg = arguments.gpg.clone();
    let environment = Environment { gnupg: Gnupg::new(arguments.gpg, None), ..Environment::default() };
    let directories = Directories::from_environment(|name| std::env::var_os(name)).map_err(Error::from)?;
    let context = Context { directories, profile: arguments.profile, environment, output };
    match arguments.command {
        Command::Profile(command) => profile::run(&context, command).await,
        Command::Organization(command) => organization::run(&context, command).await,
        Command::Join(join) => join::join(&context, join).await,
        Command::Invite(invite) => join::invite(&context, &invite).await,
        Command::User(command) => user::run(&context, command).await,
        Command::Change(command) => change::run(&context, command).await,
        Command::Send(send) => send::run(&context, send).await,
        Command::Inbox(inbox) => inbox::run(&context, &inbox).await,
        Command::Read(read) => read::run(&context, &read),
        Command::Watch(watch) => watch::run(&context, &watch).await,
        Command::Chat { ascii } => chat(&context, &gpg, ascii).await,
        Command::Receipts(receipts) => receipts::run(&context, &receipts).await,
        Command::Client(command) => clients(&context, command).await,
        Command::Log(LogCommand::Show { offline }) => log::show(&context, offline).await,
        Command::Log(LogCommand::Verify) => log::verify(&context).await,
        Command::Evidence(evidence) => evidence::run(&context, &evidence),
        Command::Doctor => doctor::run(&context).await,
        Command::Completions { shell } => generate::completions(shell),
        Command::Man { folder } => generate::manual_pages(context.output, &folder),
    }
}

async fn chat(context: &Context, gpg: &Path, ascii: bool) -> Ended {
    if context.output.is_json() {
        return Err(Failure::usage("chat is for people; for programs there is `countersign --json watch`"));
    }
    crate::chat::run(context.account()?, &context.environment, gpg, ascii).await
}

async fn clients(context: &Context, command: ClientCommand) -> Ended {
    let account = context.account()?;
    let output = context.output;
    match command {
        ClientCommand::List => {
            let clients = shown(&account, output, account.clients()).await?;
            output.either(&serde_json::json!({"clients": clients, "this": account.client()}), |output| {
                for client in &clients {
                    let this = if client.client == account.client() { bold("  this one") } else { String::new() };
                    output.line(&format!("{}  since {}{this}", client.client, client.since));
                }
            });
        }
        ClientCommand::Remove { client } => {
            shown(&account, output, account.remove_client(&client)).await?;
            output.either(&serde_json::json!({"removed": client}), |output| {
                output.line(&format!("Removed {client}: its session has ended, and its place is free."));
            });
        }
    }
    Ok(DONE)
}

/// Reads a text file.
fn read_text(path: &Path) -> Result<String, Failure> {
    let read = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    read.map_err(|source| Error::File { path: path.to_owned(), source }.into())
}

/// Takes an argument that is a text, or a file with it.
fn text_or_file(argument: &str, is_text: impl Fn(&str) -> bool) -> Result<String, Failure> {
    if is_text(argument) { Ok(argument.to_owned()) } else { read_text(Path::new(argument)) }
}

/// Reads the one certificate of a file.
fn read_certificate(path: &Path) -> Result<Certificate, Failure> {
    let text = read_text(path)?;
    Certificate::parse(&text).map_err(|fault| Failure::new(crate::exit::DATA, format!("{}: {fault}", path.display())))
}

/// Reads all certificates of a file.
fn read_certificates(path: &Path) -> Result<Vec<Certificate>, Failure> {
    let text = read_text(path)?;
    parse_certificates(&text).map_err(|fault| Failure::new(crate::exit::DATA, format!("{}: {fault}", path.display())))
}

/// Writes a file whole or not at all.
fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let failed = |source| Failure::from(Error::File { path: path.to_owned(), source });
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let unfinished = path.with_file_name(name);
    let written = std::fs::write(&unfinished, bytes).and_then(|()| std::fs::rename(&unfinished, path));
    written.inspect_err(|_| drop(std::fs::remove_file(&unfinished))).map_err(failed)
}
