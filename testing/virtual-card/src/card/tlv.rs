//! BER-TLV (ISO 7816-4, 5.2.2), with tags of one or two bytes, as the OpenPGP card has them.
//!
//! Owns: reading and writing tags and lengths. Refuses to know: what a tag means.

/// Splits a tag and a length off, without the value: in a header list (7F48) the values stand elsewhere.
pub(super) fn read_header(bytes: &[u8]) -> Option<(u16, usize, &[u8])> {
    let (tag, rest) = match bytes {
        [first, second, rest @ ..] if first & 0x1F == 0x1F => (u16::from_be_bytes([*first, *second]), rest),
        [first, rest @ ..] if first & 0x1F != 0x1F => (u16::from(*first), rest),
        _ => return None,
    };
    let (length, rest) = match rest {
        [length @ 0..=0x7F, rest @ ..] | [0x81, length, rest @ ..] => (usize::from(*length), rest),
        [0x82, high, low, rest @ ..] => (usize::from(u16::from_be_bytes([*high, *low])), rest),
        _ => return None,
    };
    Some((tag, length, rest))
}

/// Splits the first object off: its tag, its value, and what comes after it.
pub(super) fn read(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (tag, length, rest) = read_header(bytes)?;
    let (value, rest) = rest.split_at_checked(length)?;
    Some((tag, value, rest))
}

/// The value of the first object with that tag, not looking into others.
pub(super) fn find(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    while let Some((tag, value, rest)) = read(bytes) {
        if tag == wanted {
            return Some(value);
        }
        bytes = rest;
    }
    None
}

/// Appends an object.
pub(super) fn write(to: &mut Vec<u8>, tag: u16, value: &[u8]) {
    match tag.to_be_bytes() {
        [0, tag] => to.push(tag),
        tag => to.extend(tag),
    }
    let length = u16::try_from(value.len()).expect("no object of a card is longer than 65535 bytes");
    match length.to_be_bytes() {
        [0, length @ 0..=0x7F] => to.push(length),
        [0, length] => to.extend([0x81, length]),
        [high, low] => to.extend([0x82, high, low]),
    }
    to.extend(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        for length in [0, 1, 127, 128, 255, 256, 1000] {
            let value = vec![7; length];
            let mut bytes = Vec::new();
            write(&mut bytes, 0x5F52, &[1]);
            write(&mut bytes, 0xC5, &value);

            assert_eq!(find(&bytes, 0xC5), Some(&value[..]), "{length} bytes");
            assert_eq!(find(&bytes, 0x5F52), Some(&[1][..]));
            assert_eq!(find(&bytes, 0xC6), None);
        }
    }

    #[test]
    fn truncated_objects_are_refused() {
        for bytes in [&[][..], &[0xC5], &[0x5F], &[0x5F, 0x52], &[0xC5, 2, 1], &[0xC5, 0x81], &[0xC5, 0x83, 0, 0, 1]]
        {
            assert_eq!(read(bytes), None, "{bytes:?}");
        }
    }
}
