//! What `countersign` understands. Completions and manual pages are made from this too.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use clap_complete::Shell;
use countersign_client::connection::ServerUrl;
use countersign_protocol::id::{ClientId, UserId};

use crate::exit::TABLE;

/// End-to-end encrypted messages through a server that need not be trusted. Your keys stay in GnuPG.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, max_term_width = 100, after_long_help = TABLE, propagate_version = true)]
pub(crate) struct Cli {
    /// The profile to use: one user of one organization on this device
    #[arg(long, global = true, env = "COUNTERSIGN_PROFILE", value_name = "NAME")]
    pub(crate) profile: Option<String>,

    /// Print JSON, for programs
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// The gpg to run
    #[arg(long, global = true, env = "COUNTERSIGN_GPG", default_value = "gpg", hide_short_help = true)]
    pub(crate) gpg: PathBuf,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Profiles on this device
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// Organizations
    #[command(subcommand)]
    Organization(OrganizationCommand),
    /// Join an organization with an invitation
    #[command(after_long_help = "\
Examples:
  countersign join 'countersign:join?version=1&server=…' --key alice@example.org
  countersign join --qr photo.jpg --key alice@example.org
  countersign --profile work join invitation.txt --key alice@example.org")]
    Join(Join),
    /// Invite somebody: a text, and a QR code
    #[command(after_long_help = "\
Examples:
  countersign invite bob                       for Bob, whom `user add` has added
  countersign invite --picture invitation.png  for somebody who is to choose an id by themselves
  countersign --json invite bob | jq -r .text")]
    Invite(Invite),
    /// Users of the organization
    #[command(subcommand)]
    User(UserCommand),
    /// Changes that need a second administrator
    #[command(subcommand)]
    Change(ChangeCommand),
    /// Send a text or files
    #[command(after_long_help = "\
Examples:
  countersign send bob -m 'The meeting is at noon.'
  echo 'The meeting is at noon.' | countersign send bob carol
  countersign send bob --file plan.pdf --file budget.ods
  pg_dump shop | countersign send backup --file - --name shop.sql")]
    Send(Send),
    /// Fetch what is new, and list messages
    #[command(after_long_help = "\
Examples:
  countersign inbox              what arrived and was not read
  countersign inbox --all        all messages, those that were sent too
  countersign inbox --with bob   the conversation with Bob
  countersign --json inbox | jq -r '.messages[].number'")]
    Inbox(Inbox),
    /// Read a message, or save a file
    #[command(after_long_help = "\
Examples:
  countersign read 12
  countersign read 13 --output plan.pdf
  countersign read 13 --output ~/Downloads/    under the name that its sender gave it
  countersign read                             everything that was not read")]
    Read(Read),
    /// Wait for messages and show them as they arrive
    #[command(after_long_help = "\
Examples:
  countersign watch
  countersign watch --exec 'notify-send \"$COUNTERSIGN_FROM\"'
  countersign --json watch | jq -r .text

The command of --exec runs once for each message, with its content as standard input and
COUNTERSIGN_NUMBER, COUNTERSIGN_FROM, COUNTERSIGN_USER, COUNTERSIGN_TYPE, COUNTERSIGN_FILE_NAME and
COUNTERSIGN_STATE in its environment. A message for which it fails stays unread.")]
    Watch(Watch),
    /// Conversations in this terminal
    #[command(after_long_help = "\
Examples:
  countersign chat            F1 shows the keys
  NO_COLOR=1 countersign chat
  countersign chat --ascii    for a terminal that shows nothing but ASCII")]
    Chat {
        /// Draw with ASCII alone, whatever the locale says
        #[arg(long)]
        ascii: bool,
    },
    /// See whom what you sent has reached
    #[command(after_long_help = "\
Examples:
  countersign receipts       of the last messages
  countersign receipts 12    of one, with everyone who signed for it")]
    Receipts(Receipts),
    /// Your clients: the devices and programs that act for you
    #[command(subcommand)]
    Client(ClientCommand),
    /// The organization's log
    #[command(subcommand)]
    Log(LogCommand),
    /// See what a server did that it must not do
    #[command(after_long_help = "\
Examples:
  countersign evidence              all of it
  countersign evidence 3            one, in full
  countersign evidence 3 --raw > answer.bin")]
    Evidence(Evidence),
    /// Check that everything works: GnuPG, key, store, server, clock, log
    #[command(after_long_help = "\
Examples:
  countersign doctor
  countersign --json doctor | jq -r '.checks[] | select(.ok | not)'")]
    Doctor,
    /// Write completions for a shell
    #[command(after_long_help = "\
Examples:
  countersign completions bash > ~/.local/share/bash-completion/completions/countersign
  countersign completions zsh > ~/.zfunc/_countersign")]
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write manual pages into a folder
    #[command(after_long_help = "\
Example:
  countersign man ~/.local/share/man/man1")]
    Man {
        /// The folder
        #[arg(value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ProfileCommand {
    /// Make a profile for a user whom the organization has already
    #[command(after_long_help = "\
Example:
  countersign --profile work profile create --invitation invitation.txt --key alice@example.org

This is what `countersign join` does; it is here so that scripts find it beside list and use.")]
    Create(Join),
    /// List the profiles on this device
    #[command(after_long_help = "\
Example:
  countersign profile list")]
    List,
    /// Choose the profile that is used where none is named
    #[command(after_long_help = "\
Example:
  countersign profile use work")]
    Use {
        /// Its name
        name: String,
    },
    /// Show or change what you chose for a profile
    #[command(after_long_help = "\
Examples:
  countersign profile set
  countersign profile set --receipts off
  countersign profile set --copies on
  countersign profile set --server https://messages.example.org --authorities system")]
    Set {
        /// Whether senders get a signed receipt when their message is here and verified
        #[arg(long, value_name = "on|off", value_parser = on_off)]
        receipts: Option<bool>,
        /// Whether your other clients get a copy of what you send here
        #[arg(long, value_name = "on|off", value_parser = on_off)]
        copies: Option<bool>,
        /// Where the server is from now on; it must show the same log
        #[arg(long, value_name = "URL", value_hint = ValueHint::Url)]
        server: Option<ServerUrl>,
        /// A file with the authorities that vouch for the server's TLS certificate, or `system` for those of the system
        #[arg(long, value_name = "FILE|system", value_hint = ValueHint::FilePath)]
        authorities: Option<PathBuf>,
    },
}

fn on_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("on or off".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum OrganizationCommand {
    /// Create an organization: both super-administrators sign
    #[command(after_long_help = "\
Examples:
  Both super-administrators' keys are in this GnuPG:
    countersign organization create --server https://messages.example.org \\
      --super-administrators supers.asc --administrator alice@example.org

  Each has their own machine. The first writes and signs a file, and passes it on:
    countersign organization create --server https://messages.example.org \\
      --super-administrators supers.asc --administrator alice.asc --output acme.change
  The second reads it, signs it, and submits it:
    countersign change show acme.change
    countersign organization create --server https://messages.example.org \\
      --super-administrators supers.asc --draft acme.change

When both have signed, the organization is created, and an invitation for its first administrator is
printed. If their key is in this GnuPG too, their profile is made at once.")]
    Create(OrganizationCreate),
}

#[derive(Debug, Args)]
pub(crate) struct OrganizationCreate {
    /// The server's address: scheme, host, and perhaps a port
    #[arg(long)]
    pub(crate) server: String,
    /// A file with the super-administrators' certificates, as the server has it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) super_administrators: PathBuf,
    /// The first administrator: a file with their certificate, or what names their key in GnuPG
    #[arg(long, value_name = "FILE|KEY", required_unless_present = "draft")]
    pub(crate) administrator: Option<String>,
    /// A draft that another super-administrator has signed
    #[arg(long, value_name = "FILE", conflicts_with = "administrator", value_hint = ValueHint::FilePath)]
    pub(crate) draft: Option<PathBuf>,
    /// Where to write the draft while signatures are missing
    #[arg(long, value_name = "FILE", default_value = "organization.change", value_hint = ValueHint::FilePath)]
    pub(crate) output: PathBuf,
    /// A file with the authorities that vouch for the server's TLS certificate
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) authorities: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Join {
    /// The invitation: its text, or a file with it
    #[arg(value_name = "INVITATION", required_unless_present_any = ["qr", "invitation"])]
    pub(crate) text: Option<String>,
    /// A file with the invitation
    #[arg(long, value_name = "FILE", conflicts_with = "text", value_hint = ValueHint::FilePath)]
    pub(crate) invitation: Option<PathBuf>,
    /// A picture of the invitation's QR code
    #[arg(long, value_name = "PICTURE", conflicts_with_all = ["text", "invitation"], value_hint = ValueHint::FilePath)]
    pub(crate) qr: Option<PathBuf>,
    /// Your key in GnuPG: a fingerprint, an address, or part of a name
    #[arg(long)]
    pub(crate) key: Option<String>,
    /// A file with the authorities that vouch for the server's TLS certificate
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) authorities: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Invite {
    /// Who is invited, if they are in the organization already
    pub(crate) person: Option<String>,
    /// Write the QR code as a picture too
    #[arg(long, value_name = "FILE.png", value_hint = ValueHint::FilePath)]
    pub(crate) picture: Option<PathBuf>,
    /// Print the text alone, without the QR code
    #[arg(long)]
    pub(crate) text: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add somebody to the organization
    #[command(after_long_help = "\
Examples:
  countersign user add bob.asc
  countersign user add 'countersign:add?version=1&organization=…'   what `countersign join` printed
  countersign user add carol.asc --administrator --request dave     Dave is asked to countersign
  countersign user add erin.asc --output erin.change                the draft goes to a file

Where you are the only administrator, this changes the organization at once. Where there are more, two
must sign: the draft goes to another one, by --request or as a file.")]
    Add(UserAdd),
    /// Change a user's certificate, role, activity or number of clients
    #[command(after_long_help = "\
Examples:
  countersign user update bob --certificate bob-new.asc
  countersign user update bob --administrator yes --request dave
  countersign user update bob --active no --output bob.change
  countersign user update robot --client-limit 50")]
    Update(UserUpdate),
    /// List the users, as the log says
    #[command(after_long_help = "\
Examples:
  countersign user list
  countersign --json user list | jq -r '.users[] | select(.administrator).user_id'

The server's own listing is compared with the log; it is refused if it differs.")]
    List,
    /// Show a user, with their certificate
    #[command(after_long_help = "\
Example:
  countersign user show bob")]
    Show {
        /// Who: part of a name or address, a fingerprint, an id, or `me`
        person: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct UserAdd {
    /// Their certificate's file, or the text or file that `countersign join` gave them
    pub(crate) who: String,
    /// They become an administrator
    #[arg(long)]
    pub(crate) administrator: bool,
    /// How many clients they may have
    #[arg(long, value_name = "NUMBER")]
    pub(crate) client_limit: Option<u32>,
    /// Their id; a new one if it is not given
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<UserId>,
    #[command(flatten)]
    pub(crate) way: Way,
}

#[derive(Debug, Args)]
pub(crate) struct UserUpdate {
    /// Who
    pub(crate) person: String,
    /// A file with their new certificate
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) certificate: Option<PathBuf>,
    /// Whether they are an administrator from now on
    #[arg(long, value_name = "yes|no", value_parser = yes_no)]
    pub(crate) administrator: Option<bool>,
    /// Whether they are active from now on
    #[arg(long, value_name = "yes|no", value_parser = yes_no)]
    pub(crate) active: Option<bool>,
    /// How many clients they may have
    #[arg(long, value_name = "NUMBER")]
    pub(crate) client_limit: Option<u32>,
    #[command(flatten)]
    pub(crate) way: Way,
}

fn yes_no(text: &str) -> Result<bool, String> {
    match text {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err("yes or no".to_owned()),
    }
}

/// Which way a change goes that needs a second signature.
#[derive(Debug, Default, Args)]
pub(crate) struct Way {
    /// Ask this administrator to countersign, inside Countersign
    #[arg(long, value_name = "ADMINISTRATOR")]
    pub(crate) request: Option<String>,
    /// Write the signed draft to a file
    #[arg(long, value_name = "FILE", conflicts_with = "request", value_hint = ValueHint::FilePath)]
    pub(crate) output: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ChangeCommand {
    /// Draft a change without signing it
    #[command(
        subcommand,
        after_long_help = "\
Examples:
  countersign change draft add bob.asc --output bob.change
  countersign change draft update bob --active no --output bob.change"
    )]
    Draft(ChangeDraftCommand),
    /// Say in words what a change is, and who has signed it
    #[command(after_long_help = "\
Examples:
  countersign change show bob.change
  countersign change show 12            the change that message 12 asks to countersign")]
    Show {
        /// The file, or the number of the message that it came in
        change: String,
    },
    /// Sign a change, after saying in words what it is
    #[command(after_long_help = "\
Examples:
  countersign change sign bob.change
  countersign change sign 12 --submit   countersign what message 12 asks, and submit it")]
    Sign {
        /// The file, or the number of the message that it came in
        change: String,
        /// Submit it at once
        #[arg(long)]
        submit: bool,
        /// Where to write it; the same file if it is not given
        #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
        output: Option<PathBuf>,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Submit a change that has its signatures
    #[command(after_long_help = "\
Example:
  countersign change submit bob.change")]
    Submit {
        /// The file, or the number of the message that it came in
        change: String,
    },
    /// Send a change to another administrator, inside Countersign
    #[command(after_long_help = "\
Example:
  countersign change request bob.change --to dave")]
    Request {
        /// The file
        #[arg(value_hint = ValueHint::FilePath)]
        change: String,
        /// The administrator
        #[arg(long, value_name = "ADMINISTRATOR")]
        to: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ChangeDraftCommand {
    /// Add somebody
    Add(UserAdd),
    /// Change somebody
    Update(UserUpdate),
}

#[derive(Debug, Args)]
pub(crate) struct Send {
    /// To whom: parts of names or addresses, fingerprints, or ids
    #[arg(required = true, value_name = "PERSON")]
    pub(crate) to: Vec<String>,
    /// The text; standard input if neither this nor a file is given
    #[arg(long, short, conflicts_with = "file")]
    pub(crate) message: Option<String>,
    /// A file, whatever its size; `-` is standard input
    #[arg(long, short, value_hint = ValueHint::FilePath)]
    pub(crate) file: Vec<PathBuf>,
    /// The name that the file gets
    #[arg(long, requires = "file")]
    pub(crate) name: Option<String>,
    /// Continue the conversation of this message
    #[arg(long, value_name = "NUMBER")]
    pub(crate) reply: Option<i64>,
    /// Put it into the outbox and do not send it now
    #[arg(long)]
    pub(crate) later: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Inbox {
    /// Those that were read or sent too
    #[arg(long, short)]
    pub(crate) all: bool,
    /// Only the conversation with this person
    #[arg(long, value_name = "PERSON")]
    pub(crate) with: Option<String>,
    /// At most so many
    #[arg(long, short = 'n', default_value_t = 50)]
    pub(crate) limit: u32,
    /// List what is here without asking the server
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Read {
    /// The messages' numbers; everything that was not read if none is given
    pub(crate) numbers: Vec<i64>,
    /// Save to this file, or into this folder; `-` is standard output
    #[arg(long, short, value_hint = ValueHint::AnyPath)]
    pub(crate) output: Option<PathBuf>,
    /// Leave it unread
    #[arg(long)]
    pub(crate) peek: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// Run this in a shell for each message
    #[arg(long, value_name = "COMMAND")]
    pub(crate) exec: Option<String>,
    /// End after so many messages
    #[arg(long, value_name = "NUMBER")]
    pub(crate) count: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct Receipts {
    /// The message's number
    pub(crate) number: Option<i64>,
    /// Say what is known without asking the server
    #[arg(long)]
    pub(crate) offline: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// List your registered clients
    #[command(after_long_help = "\
Example:
  countersign client list")]
    List,
    /// Remove one: its session ends, and its place is free
    #[command(after_long_help = "\
Example:
  countersign client remove 6f1c2e5a-0c1d-4e8b-9a53-0e4a7d1f2b3c")]
    Remove {
        /// Its id
        client: ClientId,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Show the log in words
    #[command(after_long_help = "\
Examples:
  countersign log show
  countersign --json log show | jq '.entries[-1]'")]
    Show {
        /// Say what is pinned without asking the server
        #[arg(long)]
        offline: bool,
    },
    /// Judge the whole log again, and compare the server's listing with it
    #[command(after_long_help = "\
Example:
  countersign log verify && echo 'nobody was added behind our backs'")]
    Verify,
}

#[derive(Debug, Args)]
pub(crate) struct Evidence {
    /// Its number
    pub(crate) number: Option<i64>,
    /// Write the bytes as they came to standard output
    #[arg(long, requires = "number")]
    pub(crate) raw: bool,
}
