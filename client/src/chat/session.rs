//! Carrying out what [`update`](super::update) decides: tasks, the account, the terminal.
//!
//! Invariants: what is sent is put into the outbox one after the other, in the order in which it was written. Nothing goes
//! to a server that is refused. GnuPG asks in this terminal only while the interface is away.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use countersign_client::account::{self, Body, Draft, Environment, Progress};
use countersign_client::change::ChangeDraft;
use countersign_client::store::MessageNumber;
use countersign_client::{Account, Error, Refused, words};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{Mutex, Notify, mpsc, oneshot};
use tokio::task::JoinSet;

use super::draw::draw;
use super::load::load;
use super::model::{Refusal, printed};
use super::paths;
use super::pinentry::Pinentry;
use super::save::save;
use super::screen::Screen;
use super::state::{Effect, Event, Notice, Outgoing, OutgoingBody, State, home};
use super::update::update;
use crate::exit::{FAILED, Failure};

/// How often the clock is read, and the store asked whether another process changed it.
const TICK: Duration = Duration::from_secs(1);

/// How often gpg-agent is asked whether it has forgotten a pass phrase.
const LOCK_TICK: Duration = Duration::from_secs(5);

/// Changes that were signed here and not submitted yet.
type Drafts = Arc<Mutex<BTreeMap<MessageNumber, ChangeDraft>>>;

/// The interface at work.
pub(super) struct Session {
    account: Arc<Account>,
    environment: Environment,
    gpg: PathBuf,
    state: State,
    home: Option<PathBuf>,
    drafts: Drafts,
    /// Keeping the account up to date: dropping the sender ends it.
    running: Option<oneshot::Sender<()>>,
    /// Whether anything may be sent at all.
    may_send: Arc<AtomicBool>,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    results: mpsc::UnboundedSender<Event>,
    news: mpsc::UnboundedReceiver<Event>,
    /// Ends with the session.
    tasks: JoinSet<()>,
}

impl Session {
    pub(super) fn new(account: Arc<Account>, environment: Environment, gpg: &Path, mut state: State) -> Self {
        state.organization = Some(account.organization());
        let (results, news) = mpsc::unbounded_channel();
        let (outgoing, queue) = mpsc::unbounded_channel();
        let may_send = Arc::new(AtomicBool::new(false));
        let mut tasks = JoinSet::new();
        let home = home(|name| std::env::var_os(name));
        let filled = Arc::new(Notify::new());
        let composer = compose_all(Arc::clone(&account), queue, results.clone(), home.clone(), Arc::clone(&filled));
        tasks.spawn(composer);
        tasks.spawn(flush_all(Arc::clone(&account), filled, results.clone(), Arc::clone(&may_send)));
        let (gpg, drafts) = (gpg.to_owned(), Drafts::default());
        Self {
            account,
            environment,
            gpg,
            state,
            home,
            drafts,
            running: None,
            may_send,
            outgoing,
            results,
            news,
            tasks,
        }
    }

