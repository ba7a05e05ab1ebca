//! What the capture shows: all since its beginning, or since it was blind last.
//! In: when it began, was blind, saw again. Out: whether all was seen since a moment. Knows nothing of why it was blind.
//! SPEC sections 7 and 11: a start in the middle of the day and a blind spell are the same thing.

use crate::base::Timestamp;

/// So long after the capture began or saw again, whatever was before is taken to be over.
const BEFORE_MATTERS_S: u32 = 4 * 3_600;

/// Since when the capture shows all.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sight {
    since: Option<Timestamp>,
    is_blind: bool,
}

impl Sight {
    /// It began, if it had not yet.
    pub(super) fn began(&mut self, at: Timestamp) {
        self.since.get_or_insert(at);
    }

    /// It does not show all.
    pub(super) fn blind(&mut self) {
        self.is_blind = true;
    }

    /// It shows all again.
    pub(super) fn seeing(&mut self, at: Timestamp) {
        (self.since, self.is_blind) = (Some(at), false);
    }

    /// Whether what was seen `then` still holds `now` unless something else was seen since. `None`: nothing was seen.
    pub(super) fn shows_all_since(self, then: Option<Timestamp>, now: Timestamp) -> bool {
        let is_old = || self.since.is_some_and(|since| now >= since.after_s(BEFORE_MATTERS_S));
        !self.is_blind && (then.is_some_and(|then| self.since.is_none_or(|since| then >= since)) || is_old())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_before_a_blind_spell_is_no_longer_sure_for_four_hours() {
        let at = Timestamp::from_secs;
        let mut sight = Sight::default();
        sight.began(at(100));
        sight.began(at(200));
        assert!(sight.shows_all_since(Some(at(100)), at(150)));
        assert!(!sight.shows_all_since(None, at(150)), "nothing was seen since the beginning");
        assert!(sight.shows_all_since(None, at(100 + 14_400)));
        sight.blind();
        assert!(!sight.shows_all_since(Some(at(300)), at(300)), "blind now");
        sight.seeing(at(400));
        assert!(!sight.shows_all_since(Some(at(399)), at(500)));
        assert!(sight.shows_all_since(Some(at(400)), at(500)));
        assert!(sight.shows_all_since(Some(at(100)), at(400 + 14_400)));
    }
}
