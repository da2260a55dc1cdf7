//! Integers of any length: Python's bytes (two's complement, the lowest first) to decimal digits and back.

use super::INT_BYTES_MAX;

/// How many digits the longest integer has; one of so many digits may still be too long.
pub(super) const DIGITS_MAX: usize = INT_BYTES_MAX * 8 * 30_103 / 100_000 + 1;

/// The largest power of ten in a limb of 32 bits.
const CHUNK: u64 = 1_000_000_000;

/// The decimal digits of an integer.
pub(super) fn digits(bytes: &[u8]) -> String {
    let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let mut limbs: Vec<u32> = bytes
        .chunks(4)
        .map(|chunk| {
            let mut limb = [if negative { 0xff } else { 0 }; 4];
            limb[..chunk.len()].copy_from_slice(chunk);
            u32::from_le_bytes(limb)
        })
        .collect();
    if negative {
        let mut carry = true;
        for limb in &mut limbs {
            (*limb, carry) = (!*limb).overflowing_add(u32::from(carry));
        }
        if carry {
            limbs.push(1);
        }
    }
    let mut chunks = Vec::new();
    while let Some(last) = limbs.last() {
        if *last == 0 {
            limbs.pop();
            continue;
        }
        let rest = limbs.iter_mut().rev().fold(0u64, |rest, limb| {
            let whole = (rest << 32) | u64::from(*limb);
            *limb = (whole / CHUNK) as u32;
            whole % CHUNK
        });
        chunks.push(rest);
    }
    let Some(first) = chunks.pop() else { return "0".to_owned() };
    let mut text = format!("{}{first}", if negative { "-" } else { "" });
    for chunk in chunks.iter().rev() {
        text.push_str(&format!("{chunk:09}"));
    }
    text
}

/// The bytes of an integer of decimal digits; nothing when it is longer than the limit.
pub(super) fn bytes(text: &str) -> Option<Vec<u8>> {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    if digits.is_empty() || digits.len() > DIGITS_MAX || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let mut limbs: Vec<u32> = Vec::new();
    let first = digits.len() % 9;
    let chunks =
        std::iter::once(&digits[..first]).chain((first..digits.len()).step_by(9).map(|at| &digits[at..at + 9]));
    for chunk in chunks.filter(|chunk| !chunk.is_empty()) {
        let mut carry: u64 = chunk.parse().ok()?;
        for limb in &mut limbs {
            let whole = u64::from(*limb) * CHUNK + carry;
            *limb = whole as u32;
            carry = whole >> 32;
        }
        if carry > 0 {
            limbs.push(carry as u32);
        }
    }
    // Room for the sign.
    limbs.push(0);
    if negative {
        let mut carry = true;
        for limb in &mut limbs {
            (*limb, carry) = (!*limb).overflowing_add(u32::from(carry));
        }
    }
    let mut bytes: Vec<u8> = limbs.iter().flat_map(|limb| limb.to_le_bytes()).collect();
    while let [.., below, last] = bytes[..]
        && ((last == 0 && below < 0x80) || (last == 0xff && below >= 0x80))
    {
        bytes.pop();
    }
    (bytes.len() <= INT_BYTES_MAX).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        for (text, raw) in [
            ("0", &[0][..]),
            ("127", &[0x7f]),
            ("128", &[0x80, 0]),
            ("-128", &[0x80]),
            ("-129", &[0x7f, 0xff]),
            ("18446744073709551616", &[0, 0, 0, 0, 0, 0, 0, 0, 1]),
            ("-18446744073709551616", &[0, 0, 0, 0, 0, 0, 0, 0, 0xff]),
            ("-9223372036854775808", &[0, 0, 0, 0, 0, 0, 0, 0x80]),
        ] {
            assert_eq!((digits(raw).as_str(), bytes(text).as_deref()), (text, Some(raw)));
        }
        assert_eq!(digits(&[]), "0");
        // `-2^32` has one limb more when its sign is gone.
        assert_eq!(digits(&[0, 0, 0, 0, 0xff]), "-4294967296");
        assert_eq!(digits(&[0, 0, 0, 0x80]), "-2147483648");
    }

    #[test]
    fn the_longest_and_one_more() {
        let mut raw = vec![0xff; INT_BYTES_MAX];
        raw[INT_BYTES_MAX - 1] = 0x7f;
        let text = digits(&raw);
        assert_eq!((bytes(&text), text.len() <= DIGITS_MAX), (Some(raw), true));
        let mut longer = vec![0; INT_BYTES_MAX + 1];
        longer[INT_BYTES_MAX] = 1;
        assert_eq!(bytes(&digits(&longer)), None);
        for none in ["", "-", "1x", "٣"] {
            assert_eq!(bytes(none), None);
        }
    }
}
