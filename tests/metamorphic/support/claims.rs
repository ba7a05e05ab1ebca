//! What a capture claims, and whether another one that shows less of the same traffic claims no more.
//! In: [`Outcome`] of the whole capture, and of what is left of it. Out: what is wrong, in words. Knows nothing of frames.

use std::collections::{BTreeMap, BTreeSet};

use offhook::base::Timestamp;
use offhook::presence::{ChangeKind, PresentityChange, Session, Terminal};
use offhook::track::Rule;

use super::Outcome;

/// Rules by which time alone changes something: nothing more was seen.
const TIMERS: &[Rule] = &[
    Rule::RegisterPresumed,
    Rule::RegisterExpired,
    Rule::AckPresumed,
    Rule::NotRetried,
    Rule::NoResponse,
    Rule::NoAck,
    Rule::ForkLost,
    Rule::SessionExpired,
    Rule::CopyEnded,
    Rule::DialogCap,
    Rule::ByeTimeout,
    Rule::SubscriptionExpired,
    Rule::GraceOver,
];

/// What is claimed of presentities, without when.
pub struct Claims(BTreeSet<(String, String)>);

impl Claims {
    pub fn of(outcome: &Outcome) -> Self {
        Self::where_(outcome, |_| true)
    }

    /// Those that are meant for others. Two kinds are said with reserve, and only part of a capture may say them:
    /// - whom no registration supports, in a domain that nobody gave, is shown as it calls itself, weak, and is never
    ///   published: with the registration lost, a phone goes by what its messages say (SPEC section 6);
    /// - a REGISTER with credentials is believed though its answer was not seen, which may have been a refusal
    ///   (`register-presumed`, SPEC section 4); nothing but `online` comes of that.
    pub fn without_reserve(outcome: &Outcome) -> Self {
        let mut presumed = BTreeSet::new();
        Self::where_(outcome, |change| {
            if change.because.rule == Rule::RegisterPresumed {
                presumed.insert(change.aor.clone());
            }
            let only_online = change.state.session == Session::Idle;
            change.state.publishable && !(only_online && presumed.contains(&change.aor))
        })
    }

    fn where_(outcome: &Outcome, mut counts: impl FnMut(&PresentityChange) -> bool) -> Self {
        let mut claims = BTreeSet::new();
        for change in outcome.told() {
            if !counts(change) {
                continue;
            }
            let state = &change.state;
            let mut claim = |what: String| claims.insert((change.aor.as_str().to_owned(), what));
            claim("presentity".to_owned());
            if let Some(peer) = &state.peer {
                claim(format!("peer {peer}"));
            }
            if state.terminal == Terminal::Online {
                claim("online".to_owned());
            }
            match state.session {
                Session::Ringing => claim("ringing".to_owned()),
                Session::Talking | Session::Held => claim("talking".to_owned()),
                Session::Idle | Session::Calling => false,
            };
        }
        Self(claims)
    }

    /// What these claim that the whole capture does not. Who talks may be rung by another call, which shows when the
    /// first is lost: the more engaged one hides it in the whole.
    pub fn beyond(&self, whole: &Self) -> Vec<String> {
        let covered = |(aor, what): &(String, String)| {
            whole.0.contains(&(aor.clone(), what.clone()))
                || (what == "ringing" && whole.0.contains(&(aor.clone(), "talking".to_owned())))
        };
        self.0.iter().filter(|claim| !covered(claim)).map(|(aor, what)| format!("{aor}: {what}")).collect()
    }
}

/// The statuses of one presentity in the whole capture, in the order of time.
type Course = Vec<(Timestamp, Terminal, Session)>;

/// The course of each presentity.
pub struct Courses(BTreeMap<String, Course>);

impl Courses {
    pub fn of(whole: &Outcome) -> Self {
        let mut courses: BTreeMap<String, Course> = BTreeMap::new();
        for change in whole.told() {
            courses.entry(change.aor.as_str().to_owned()).or_default().push((
                change.at,
                change.state.terminal,
                change.state.session,
            ));
        }
        Self(courses)
    }

    /// What of less than the whole is neither a delay nor the work of a timer: a value that the whole had not shown by
    /// then, or the end of one that the whole goes on to show.
    pub fn premature(&self, less: &Outcome) -> Vec<String> {
        less.told()
            .filter(|change| change.kind == ChangeKind::Status && !TIMERS.contains(&change.because.rule))
            .filter_map(|change| self.fault(change))
            .collect()
    }

    fn fault(&self, change: &PresentityChange) -> Option<String> {
        let nothing = Vec::new();
        let course = self.0.get(change.aor.as_str()).unwrap_or(&nothing);
        let past = || course.iter().take_while(|(at, ..)| *at <= change.at);
        let (_, terminal, session) =
            past().last().copied().unwrap_or((change.at, Terminal::Unknown, Session::Idle));
        let (was, is) = (change.previous, (change.state.terminal, change.state.session));
        let said = |what: &str| {
            Some(format!(
                "{} {} {was:?} → {is:?} {:?}: {what}",
                change.at,
                change.aor.as_str(),
                change.because.rule
            ))
        };
        let engaged = |session| matches!(session, Session::Talking | Session::Held);
        if is.1 != was.1 {
            let shown = is.1 == Session::Idle
                || past().any(|&(.., shown)| shown >= is.1 || engaged(shown) && engaged(is.1));
            if !shown {
                return said("a session that was not yet so");
            }
            if was.1 == session && is.1 < session && !(engaged(is.1) && engaged(session)) {
                return said("the end of a session that goes on");
            }
        }
        if is.0 != was.0 {
            let shown = is.0 == Terminal::Unknown || past().any(|&(_, shown, _)| shown == is.0);
            if !shown {
                return said("a terminal that was not yet so");
            }
            // Who was online only because of a talk is as unknown, or as offline, behind it as before.
            let inferred = engaged(was.1) && !engaged(is.1);
            if was.0 == terminal && was.0 == Terminal::Online && !inferred {
                return said("the end of an online that goes on");
            }
        }
        None
    }
}