    /// Runs until the person leaves, or is asked to by a signal.
    pub(super) async fn run(mut self) -> Result<(), Failure> {
        let lost = |error: std::io::Error| Failure::new(FAILED, format!("the terminal cannot be used: {error}"));
        let mut events = self.account.events();
        let certificate = self.account.certificate()?;
        let has = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let mut pinentry = Pinentry::find(&self.gpg, &certificate, has).await;
        // An interrupt that was meant for GnuPG must not end the interface too.
        let mut interrupt = signal(SignalKind::interrupt()).map_err(lost)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(lost)?;
        let mut hang_up = signal(SignalKind::hangup()).map_err(lost)?;
        let (mut tick, mut lock_tick) = (tokio::time::interval(TICK), tokio::time::interval(LOCK_TICK));
        let mut elsewhere = self.account.changes_elsewhere()?;

        let mut screen = Screen::open().map_err(lost)?;
        self.state.size = screen.size().map_err(lost)?;
        let mut effects: VecDeque<Effect> = VecDeque::from([Effect::Load]);
        self.lock(pinentry.would_ask().await);
        loop {
            while let Some(effect) = next(&mut effects) {
                if effect == Effect::Quit {
                    return Ok(());
                }
                let more = self.perform(effect, &mut screen, &mut pinentry).await.map_err(lost)?;
                effects.extend(more);
            }
            screen.draw(|frame| draw(frame, &mut self.state)).map_err(lost)?;
            let event = tokio::select! {
                event = screen.event() => match event {
                    Some(Ok(event)) => Event::Terminal(event),
                    Some(Err(_)) | None => return Ok(()),
                },
                event = events.recv() => match event {
                    Ok(event) => translated(event),
                    Err(RecvError::Lagged(_)) => Event::StoreChanged,
                    Err(RecvError::Closed) => return Ok(()),
                },
                Some(event) = self.news.recv() => event,
                _ = tick.tick() => {
                    let now = self.account.changes_elsewhere()?;
                    if std::mem::replace(&mut elsewhere, now) != now {
                        effects.push_back(Effect::Load);
                    }
                    Event::Time(self.environment.clock.now())
                }
                _ = lock_tick.tick() => {
                    self.lock(pinentry.would_ask().await);
                    continue;
                }
                _ = interrupt.recv() => return Ok(()),
                _ = terminate.recv() => return Ok(()),
                _ = hang_up.recv() => return Ok(()),
            };
            effects.extend(update(&mut self.state, event));
            // What has happened meanwhile is drawn together.
            loop {
                let event = match events.try_recv() {
                    Ok(event) => translated(event),
                    Err(TryRecvError::Lagged(_)) => Event::StoreChanged,
                    Err(TryRecvError::Empty | TryRecvError::Closed) => break,
                };
                effects.extend(update(&mut self.state, event));
            }
        }
    }

    /// Takes note of whether GnuPG would ask in this terminal, and works with it only while it would not.
    fn lock(&mut self, locked: bool) {
        update(&mut self.state, Event::Locked(locked));
        if locked {
            self.running = None;
            self.state.online = None;
        } else if self.running.is_none() && self.state.stopped.is_none() {
            self.resume();
        }
        self.judge_sending();
    }

    /// Keeps the account up to date from now on.
    fn resume(&mut self) {
        let (stop, stopped) = oneshot::channel::<()>();
        self.running = Some(stop);
        let (account, results) = (Arc::clone(&self.account), self.results.clone());
        self.tasks.spawn(async move {
            let end = async {
                // Dropped or used: it ends.
                let _ = stopped.await;
            };
            if let Err(error) = account.run(end, |_| ()).await {
                let _ = results.send(Event::Stopped(said(&error)));
            }
        });
    }

    fn judge_sending(&self) {
        let may_send = !self.state.locked && !self.state.is_server_refused();
        self.may_send.store(may_send, Ordering::SeqCst);
    }

    /// Carries one effect out. Returns what follows from it.
    async fn perform(
        &mut self,
        effect: Effect,
        screen: &mut Screen,
        pinentry: &mut Pinentry,
    ) -> std::io::Result<Vec<Effect>> {
        self.judge_sending();
        if self.state.locked && matches!(effect, Effect::Send(_) | Effect::SignChange(_) | Effect::SubmitChange(_)) {
            self.unlock(screen, pinentry).await?;
        }
        match effect {
            Effect::Load => return Ok(self.load()),
            Effect::MarkRead(numbers) => {
                for number in numbers {
                    if let Err(error) = self.account.mark_read(number) {
                        return Ok(self.tell(Notice::bad(said(&error))));
                    }
                }
            }
            Effect::Send(outgoing) if self.state.locked => {
                let why = "GnuPG was not allowed to use your key".to_owned();
                return Ok(update(&mut self.state, Event::NotComposed(outgoing, why)));
            }
            Effect::Send(outgoing) => {
                // The one who receives it ends with this session.
                let _ = self.outgoing.send(outgoing);
            }
            Effect::Save(number, path) => self.save(number, &path),
            Effect::ReadChange(number) => self.change(number, ChangeStep::Read),
            Effect::SignChange(number) => self.change(number, ChangeStep::Sign),
            Effect::SubmitChange(number) => self.change(number, ChangeStep::Submit),
            Effect::ReadLog => {
                let (account, results) = (Arc::clone(&self.account), self.results.clone());
                // All its signatures are verified again.
                self.tasks.spawn_blocking(move || {
                    let _ = results.send(match account.log_lines() {
                        Ok(lines) => Event::Log(lines),
                        Err(error) => Event::Told(Notice::bad(said(&error))),
                    });
                });
            }
            Effect::Complete(text) => {
                let completed = paths::complete(&text, self.home.as_deref());
                return Ok(update(&mut self.state, Event::Completed(completed)));
            }
            Effect::Resume => {
                self.state.stopped = None;
                self.running = None;
                self.lock(pinentry.would_ask().await);
            }
            Effect::Unlock => self.unlock(screen, pinentry).await?,
            Effect::Redraw => screen.clear()?,
            Effect::Quit => {}
        }
        Ok(Vec::new())
    }

