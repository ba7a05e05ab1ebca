//! What kind of session it is, told by whom the caller dialled.
//! In: the operator's patterns, a dialled URI. Out: a session type. Knows nothing of dialogs.

use std::sync::Arc;

use crate::base::matches_pattern;
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
        let found = self
            .patterns
            .iter()
            .find(|(pattern, _)| matches_pattern(pattern.as_bytes(), destination.as_bytes()));
        Arc::clone(found.map_or(&self.call, |(_, name)| name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
