//! The consistency table: what an update makes of what is stored.
//! In: stored terminal and session, an update. Out: the new ones. Knows nothing of who updates.
//! SPEC section 9; a pure function, so that the tap and any presence server come to the same result.

use super::{Session, Terminal};

/// A presentity's two facets, and what the second did to the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// Reachable or not.
    pub terminal: Terminal,
    /// Engaged or not.
    pub session: Session,
    /// The terminal counts as online only because it talks; this is what it was before.
    pub inferred: Option<Terminal>,
}

impl Stored {
    /// What was said of the terminal itself: unknown, online or offline, without what the session did to it.
    pub const fn registered(self) -> Terminal {
        match (self.terminal, self.inferred) {
            (_, Some(before)) => before,
            (Terminal::OfflineWaiting, None) => Terminal::Offline,
            (terminal, None) => terminal,
        }
    }
}

/// What somebody found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// The terminal is registered.
    Online,
    /// The terminal is no longer registered.
    Offline,
    /// The engaged session, after all dialogs are merged.
    Session(Session),
}

const fn is_talking(session: Session) -> bool {
    matches!(session, Session::Talking | Session::Held)
}

/// Applies one update.
///
/// | update | stored session | stored terminal | new terminal | new session |
/// |---|---|---|---|---|
/// | online | any | any | online, no longer inferred | same |
/// | offline | talking | any | offline-waiting | same |
/// | offline | not talking | any | offline | same |
/// | talking | any | unknown, offline | online, inferred | talking |
/// | talking | any | online, offline-waiting | same | talking |
/// | idle, calling, ringing | any | offline-waiting | offline | as updated |
/// | idle | any | online, inferred | what it was before | idle |
/// | idle, calling, ringing | any | any other | same | as updated |
pub fn apply(stored: Stored, update: Update) -> Stored {
    let Stored { terminal, session, inferred } = stored;
    match update {
        Update::Online => Stored { terminal: Terminal::Online, session, inferred: None },
        Update::Offline if is_talking(session) => {
            Stored { terminal: Terminal::OfflineWaiting, session, inferred: None }
        }
        Update::Offline => Stored { terminal: Terminal::Offline, session, inferred: None },
        Update::Session(session) if is_talking(session) => match terminal {
            Terminal::Unknown | Terminal::Offline => {
                Stored { terminal: Terminal::Online, session, inferred: Some(terminal) }
            }
            Terminal::Online | Terminal::OfflineWaiting => Stored { terminal, session, inferred },
        },
        Update::Session(session) => match (terminal, inferred) {
            (Terminal::OfflineWaiting, _) => Stored { terminal: Terminal::Offline, session, inferred: None },
            (_, Some(before)) if session == Session::Idle => {
                Stored { terminal: before, session, inferred: None }
            }
            _ => Stored { terminal, session, inferred },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMINALS: [Terminal; 4] =
        [Terminal::Unknown, Terminal::Online, Terminal::OfflineWaiting, Terminal::Offline];
    const SESSIONS: [Session; 5] =
        [Session::Idle, Session::Calling, Session::Ringing, Session::Held, Session::Talking];

    fn stored(terminal: Terminal, session: Session) -> Stored {
        Stored { terminal, session, inferred: None }
    }

    #[test]
    fn online_is_online_whatever_was() {
        for terminal in TERMINALS {
            for session in SESSIONS {
                let inferred = Stored { inferred: Some(Terminal::Unknown), ..stored(terminal, session) };
                for before in [stored(terminal, session), inferred] {
                    assert_eq!(apply(before, Update::Online), stored(Terminal::Online, session));
                }
            }
        }
    }

    #[test]
    fn offline_waits_for_the_end_of_a_talk() {
        for terminal in TERMINALS {
            for session in SESSIONS {
                let expected = match session {
                    Session::Talking | Session::Held => Terminal::OfflineWaiting,
                    _ => Terminal::Offline,
                };
                assert_eq!(
                    apply(stored(terminal, session), Update::Offline),
                    stored(expected, session),
                    "{terminal:?} {session:?}"
                );
            }
        }
    }

    #[test]
    fn who_talks_is_there() {
        for talking in [Session::Talking, Session::Held] {
            for session in SESSIONS {
                for terminal in [Terminal::Unknown, Terminal::Offline] {
                    assert_eq!(
                        apply(stored(terminal, session), Update::Session(talking)),
                        Stored { terminal: Terminal::Online, session: talking, inferred: Some(terminal) }
                    );
                }
                for terminal in [Terminal::Online, Terminal::OfflineWaiting] {
                    assert_eq!(
                        apply(stored(terminal, session), Update::Session(talking)),
                        stored(terminal, talking)
                    );
                }
            }
        }
    }

    #[test]
    fn the_end_of_a_talk_settles_the_terminal() {
        for session in SESSIONS {
            for now in [Session::Idle, Session::Calling, Session::Ringing] {
                let update = Update::Session(now);
                assert_eq!(
                    apply(stored(Terminal::OfflineWaiting, session), update),
                    stored(Terminal::Offline, now)
                );
                for terminal in [Terminal::Unknown, Terminal::Online, Terminal::Offline] {
                    assert_eq!(apply(stored(terminal, session), update), stored(terminal, now));
                }
                for before in [Terminal::Unknown, Terminal::Offline] {
                    let inferred = Stored { inferred: Some(before), ..stored(Terminal::Online, session) };
                    let expected = if now == Session::Idle {
                        stored(before, now)
                    } else {
                        Stored { session: now, ..inferred }
                    };
                    assert_eq!(apply(inferred, update), expected);
                }
            }
        }
    }

    #[test]
    fn no_order_of_updates_reaches_a_contradiction() {
        let updates = [Update::Online, Update::Offline]
            .into_iter()
            .chain(SESSIONS.map(Update::Session))
            .collect::<Vec<_>>();
        let mut reached = vec![Stored::default()];
        let mut next = 0;
        while next < reached.len() {
            for &update in &updates {
                let after = apply(reached[next], update);
                if !reached.contains(&after) {
                    reached.push(after);
                }
            }
            next += 1;
        }
        for state in reached {
            let talking = matches!(state.session, Session::Talking | Session::Held);
            let wrong = match state.terminal {
                Terminal::Offline | Terminal::Unknown => talking,
                Terminal::OfflineWaiting => !talking,
                Terminal::Online => false,
            };
            assert!(!wrong, "reachable: {state:?}");
        }
    }
}