    fn load(&mut self) -> Vec<Effect> {
        match load(&self.account, self.state.open, self.state.limit) {
            Ok(loaded) => update(&mut self.state, Event::Loaded(Box::new(loaded))),
            Err(error) => self.tell(Notice::bad(said(&error))),
        }
    }

    fn tell(&mut self, notice: Notice) -> Vec<Effect> {
        update(&mut self.state, Event::Told(notice))
    }

    /// Gives the terminal to GnuPG, and takes it back when it has asked.
    async fn unlock(&mut self, screen: &mut Screen, pinentry: &mut Pinentry) -> std::io::Result<()> {
        screen.leave()?;
        let _ = writeln!(std::io::stdout(), "GnuPG asks for the PIN or pass phrase of your key …");
        let certificate = self.account.certificate();
        let asked = match certificate {
            Ok(certificate) => {
                let now = self.environment.clock.now();
                pinentry.ask(&self.environment.gnupg, &certificate, now).await.map_err(|error| said(&error))
            }
            Err(error) => Err(said(&error)),
        };
        screen.come_back()?;
        self.state.size = screen.size()?;
        if let Err(why) = asked {
            self.tell(Notice::bad(why));
        }
        let locked = pinentry.would_ask().await;
        self.lock(locked);
        Ok(())
    }

    fn save(&mut self, number: MessageNumber, path: &str) {
        let (account, results) = (Arc::clone(&self.account), self.results.clone());
        let path = paths::typed(path, self.home.as_deref());
        self.tasks.spawn_blocking(move || {
            let notice = match save(&account, number, &path) {
                Ok(path) => Notice::good(format!("Saved {}", path.display())),
                Err(error) => Notice::bad(format!("Not saved: {}", said(&error))),
            };
            let _ = results.send(Event::Told(notice));
        });
    }

    fn change(&mut self, number: MessageNumber, step: ChangeStep) {
        let (account, results, drafts) = (Arc::clone(&self.account), self.results.clone(), Arc::clone(&self.drafts));
        self.tasks.spawn(async move {
            for event in change(&account, &drafts, number, step).await {
                let _ = results.send(event);
            }
        });
    }
}

/// Takes the next effect. The store is read last, and once for all who ask for it.
fn next(effects: &mut VecDeque<Effect>) -> Option<Effect> {
    while let Some(effect) = effects.pop_front() {
        if effect == Effect::Load && effects.iter().any(|other| *other != Effect::Load) {
            let is_asked_for_again = effects.contains(&Effect::Load);
            if !is_asked_for_again {
                effects.push_back(effect);
            }
            continue;
        }
        if effect == Effect::Load {
            effects.clear();
        }
        return Some(effect);
    }
    None
}

/// What is to be done with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChangeStep {
    Read,
    Sign,
    Submit,
}

