//! The slot of the virtual reader: a card may be in it, and the reader's driver asks it over a socket.
//!
//! Owns: the card, whether it is in the slot, and the protocol of the driver (the head of `reader/reader.c`).
//! Refuses to know: pcscd and APDUs.
//!
//! Invariant: a card that is not in the slot is not asked, so it neither signs nor decrypts.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::card::OpenPgpCard;

const POWER_OFF: u8 = 0;
const POWER_ON: u8 = 1;
const RESET: u8 = 2;
const GET_ATR: u8 = 4;

/// How long pcscd may take to start, or to look for a card again. It looks every 0.4 s; a loaded machine is slower.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct State {
    card: OpenPgpCard,
    inserted: bool,
    /// How often the driver has asked whether a card is there, since this last changed.
    asked: u32,
    /// pcscd is gone, so nobody will ask any more.
    closed: bool,
}

/// A slot, shared by the test and by the thread that answers the driver.
#[derive(Debug)]
pub(crate) struct Slot {
    state: Mutex<State>,
    changed: Condvar,
}

impl Slot {
    pub(crate) fn with(card: OpenPgpCard) -> Self {
        Self { state: Mutex::new(State { card, inserted: true, asked: 0, closed: false }), changed: Condvar::new() }
    }

    /// A panic in the thread of the driver must not hide the test's own failure.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the card itself, whether it is in the slot or not.
    pub(crate) fn ask<T>(&self, question: impl FnOnce(&OpenPgpCard) -> T) -> T {
        question(&self.lock().card)
    }

    /// Puts the card in or takes it out, and waits until pcscd has noticed.
    pub(crate) fn set_inserted(&self, inserted: bool) -> bool {
        let mut state = self.lock();
        if state.inserted == inserted {
            return true;
        }
        state.inserted = inserted;
        state.asked = 0;
        state.card.reset();
        drop(state);
        // The first question may have been answered to a client of pcscd. By the second, pcscd itself has told
        // everybody what it heard at the one before.
        self.wait_for_questions(2)
    }

    /// Waits until the driver has asked so often; tells whether it did.
    pub(crate) fn wait_for_questions(&self, times: u32) -> bool {
        let (state, _) = self
            .changed
            .wait_timeout_while(self.lock(), PATIENCE, |state| state.asked < times && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        state.asked >= times
    }

    /// Says that nobody will ask any more.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// Answers one driver until it hangs up.
    pub(crate) fn serve(&self, listener: &UnixListener) -> io::Result<()> {
        let (mut driver, _) = listener.accept()?;
        loop {
            let mut length = [0; 2];
            match driver.read_exact(&mut length) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                Err(error) => return Err(error),
            }
            let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
            driver.read_exact(&mut message)?;
            self.answer(&message, &mut driver)?;
        }
    }

    fn answer(&self, message: &[u8], driver: &mut UnixStream) -> io::Result<()> {
        let mut state = self.lock();
        let answer = match message {
            [POWER_OFF | POWER_ON | RESET] => {
                state.card.reset();
                return Ok(());
            }
            [GET_ATR] => {
                state.asked = state.asked.saturating_add(1);
                self.changed.notify_all();
                if state.inserted { OpenPgpCard::answer_to_reset().to_vec() } else { Vec::new() }
            }
            [] | [_] => return Err(io::Error::new(io::ErrorKind::InvalidData, "the driver sent an unknown command")),
            command if state.inserted => state.card.transmit(command),
            _ => Vec::new(),
        };
        drop(state);
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        driver.write_all(&[&length.to_be_bytes()[..], &answer].concat())
    }
}
