//! The hash by which the bytes of a series, as its sender writes them, are known again.
//!
//! SipHash-1-3 with 128 bits (J.-P. Aumasson, D. J. Bernstein, "SipHash: a fast short-input PRF", 2012) under a key that
//! each process draws anew. It is a pseudo-random function: who does not know the key cannot look for two texts with one
//! hash, and 10^9 series meet by chance with a probability of 10^-21. So a hit needs no look at the labels, which took a
//! third of the CPU time of a remote write; a fast hash without that property would.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::LazyLock;

use siphasher::sip128::{Hasher128, SipHasher13};

/// The standard library's random state is the one source of randomness without another dependency.
static KEY: LazyLock<(u64, u64)> = LazyLock::new(|| {
    let half = || RandomState::new().build_hasher().finish();
    (half(), half())
});

/// The keyed hash of the bytes; the same for all of the process' life, and another in the next one.
pub fn raw_hash(bytes: &[u8]) -> u128 {
    let (first, second) = *KEY;
    SipHasher13::new_with_keys(first, second).hash(bytes).as_u128()
}

/// The keyed hash of some texts, which tells where each ends, without copying them to one place.
pub fn raw_hash_of(texts: &[&str]) -> u128 {
    let (first, second) = *KEY;
    let mut hasher = SipHasher13::new_with_keys(first, second);
    for text in texts {
        hasher.write(&(text.len() as u64).to_le_bytes());
        hasher.write(text.as_bytes());
    }
    hasher.finish128().as_u128()
}

/// The keyed hash of a text and of another one, which was hashed before ([`raw_hash`]).
pub fn raw_hash_with(text: &str, hash: u128) -> u128 {
    let (first, second) = *KEY;
    let mut hasher = SipHasher13::new_with_keys(first, second);
    // The hash has a fixed length and stands last, so where the text ends is clear.
    hasher.write(text.as_bytes());
    hasher.write(&hash.to_le_bytes());
    hasher.finish128().as_u128()
}

/// A secret of this process for hashes that only need to be hard to guess.
pub fn secret_seed() -> u64 {
    KEY.0 ^ KEY.1.rotate_left(32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_have_equal_hashes_and_others_do_not() {
        assert_eq!(raw_hash(b"up{job=\"a\"}"), raw_hash(b"up{job=\"a\"}"));
        let mut seen = std::collections::HashSet::new();
        for length in 0..300 {
            assert!(seen.insert(raw_hash(&vec![0; length])), "{length} zero bytes");
        }
    }

    #[test]
    fn where_a_text_ends_counts() {
        let parted: [&[&str]; 6] = [&["ab", "c"], &["a", "bc"], &["abc"], &["abc", ""], &["", "abc"], &[]];
        let hashes: std::collections::HashSet<u128> = parted.iter().map(|texts| raw_hash_of(texts)).collect();
        assert_eq!(hashes.len(), parted.len());
        assert_eq!(raw_hash_of(&["ab", "c"]), raw_hash_of(&["ab", "c"]));
        assert_eq!(raw_hash_with("ab", 1), raw_hash_with("ab", 1));
        let beside = [("ab", 2), ("ba", 1), ("a", 1), ("", 1)].map(|(text, hash)| raw_hash_with(text, hash));
        assert!(!beside.contains(&raw_hash_with("ab", 1)));
    }
}
