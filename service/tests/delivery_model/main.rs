//! An exhaustive model of delivery's core: mailbox, fetched, last known good, window. Every interleaving within small
//! bounds, with the real listing of the service in the place of a model of it.
//!
//! Two replicas that agree late; reads and writes that ask one of them. What it covers and what not: `docs/no-loss.md`.

#![expect(clippy::unwrap_used, reason = "a test may say briefly what must hold")]
#![expect(clippy::indexing_slicing, reason = "bounds are the model's own")]

mod state;

use std::time::Duration;

use countersign_service::delivery::listing::{ListingTimes, list_new};
use countersign_service::ephemeral::ListingHints;
use futures_util::FutureExt as _;
use stateright::{Checker, HasDiscoveries, Model, Property};

use state::{CLIENT, END, MESSAGES, REPLICAS, State, View, at, id};

/// One unit of the model's time: a minute.
const UNIT: Duration = Duration::from_secs(60);
/// Items that a listing asks for: fewer than there are messages.
const LIMIT: usize = 1;

/// What is to be checked: the algorithm with these numbers, in units.
#[derive(Clone, Debug)]
struct Delivery {
    /// The inconsistent window.
    window: u8,
    /// How long a row may take to reach the other replica.
    propagation: u8,
    /// How old an id may be when it is accepted.
    behind: u8,
}

/// What may happen next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Step {
    /// Time goes by.
    Tick,
    /// A message whose id is so many units old is accepted, and its row is on one replica.
    Accept { message: usize, age: u8, replica: usize },
    /// A message's row reaches the other replica.
    Deliver { message: usize },
    /// A client is listed what is new, from one replica's mailbox and one replica's fetched rows, and stores it.
    List { items: usize, fetched: usize },
    /// What the last listing learned is remembered.
    Remember,
    /// The hints are lost.
    Forget,
    /// The client confirms a message that it holds, at one replica.
    Confirm { message: usize, replica: usize },
    /// A confirmation reaches the other replica.
    DeliverConfirmation { message: usize },
}

impl Delivery {
    fn times(&self, now: u8) -> ListingTimes {
        ListingTimes {
            now: at(now),
            inconsistent_window: UNIT * u32::from(self.window),
            retention: UNIT * 1_000,
            ahead: Duration::ZERO,
            // Never: the window must do alone.
            reconcile_interval: UNIT * 1_000,
            merge_interval: UNIT,
        }
    }

    /// Runs the real listing.
    fn list(&self, state: &State, items: usize, fetched: usize) -> (Vec<usize>, ListingHints) {
        let view = View { state, items, fetched };
        let times = self.times(state.now);
        let listed = list_new(&view, &CLIENT, state.hints(), LIMIT, &times).now_or_never();
        let listed = listed.expect("the view does not wait").unwrap();
        let messages = (0..MESSAGES).filter(|message| {
            state.messages[*message]
                .is_some_and(|held| listed.items.iter().any(|item| item.id == id(*message, held.time)))
        });
        (messages.collect(), listed.hints)
    }

    /// Tells whether time may go by: no row is under way for longer than it may be.
    fn may_tick(&self, state: &State) -> bool {
        let in_bound = |message: &state::Message| {
            message.visible.iter().all(|visible| *visible) || message.accepted + self.propagation > state.now
        };
        state.now < END && state.messages.iter().flatten().all(in_bound)
    }
}

impl Model for Delivery {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        // Ids may be older than the beginning.
        vec![State { now: self.behind, ..State::default() }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        if self.may_tick(state) {
            steps.push(Step::Tick);
        }
        for message in 0..MESSAGES {
            match &state.messages[message] {
                // In order of their numbers: which is which makes no difference.
                None if message == 0 || state.messages[message - 1].is_some() => {
                    for age in 0..=self.behind {
                        steps.extend((0..REPLICAS).map(|replica| Step::Accept { message, age, replica }));
                    }
                }
                None => {}
                Some(held) => {
                    if held.visible.contains(&false) {
                        steps.push(Step::Deliver { message });
                    }
                    if held.held && !held.confirmed.contains(&true) {
                        steps.extend((0..REPLICAS).map(|replica| Step::Confirm { message, replica }));
                    }
                    if held.confirmed.contains(&true) && held.confirmed.contains(&false) {
                        steps.push(Step::DeliverConfirmation { message });
                    }
                }
            }
        }
        for items in 0..REPLICAS {
            steps.extend((0..REPLICAS).map(|fetched| Step::List { items, fetched }));
        }
        if state.learned.is_some() {
            steps.push(Step::Remember);
        }
        if state.last_known_good.is_some() {
            steps.push(Step::Forget);
        }
    }

