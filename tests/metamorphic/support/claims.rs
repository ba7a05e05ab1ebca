//! What a capture claims, and whether another one that shows less of the same traffic claims no more.
//! In: [`Outcome`] of the whole capture, and of what is left of it. Out: what is wrong, in words. Knows nothing of frames.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use offhook::base::Timestamp;
use offhook::presence::{ChangeKind, DialogView, PresentityChange, Session, Terminal};
use offhook::track::{Confidence, DialogState, Rule};

use super::Outcome;
use super::outcome::timeless;

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
    Rule::MediaSilent,
    Rule::CopyEnded,
    Rule::OtherLeg,
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

    /// Those that are meant for others. Three kinds are said with reserve, and only part of a capture may say them:
    /// - whom no registration supports, in a domain that nobody gave, is shown as it calls itself, weak, and is never
    ///   published: with the registration lost, a phone goes by what its messages say (SPEC section 6);
    /// - who answered a call, if of several phones but one was seen to be called (`only_phone_seen`);
    /// - a REGISTER with credentials is believed though its answer was not seen, which may have been a refusal
    ///   (`register-presumed`, SPEC section 4); nothing but `online` comes of that.
    pub fn without_reserve(outcome: &Outcome) -> Self {
        let mut presumed = BTreeSet::new();
        Self::where_(outcome, |change| {
            if change.because.rule == Rule::RegisterPresumed {
                presumed.insert(change.aor.clone());
            }
            let only_online = change.state.session == Session::Idle;
            let reserved = only_phone_seen(change) || only_online && presumed.contains(&change.aor);
            change.state.publishable && !reserved
        })
    }

    fn where_(outcome: &Outcome, mut counts: impl FnMut(&PresentityChange) -> bool) -> Self {
        let mut claims = BTreeSet::new();
        for change in &outcome.changes {
            if !counts(change) {
                continue;
            }
            let state = &change.state;
            let mut claim = |what: String| claims.insert((change.aor.as_str().to_owned(), what));
            claim("presentity".to_owned());
            // Also of dialogs that a more engaged one hides.
            for peer in
                state.peer.iter().chain(state.dialogs.iter().filter_map(|dialog| dialog.remote.as_ref()))
            {
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

/// The other hops of a message come by within this time: what ends on one of them ends on the next.
const HOPS: Duration = Duration::from_millis(100);

/// What the whole capture shows of each presentity, and when.
pub struct Courses {
    statuses: BTreeMap<String, Vec<Moment>>,
    /// Until when each presentity's dialogs of each Call-ID are listed as live; for ever if they still are.
    live: BTreeMap<(String, String), Timestamp>,
}

struct Moment {
    at: Timestamp,
    terminal: Terminal,
    session: Session,
    rule: Rule,
}

fn engaged(session: Session) -> bool {
    matches!(session, Session::Talking | Session::Held)
}

impl Courses {
    pub fn of(whole: &Outcome) -> Self {
        let mut statuses: BTreeMap<String, Vec<Moment>> = BTreeMap::new();
        let mut live: BTreeMap<(String, String), Timestamp> = BTreeMap::new();
        for change in &whole.changes {
            let (aor, state) = (change.aor.as_str().to_owned(), &change.state);
            for (key, until) in live.iter_mut().filter(|(key, _)| key.0 == aor) {
                let is_live = |dialog: &DialogView| {
                    *dialog.call_id == *key.1 && dialog.state != DialogState::Terminated
                };
                let lists = state.dialogs.iter().any(is_live);
                *until = if lists { Timestamp::MAX } else { (*until).min(change.at) };
            }
            for dialog in state.dialogs.iter().filter(|dialog| dialog.state != DialogState::Terminated) {
                live.insert((aor.clone(), dialog.call_id.to_string()), Timestamp::MAX);
            }
            let (terminal, session) = (state.terminal, state.session);
            statuses.entry(aor).or_default().push(Moment {
                at: change.at,
                terminal,
                session,
                rule: change.because.rule,
            });
        }
        Self { statuses, live }
    }

    /// What of less than the whole is neither a delay nor the work of a timer: a status that the whole had not shown by
    /// then, or the end of one that the whole goes on to show.
    /// `heard` are the times of its frames: what changes at another time is a timer's.
    pub fn premature(&self, less: &Outcome, heard: &BTreeSet<Timestamp>) -> Vec<String> {
        let mut presumed = BTreeSet::new();
        // Who was presumed to have answered may turn out not to have.
        let mut was_presumed = |change: &PresentityChange| {
            let ends = !engaged(change.state.session) && presumed.remove(&change.aor);
            if only_phone_seen(change) {
                presumed.insert(change.aor.clone());
            }
            ends
        };
        // Who is offline by a timer is still so when his talk is over.
        let mut was_offline = BTreeSet::new();
        let mut offline_before = |change: &PresentityChange| {
            let is_offline = matches!(change.state.terminal, Terminal::Offline | Terminal::OfflineWaiting);
            is_offline && !was_offline.insert(change.aor.clone())
        };
        let mut faults = Vec::new();
        for change in less.told() {
            let offline_before = offline_before(change);
            let seen = heard.contains(&change.at) && !TIMERS.contains(&change.because.rule);
            if change.kind != ChangeKind::Status || !change.state.publishable || was_presumed(change) || !seen
            {
                continue;
            }
            let fault = self
                .session_too_early(change)
                .or_else(|| self.terminal_too_early(change).filter(|_| !offline_before))
                .or_else(|| self.ended_too_early(change));
            if let Some(what) = fault {
                faults.push(format!("{}: {what}", timeless(change)));
            }
        }
        faults
    }

    fn course(&self, change: &PresentityChange) -> &[Moment] {
        self.statuses.get(change.aor.as_str()).map_or(&[], Vec::as_slice)
    }

    /// What the whole shows of it up to this change, as it is on all hops.
    fn past(&self, change: &PresentityChange) -> impl Iterator<Item = &Moment> {
        let until = change.at.after(HOPS);
        self.course(change).iter().take_while(move |moment| moment.at <= until)
    }

    fn session_too_early(&self, change: &PresentityChange) -> Option<&'static str> {
        let (was, session) = (change.previous, change.state.session);
        if session > was.1 && session > Session::Calling {
            let so =
                |moment: &Moment| moment.session >= session || engaged(moment.session) && engaged(session);
            // The INVITE with the offer was lost: a 2xx without one makes talking, since its body is not the first offer
            // for all that is known (SPEC section 5), though the whole shows it to be, and waits for the ACK.
            let waits = |moment: &Moment| so(moment) && matches!(moment.rule, Rule::Ack | Rule::AckPresumed);
            let offer_unseen =
                change.because.rule == Rule::Invite200 && self.course(change).iter().any(waits);
            if !self.past(change).any(so) && !offer_unseen && !only_phone_seen(change) {
                return Some("a session that was not yet so");
            }
        }
        None
    }

    fn terminal_too_early(&self, change: &PresentityChange) -> Option<&'static str> {
        let gone = |terminal| matches!(terminal, Terminal::Offline | Terminal::OfflineWaiting);
        let terminal = change.state.terminal;
        let so = |moment: &Moment| moment.terminal == terminal || gone(moment.terminal) && gone(terminal);
        let shown = terminal == Terminal::Unknown || self.past(change).any(so);
        (terminal != change.previous.0 && !shown).then_some("a terminal that was not yet so")
    }

    fn ended_too_early(&self, change: &PresentityChange) -> Option<&'static str> {
        let (was, state) = (change.previous, &change.state);
        let until = change.at.after(HOPS);
        let then = self.past(change).last()?;
        let around = |moment: &&Moment| moment.at.after(HOPS) >= change.at && moment.at <= until;
        let goes_on = then.session == was.1
            && self.course(change).iter().filter(around).all(|moment| moment.session >= was.1);
        let both_engaged = engaged(was.1) && engaged(state.session);
        // Who was taken for the called one by his name may turn out to be a server (SPEC section 6).
        let is_nobody = change.because.rule == Rule::Attributed && state.terminal == Terminal::Unknown;
        if state.session < was.1 && !both_engaged && goes_on && !is_nobody {
            // What the whole goes on to show may be another dialog, of which nothing is left.
            let dialog = (change.aor.as_str().to_owned(), change.because.call_id.to_string());
            if self.live.get(&dialog).is_some_and(|live| *live > until) {
                return Some("the end of a session that goes on");
            }
        }
        // Who was online only because of a talk is as unknown, or as offline, behind it as before.
        let inferred = engaged(was.1) && !engaged(state.session);
        let ends = was.0 == Terminal::Online && state.terminal != Terminal::Online && !inferred;
        (ends && then.terminal == Terminal::Online).then_some("the end of an online that goes on")
    }
}

/// Who answered is not seen, but of all phones that could have, only this one was seen to be called: believed, weakly.
fn only_phone_seen(change: &PresentityChange) -> bool {
    change.state.confidence == Confidence::Weak
        && matches!(change.because.rule, Rule::Invite200 | Rule::AckWithout200)
}
