//! Texts that nobody outside can guess or forge.
//! In: a secret, what a text is for. Out: the text. Knows nothing of chance, clocks.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// A key. The same key gives the same text for the same purpose; another one, as after a restart, gives others.
/// `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret([u8; 32]);

impl Secret {
    /// From bytes that nobody knows.
    pub const fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// 128 bits in hexadecimal digits, bound to a purpose and what it is about (HMAC-SHA-256, RFC 2104, cut).
    pub fn text(&self, purpose: &str, about: &[u8]) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            return String::new(); // HMAC takes keys of any length
        };
        mac.update(&(purpose.len() as u64).to_be_bytes());
        mac.update(purpose.as_bytes());
        mac.update(about);
        let bytes = mac.finalize().into_bytes();
        bytes.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_depends_on_the_key_the_purpose_and_what_it_is_about() {
        let secret = Secret::new([1; 32]);
        let text = secret.text("tag", b"7");
        assert_eq!(text, secret.text("tag", b"7"));
        assert_eq!(text.len(), 32);
        for other in
            [secret.text("tag", b"8"), secret.text("ta", b"g7"), Secret::new([2; 32]).text("tag", b"7")]
        {
            assert_ne!(text, other);
        }
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}