    fn next_state(&self, last: &State, step: Step) -> Option<State> {
        let mut state = last.clone();
        match step {
            Step::Tick => state.now += 1,
            Step::Accept { message, age, replica } => {
                let mut visible = [false; REPLICAS];
                visible[replica] = true;
                let (time, accepted) = (state.now - age, state.now);
                state.messages[message] =
                    Some(state::Message { time, accepted, visible, held: false, confirmed: [false; REPLICAS] });
            }
            Step::Deliver { message } => state.messages[message].as_mut()?.visible = [true; REPLICAS],
            Step::List { items, fetched } => {
                let (listed, hints) = self.list(last, items, fetched);
                for message in listed {
                    state.messages[message].as_mut()?.held = true;
                }
                state.learned = hints.last_known_good;
            }
            Step::Remember => state.last_known_good = state.last_known_good.max(state.learned.take()),
            Step::Forget => state.last_known_good = None,
            Step::Confirm { message, replica } => state.messages[message].as_mut()?.confirmed[replica] = true,
            Step::DeliverConfirmation { message } => {
                state.messages[message].as_mut()?.confirmed = [true; REPLICAS];
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("last known good never passes an unconfirmed message", |_, state: &State| {
                let passed = |message: &state::Message| {
                    !message.confirmed.contains(&true)
                        && state.last_known_good.is_some_and(|good| at(message.time) <= good)
                };
                !state.messages.iter().flatten().any(passed)
            }),
            Property::always("a listing skips no visible unconfirmed message", |model: &Self, state: &State| {
                (0..REPLICAS).all(|items| {
                    let (listed, _) = model.list(state, items, 0);
                    let due = |message: &usize| {
                        state.messages[*message]
                            .is_some_and(|held| held.visible[items] && !held.confirmed.contains(&true))
                    };
                    // A full page may leave some for the next one.
                    listed.len() == LIMIT || (0..MESSAGES).filter(due).all(|message| listed.contains(&message))
                })
            }),
            Property::always("nothing confirmed is listed, where the confirmation is seen", |model: &Self, state| {
                (0..REPLICAS).all(|fetched| {
                    let (listed, _) = model.list(state, 0, fetched);
                    listed
                        .into_iter()
                        .all(|message| state.messages[message].is_some_and(|held| !held.confirmed[fetched]))
                })
            }),
            Property::sometimes("last known good saves reads", |_, state: &State| {
                state.last_known_good.is_some_and(|good| good >= at(1))
            }),
            Property::sometimes("everything is delivered", |_, state: &State| {
                state.messages.iter().flatten().filter(|message| message.confirmed.contains(&true)).count()
                    == MESSAGES
            }),
        ]
    }
}

/// With the service's proportions: the window is longer than what an id may be behind and a row under way together.
#[test]
fn the_core_holds_in_every_interleaving() {
    let model = Delivery { window: 3, propagation: 1, behind: 1 };
    let checker = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    println!("{} states, {} of them different", checker.state_count(), checker.unique_state_count());
    checker.assert_properties();
}

/// A window that is as short as that is found out: the model can fail.
#[test]
fn too_short_a_window_is_found_out() {
    let model = Delivery { window: 1, propagation: 1, behind: 1 };
    let checker = model.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    let discovery = checker.discovery("last known good never passes an unconfirmed message");
    println!("{}", discovery.expect("last known good passes a message").into_actions().len());
}
