//! What the capture shows: all since its beginning, or since it was blind last.
//! In: when it began, was blind, saw again. Out: whether all was seen since a moment. Knows nothing of why it was blind.
//! SPEC sections 7 and 11: a start in the middle of the day and a blind spell are the same thing.

use crate::base::Timestamp;

/// So long after the capture began or saw again, every session from before is taken to be over. A registration may have
/// been granted any time: of those, only what was seen tells.
const SESSIONS_MATTER_S: u32 = 4 * 3_600;

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

    /// Whether what was seen `then` still holds unless something else was seen since.
    pub(super) fn shows_all_since(self, then: Timestamp) -> bool {
        !self.is_blind && self.since.is_none_or(|since| then >= since)
    }

    /// Whether there is `now` no session but those that it showed, of one whose session was seen to be set up, or to end,
    /// at that time last. `None`: never.
    pub(super) fn hides_no_session(self, set_up_seen_at: Option<Timestamp>, now: Timestamp) -> bool {
        let is_old = || self.since.is_some_and(|since| now >= since.after_s(SESSIONS_MATTER_S));
        set_up_seen_at.is_some_and(|then| self.shows_all_since(then)) || !self.is_blind && is_old()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(second: u64) -> Timestamp {
        Timestamp::from_secs(second)
    }

    #[test]
    fn what_was_seen_before_a_blind_spell_is_not_sure_until_it_is_seen_anew() {
        let mut sight = Sight::default();
        sight.began(at(100));
        sight.began(at(200));
        assert!(sight.shows_all_since(at(100)));
        sight.blind();
        assert!(!sight.shows_all_since(at(300)), "blind now");
        sight.seeing(at(400));
        assert!(!sight.shows_all_since(at(399)));
        assert!(sight.shows_all_since(at(400)));
    }

    #[test]
    fn of_a_session_that_may_have_begun_unseen_nothing_is_left_after_four_hours() {
        let mut sight = Sight::default();
        sight.began(at(100));
        assert!(sight.hides_no_session(Some(at(100)), at(150)));
        assert!(!sight.hides_no_session(None, at(14_499)), "nothing was seen since the beginning");
        assert!(sight.hides_no_session(None, at(14_500)));
        sight.blind();
        assert!(!sight.hides_no_session(Some(at(300)), at(20_000)), "blind now");
        sight.seeing(at(20_000));
        assert!(!sight.hides_no_session(Some(at(300)), at(34_399)));
        assert!(sight.hides_no_session(Some(at(300)), at(34_400)));
    }
}