/// Reads, signs or submits a change. Returns what is to be said of it, and how it stands afterwards.
async fn change(account: &Account, drafts: &Drafts, number: MessageNumber, step: ChangeStep) -> Vec<Event> {
    let bad = |error: &Error| Event::Told(Notice::bad(said(error)));
    let mut drafts = drafts.lock().await;
    let mut draft = match drafts.get(&number).cloned().map_or_else(|| account.change_in(number), Ok) {
        Ok(draft) => draft,
        Err(error) => return vec![bad(&error)],
    };
    let mut events = Vec::new();
    let done = match step {
        ChangeStep::Read => Ok(()),
        ChangeStep::Sign => account.sign_change(&mut draft).await,
        ChangeStep::Submit => match account.submit_change(&draft).await {
            Ok(head) => {
                events.push(Event::Submitted(head.sequence));
                account.mark_read(number)
            }
            Err(error) => Err(error),
        },
    };
    if let Err(error) = done {
        events.push(bad(&error));
    }
    match account.standing(&draft) {
        Ok(standing) => events.push(Event::Change(number, Box::new(standing))),
        Err(error) => events.push(bad(&error)),
    }
    drafts.insert(number, draft);
    events
}

/// Puts what is sent into the outbox, one after the other.
async fn compose_all(
    account: Arc<Account>,
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
    results: mpsc::UnboundedSender<Event>,
    home: Option<PathBuf>,
    filled: Arc<Notify>,
) {
    while let Some(outgoing) = queue.recv().await {
        let body = match &outgoing.body {
            OutgoingBody::Text(text) => Body::text(text.clone()),
            OutgoingBody::File(path) => Body::File(paths::typed(path, home.as_deref())),
        };
        let (recipients, conversation) = (outgoing.recipients.clone(), Some(outgoing.conversation));
        let composed = account.compose(Draft { recipients, body, file_name: None, conversation }).await;
        let _ = results.send(match composed {
            Ok(_) => Event::Composed,
            Err(error) => Event::NotComposed(outgoing, said(&error)),
        });
        filled.notify_one();
    }
}

/// Sends what is in the outbox, whenever something new is in it.
async fn flush_all(
    account: Arc<Account>,
    filled: Arc<Notify>,
    results: mpsc::UnboundedSender<Event>,
    may_send: Arc<AtomicBool>,
) {
    loop {
        filled.notified().await;
        if !may_send.load(Ordering::SeqCst) {
            continue;
        }
        match account.flush().await {
            Ok(_) => {}
            // It stays in the outbox, and is sent when the server is back.
            Err(Error::Server(error)) if error.is_passing() => {
                let _ = results.send(Event::Online(false));
            }
            Err(error) => {
                let _ = results.send(Event::Told(Notice::bad(said(&error))));
            }
        }
    }
}

/// Says in the words of the interface what happened in the account.
fn translated(event: account::Event) -> Event {
    match event {
        account::Event::Arrived(_) | account::Event::Changed(_) => Event::StoreChanged,
        account::Event::LogExtended(update) => Event::LogExtended(update.entries),
        account::Event::Gap(from) => Event::Told(Notice::bad(words::gap(&printed(&from)))),
        account::Event::Refused(refused) => {
            let Refused { evidence, what } = *refused;
            let details = what.details.iter().map(|detail| printed(detail)).collect();
            Event::Refused(Refusal { evidence, summary: printed(&what.summary), details })
        }
        account::Event::Online(online) => Event::Online(online),
        account::Event::Progress { what, done, total } => {
            let what = match what {
                Progress::Preparing => "Signing and encrypting",
                Progress::Sending => "Sending",
                Progress::Receiving => "Receiving",
                Progress::Acknowledging => "Signing receipts",
            };
            Event::Progress(what, done, total)
        }
    }
}

/// Writes an error with its causes, on one line that cannot rule a terminal.
fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    printed(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_store_is_read_once_and_last() {
        let mut effects = VecDeque::from([Effect::Load, Effect::Redraw, Effect::Load, Effect::ReadLog, Effect::Load]);
        let mut order = Vec::new();
        while let Some(effect) = next(&mut effects) {
            order.push(effect);
        }
        assert_eq!(order, [Effect::Redraw, Effect::ReadLog, Effect::Load]);
    }
}
