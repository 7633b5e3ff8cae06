//! Command APDUs and status words (ISO 7816-4).
//!
//! Owns: how a command is read from bytes, and the numbers of the status words that the card answers with.
//! Refuses to know: what any command does.

/// A command APDU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) class: u8,
    pub(super) instruction: u8,
    pub(super) p1: u8,
    pub(super) p2: u8,
    pub(super) data: Vec<u8>,
    /// The longest answer that is expected; none where no data is.
    pub(super) expected: Option<usize>,
    /// Whether lengths have two bytes, so that the answer may be longer than 256 bytes.
    pub(super) extended: bool,
}

/// Says that more of the same command follows.
const CHAINING: u8 = 0x10;

impl Command {
    /// Reads a command: header, then nothing, `Le`, `Lc` and data, or `Lc`, data and `Le`, in short or extended form.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let ([class, instruction, p1, p2], body) = bytes.split_first_chunk()?;
        let (data, expectation, extended): (&[u8], &[u8], bool) = match body {
            [] | [_] => (&[], body, false),
            [0, _, _] => (&[], &body[1..], true),
            [0, high, low, rest @ ..] => {
                let (data, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
                (data, rest, true)
            }
            [0, ..] => return None,
            [length, rest @ ..] => {
                let (data, rest) = rest.split_at_checked(usize::from(*length))?;
                (data, rest, false)
            }
        };
        let expected = match (expectation, extended) {
            ([], _) => None,
            ([0], false) => Some(0x100),
            ([length], false) => Some(usize::from(*length)),
            ([0, 0], true) => Some(0x1_0000),
            ([high, low], true) => Some(usize::from(u16::from_be_bytes([*high, *low]))),
            _ => return None,
        };
        let data = data.to_vec();
        Some(Self { class: *class, instruction: *instruction, p1: *p1, p2: *p2, data, expected, extended })
    }

    pub(super) const fn is_chained(&self) -> bool {
        self.class & CHAINING != 0
    }

    /// The class without the bit of chaining.
    pub(super) const fn plain_class(&self) -> u8 {
        self.class & !CHAINING
    }

    pub(super) const fn parameters(&self) -> u16 {
        u16::from_be_bytes([self.p1, self.p2])
    }
}

/// A status word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status(pub(super) u16);

impl Status {
    pub(super) const OK: Self = Self(0x9000);
    pub(super) const TERMINATED: Self = Self(0x6285);
    pub(super) const WRONG_LENGTH: Self = Self(0x6700);
    pub(super) const SECURITY_NOT_SATISFIED: Self = Self(0x6982);
    pub(super) const BLOCKED: Self = Self(0x6983);
    pub(super) const CONDITIONS_NOT_SATISFIED: Self = Self(0x6985);
    pub(super) const WRONG_DATA: Self = Self(0x6A80);
    pub(super) const FILE_NOT_FOUND: Self = Self(0x6A82);
    pub(super) const REFERENCE_NOT_FOUND: Self = Self(0x6A88);
    pub(super) const WRONG_PARAMETERS: Self = Self(0x6B00);
    pub(super) const INSTRUCTION_UNKNOWN: Self = Self(0x6D00);
    pub(super) const CLASS_UNKNOWN: Self = Self(0x6E00);

    /// The offered PIN is wrong, and may be tried so many times more.
    pub(super) const fn tries_left(tries: u8) -> Self {
        Self(0x63C0 | tries as u16 & 0xF)
    }

    /// There are so many bytes more, to be had by GET RESPONSE; 0 says 256 or more.
    pub(super) fn more(bytes: usize) -> Self {
        Self(0x6100 | u16::try_from(bytes).ok().filter(|bytes| *bytes < 0x100).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Option<(Vec<u8>, Option<usize>, bool)> {
        Command::read(bytes).map(|command| (command.data, command.expected, command.extended))
    }

    #[test]
    fn commands_of_every_form_are_read() {
        assert_eq!(read(&[0, 1, 2, 3]), Some((vec![], None, false)));
        assert_eq!(read(&[0, 1, 2, 3, 0]), Some((vec![], Some(256), false)));
        assert_eq!(read(&[0, 1, 2, 3, 2, 8, 9]), Some((vec![8, 9], None, false)));
        assert_eq!(read(&[0, 1, 2, 3, 2, 8, 9, 7]), Some((vec![8, 9], Some(7), false)));
        assert_eq!(read(&[0, 1, 2, 3, 0, 1, 0]), Some((vec![], Some(256), true)));
        assert_eq!(read(&[0, 1, 2, 3, 0, 0, 2, 8, 9]), Some((vec![8, 9], None, true)));
        assert_eq!(read(&[0, 1, 2, 3, 0, 0, 2, 8, 9, 0, 0]), Some((vec![8, 9], Some(65536), true)));
    }

    #[test]
    fn truncated_and_overlong_commands_are_refused() {
        for bytes in [
            &[0, 1, 2][..],
            &[0, 1, 2, 3, 2, 8],
            &[0, 1, 2, 3, 2, 8, 9, 0, 0],
            &[0, 1, 2, 3, 0, 0],
            &[0, 1, 2, 3, 0, 0, 2, 8],
            &[0, 1, 2, 3, 0, 0, 2, 8, 9, 0],
        ] {
            assert_eq!(read(bytes), None, "{bytes:?}");
        }
    }
}
