//! The signature of a webhook request, as Standard Webhooks wants it.
//! In: a secret, and what is signed. Out: the value of a header. Knows nothing of HTTP, events.
//! <https://www.standardwebhooks.com>: HMAC-SHA256 of `id.timestamp.body`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// What the text of a secret that is given in base64 begins with.
const BASE64_PREFIX: &str = "whsec_";

/// A secret that endpoint and sender share. `Debug` does not show it.
#[derive(Clone)]
pub struct WebhookSecret(Hmac<Sha256>);

impl WebhookSecret {
    /// Reads `whsec_` and base64, or takes any other text as it is. `None`: it is empty, or its base64 is broken.
    pub fn parse(text: &str) -> Option<Self> {
        let key = match text.strip_prefix(BASE64_PREFIX) {
            Some(base64) => STANDARD.decode(base64).ok()?,
            None => text.as_bytes().to_vec(),
        };
        if key.is_empty() {
            return None;
        }
        Hmac::new_from_slice(&key).ok().map(Self)
    }

    /// `v1,` and the signature in base64.
    fn sign(&self, id: &str, timestamp_s: u64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(format!("{id}.{timestamp_s}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WebhookSecret")
    }
}

/// The value of `webhook-signature`: one signature for each secret, so that a secret can be replaced while endpoints
/// still know only the old one. `None` without secrets.
pub(crate) fn signatures(
    secrets: &[WebhookSecret],
    id: &str,
    timestamp_s: u64,
    body: &[u8],
) -> Option<String> {
    let signatures: Vec<String> = secrets.iter().map(|secret| secret.sign(id, timestamp_s, body)).collect();
    (!signatures.is_empty()).then(|| signatures.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> WebhookSecret {
        WebhookSecret::parse(text).unwrap()
    }

    /// The vector that the libraries of Standard Webhooks test themselves with.
    #[test]
    fn the_vector_of_the_standard() {
        let secret = secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        assert_eq!(
            signatures(&[secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#)
                .unwrap(),
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
        );
    }

    /// Worked out with Python's `hmac`: key `correct horse battery staple`, `1-1.60.{}`.
    #[test]
    fn a_secret_in_plain_text_beside_another() {
        let secrets =
            [secret("correct horse battery staple"), secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")];
        assert_eq!(
            signatures(&secrets, "1-1", 60, b"{}").unwrap(),
            "v1,pGVcxWSPxcTO5gKLaZhiTWAjlnsirYLXsco6M5BnrQI= \
             v1,z/1IugHQ74gjaFpmL5jRZour8gRTqwVl39dnvw49hcM="
        );
        assert_eq!(signatures(&[], "1-1", 60, b"{}"), None);
    }

    #[test]
    fn a_secret_that_cannot_be_meant_is_refused() {
        for wrong in ["", "whsec_", "whsec_not base64", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS"] {
            assert!(WebhookSecret::parse(wrong).is_none(), "{wrong}");
        }
    }
}
