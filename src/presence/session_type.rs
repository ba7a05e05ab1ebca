//! What kind of session it is, told by whom the caller dialled.
//! In: the operator's patterns, a dialled URI. Out: a session type. Knows nothing of dialogs.

use std::sync::Arc;

use crate::sip::Aor;

/// Patterns in the operator's order; the first match counts.
pub(super) struct SessionTypes {
    patterns: Vec<(String, Arc<str>)>,
    call: Arc<str>,
}

impl SessionTypes {
    pub(super) fn new(patterns: &[(String, String)]) -> Self {
        let patterns =
            patterns.iter().map(|(pattern, name)| (pattern.clone(), Arc::from(name.as_str()))).collect();
        Self { patterns, call: Arc::from("call") }
    }

    /// The type of a session with this destination; `call` when no pattern says otherwise.
    pub(super) fn of(&self, dialled: Option<&str>) -> Arc<str> {
        let Some(dialled) = dialled.filter(|_| !self.patterns.is_empty()) else {
            return Arc::clone(&self.call);
        };
        let aor = Aor::from_uri(dialled.as_bytes());
        let destination = aor.as_ref().map_or(dialled, Aor::as_str);
        let found =
            self.patterns.iter().find(|(pattern, _)| matches(pattern.as_bytes(), destination.as_bytes()));
        Arc::clone(found.map_or(&self.call, |(_, name)| name))
    }
}

/// `*` stands for any run of bytes, `\` takes the next byte as it is. Walks back at most to the last `*`.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at_pattern, mut at_text) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        let wanted = match pattern.get(at_pattern) {
            Some(b'*') => {
                star = Some((at_pattern + 1, at_text));
                at_pattern += 1;
                continue;
            }
            Some(b'\\') => pattern.get(at_pattern + 1).map(|byte| (byte, 2)),
            Some(byte) => Some((byte, 1)),
            None => None,
        };
        match (wanted, text.get(at_text)) {
            (None, None) => return true,
            (Some((wanted, taken)), Some(byte)) if wanted == byte => {
                at_pattern += taken;
                at_text += 1;
            }
            _ => {
                let Some((after_star, from)) = star else {
                    return false;
                };
                if from >= text.len() {
                    return false;
                }
                star = Some((after_star, from + 1));
                (at_pattern, at_text) = (after_star, from + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_escaped_stars() {
        let cases = [
            ("sip:*97@*", "sip:*97@example.com", true),
            ("sip:*97@*", "sip:1197@example.com", true),
            (r"sip:\*97@*", "sip:1197@example.com", false),
            (r"sip:\*97@*", "sip:*97@example.com", true),
            ("*", "", true),
            ("", "a", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b", "ab_", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn the_first_match_counts_and_else_it_is_a_call() {
        let pairs = [("sip:*97@*", "voicemail"), ("sip:*9*@*", "conference")];
        let types = SessionTypes::new(&pairs.map(|(one, other)| (one.to_owned(), other.to_owned())));
        assert_eq!(&*types.of(Some("sip:*97@example.com:5060;user=phone")), "voicemail");
        assert_eq!(&*types.of(Some("sip:9000@example.com")), "conference");
        assert_eq!(&*types.of(Some("sip:bob@example.com")), "call");
        assert_eq!(&*types.of(None), "call");
    }
}
