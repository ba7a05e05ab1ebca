//! One Call-ID: its attempts, branches, dialogs and ends, and what falls due for them.
//! In: moments. Out: facts about ends. Knows nothing of messages.
//!
//! ```text
//!  Attempt    calling ──2xx──► a Dialog takes the caller's end
//!                │ final response, no response, not retried
//!                └──► over
//!  Dialog     2xx ──► Confirmed ──BYE──► Ended (seen: final)
//!                      ▲   │ timer, 481, copy
//!     in-dialog 2xx    │   ▼
//!     (new end ids)    └─ Ended (inferred: revocable)
//! ```

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use smallvec::SmallVec;

use super::super::heard::{Heard, text};
use super::super::{
    AuthUser, Confidence, DialogFact, DialogState, EndDescription, EndId, EndIdentity, EndReason, Engagement,
    Fact, Findings, Media, Rule, Side,
};
use super::legs::Legs;
use super::media::Description;
use super::media_places::MediaPath;
use super::{Context, FORGET_INFERRED_S, FORGET_SEEN_S, TIMER_B_S};
use crate::base::{AddressMark, Flow, FrameId, Timestamp};
use crate::sip::{Aor, Method, Sdp};

/// A moment, and the frame that armed it.
pub(super) type Due = Option<(Timestamp, FrameId)>;

/// The caller's wish to talk: all INVITEs of one From-tag.
pub(super) struct Attempt {
    pub from_tag: Arc<str>,
    pub cseq: u32,
    /// The end that is calling; the first 2xx makes it the caller of a dialog.
    pub caller: usize,
    pub bound: bool,
    pub over: bool,
    pub from: Option<Aor>,
    pub to: Option<Aor>,
    pub dialled: Option<Arc<str>>,
    pub caller_vias: usize,
    pub offer: Description,
    pub retry_until: Due,
    /// How it will have ended if nothing follows until then.
    pub retry_or: (EndReason, Rule),
    /// All that it was forwarded to refused it; the caller has until then to show that it goes on.
    pub refused_below_until: Due,
    /// How it will have ended then: further hops of it were refused, or its other leg, or nothing was heard of it.
    pub refused_below: (EndReason, Rule),
}

impl Attempt {
    fn timers(&self) -> [Due; 2] {
        [self.retry_until, self.refused_below_until]
    }

    /// Those that a message of its own Call-ID armed.
    fn own_timers(&self) -> [Due; 2] {
        let own = self.refused_below.1 != Rule::OtherLeg;
        [self.retry_until, self.refused_below_until.filter(|_| own)]
    }
}

/// One INVITE on one hop.
pub(super) struct Branch {
    pub attempt: usize,
    pub cseq: u32,
    pub id: Box<[u8]>,
    pub parent: Option<usize>,
    /// The second Via's branch, while the INVITE of that hop has not been seen.
    pub parent_id: Option<Box<[u8]>>,
    pub children: u16,
    pub vias: usize,
    pub source: SocketAddr,
    pub destination: Flow,
    pub request_uri: Arc<str>,
    pub auth: Option<AuthUser>,
    pub at: Timestamp,
    pub expires_s: Option<u32>,
    pub final_status: Option<u16>,
    pub answers: Answers,
    pub cancelled: bool,
    /// A response to it was seen.
    pub responded: bool,
    pub early: Vec<Early>,
    /// The phones behind it: one for each To-tag, for a proxy out of sight may fork.
    pub called: SmallVec<[usize; 1]>,
    pub no_response_at: Due,
    pub lost_at: Due,
}

/// Who is known to have answered on a branch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    /// Nobody, or somebody whose dialog is known.
    Named,
    /// A 2xx passed whose To was cut.
    Unnamed,
}

impl Branch {
    pub(super) fn is_leaf(&self) -> bool {
        self.children == 0
    }
}

/// A To-tag that was seen in a 1xx.
pub(super) struct Early {
    pub tag: Arc<str>,
    /// A reliable 1xx, a PRACK or an UPDATE carried a description: the 2xx has not the first one.
    pub negotiated: bool,
    pub media: Option<Arc<[Media]>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Confirmed,
    Ended(EndReason),
}

/// What shows that an INVITE was answered 2xx.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ShownBy {
    /// The 2xx, or what happens inside the dialog.
    Answer,
    /// Only an ACK.
    Ack,
    /// Only the other leg.
    OtherLeg,
}

pub(super) struct Dialog {
    pub caller_tag: Arc<str>,
    pub called_tag: Arc<str>,
    pub cseq: u32,
    pub caller: Option<usize>,
    pub called: Option<usize>,
    pub progress: Progress,
    /// The session runs: at the 2xx or at the ACK, as the rules say.
    pub talking: bool,
    pub held: bool,
    pub confirmed_at: Timestamp,
    pub confirmed_in: FrameId,
    pub acked: bool,
    pub shown_by: ShownBy,
    /// Branches on which the 2xx was seen, and when it was last repeated on one of them.
    pub ok_branches: Vec<Box<[u8]>>,
    pub ok_repeated_at: Option<Timestamp>,
    /// The offer that the ACK is to answer.
    pub offer_in_ok: Option<Box<Sdp>>,
    /// The hops on which its 2xx was seen.
    pub hops: Vec<HopMark>,
    pub session_vias: usize,
    pub presume_at: Due,
    pub no_ack_at: Due,
    pub bye_until: Due,
    /// The call's other copy ended by a BYE: this one has until then to end by its own, or to show life.
    pub copy_until: Due,
    pub session_ends_at: Due,
    pub media: MediaPath,
    /// The description that told it last.
    pub described: u64,
    /// Whether they have ceased is looked at then.
    pub silent_at: Due,
    pub cap_at: Due,
    pub forget_at: Due,
}

impl Dialog {
    /// One that has just shown to be up; nobody is in it yet. As long as the CSeq of its INVITE is not known (0),
    /// any is a later one.
    pub(super) fn confirmed(
        caller_tag: Arc<str>,
        called_tag: Arc<str>,
        frame: FrameId,
        context: &Context<'_>,
    ) -> Self {
        Self {
            caller_tag,
            called_tag,
            cseq: 0,
            caller: None,
            called: None,
            progress: Progress::Confirmed,
            talking: false,
            held: false,
            confirmed_at: context.now,
            confirmed_in: frame,
            acked: false,
            shown_by: ShownBy::Answer,
            ok_branches: Vec::new(),
            ok_repeated_at: None,
            offer_in_ok: None,
            hops: Vec::new(),
            session_vias: usize::MAX,
            presume_at: None,
            no_ack_at: None,
            bye_until: None,
            copy_until: None,
            session_ends_at: None,
            media: MediaPath::new(context.now),
            described: 0,
            silent_at: None,
            cap_at: Some((context.now.after_s(context.rules.dialog_cap_s), frame)),
            forget_at: None,
        }
    }

    /// The tag of the party on that side, and of the other one. It is not known yet under which a phone has answered of which the
    /// other leg alone shows that it has.
    pub(super) fn tags_of(&self, side: Side) -> (Option<Arc<str>>, Option<Arc<str>>) {
        let [caller, called] =
            [&self.caller_tag, &self.called_tag].map(|tag| Some(tag).filter(|tag| !tag.is_empty()).cloned());
        match side {
            Side::Caller => (caller, called),
            Side::Called => (called, caller),
        }
    }

    pub(super) fn is_live(&self) -> bool {
        self.progress == Progress::Confirmed
    }

    fn timers(&self) -> [Due; 7] {
        [
            self.presume_at,
            self.no_ack_at,
            self.bye_until,
            self.copy_until,
            self.session_ends_at,
            self.silent_at,
            self.cap_at,
        ]
    }
}

/// How something ended: for the counters, for the line, and the frame that showed it or armed the timer.
#[derive(Clone, Copy)]
pub(super) struct Ending {
    pub reason: EndReason,
    pub rule: Rule,
    pub frame: FrameId,
}

impl Ending {
    pub(super) const fn new(reason: EndReason, rule: Rule, frame: FrameId) -> Self {
        Self { reason, rule, frame }
    }
}

/// A request inside a dialog that was not answered yet, or whose answer may come on further hops.
pub(super) struct Pending {
    pub method: Method,
    pub cseq: u32,
    pub from_tag: Arc<str>,
    pub to_tag: Arc<str>,
    pub offer: Description,
    /// Of a re-INVITE: marks of its branch on each hop.
    pub branches: SmallVec<[u64; 2]>,
    pub vias: usize,
    pub sender: EndIdentity,
    pub receiver: EndIdentity,
    pub answered_vias: Option<usize>,
    pub at: Timestamp,
}

/// What a response shows of the phone that sent it.
pub(super) struct Answering {
    pub tag: Option<Arc<str>>,
    pub contact: Option<Arc<str>>,
    pub claimed: SmallVec<[Aor; 1]>,
    /// It is no provisional one.
    pub is_final: bool,
    pub frame: FrameId,
}

impl Answering {
    pub(super) fn of(heard: &Heard<'_, '_>) -> Self {
        let message = heard.message;
        Self {
            tag: message.to_tag().map(text),
            contact: heard.contact(),
            claimed: heard.asserted(),
            is_final: message.status().is_none_or(|status| status >= 200),
            frame: heard.frame,
        }
    }
}

/// One party: the fact about it as it was last told, or is about to be.
pub(super) struct End {
    fact: DialogFact,
    /// Somebody was told of it.
    told: bool,
    news: Option<(Rule, FrameId)>,
}

impl Deref for End {
    type Target = DialogFact;

    fn deref(&self) -> &DialogFact {
        &self.fact
    }
}

impl End {
    /// The fact, to be changed.
    pub(super) fn edit(&mut self) -> &mut DialogFact {
        &mut self.fact
    }

    /// There is something to tell of this end.
    pub(super) fn news(&mut self, rule: Rule, frame: FrameId) {
        self.news = Some((rule, frame));
    }

    fn end(&mut self, ending: Ending) {
        if self.state == DialogState::Terminated {
            return;
        }
        let fact = self.edit();
        fact.state = DialogState::Terminated;
        fact.engagement = Engagement::None;
        fact.ended = Some(ending.reason);
        let seen = !ending.reason.is_inferred() && ending.rule != Rule::AckWithoutFinal;
        fact.confidence = if seen { Confidence::Full } else { Confidence::Weak };
        self.news(ending.rule, ending.frame);
    }
}

/// All that is known of one Call-ID.
pub(super) struct Call {
    pub call_id: Arc<str>,
    pub born: u64,
    pub deadline: Option<Timestamp>,
    pub attempts: Vec<Attempt>,
    pub branches: Vec<Branch>,
    pub dialogs: Vec<Dialog>,
    pub pending: Vec<Pending>,
    pub ends: Vec<End>,
    pub legs: Legs,
}

impl Call {
    pub(super) fn new(call_id: Arc<str>, born: u64) -> Self {
        Self {
            call_id,
            born,
            deadline: None,
            attempts: Vec::new(),
            branches: Vec::new(),
            dialogs: Vec::new(),
            pending: Vec::new(),
            ends: Vec::new(),
            legs: Legs::default(),
        }
    }

    pub(super) fn new_end(&mut self, side: Side, identity: EndIdentity, context: &mut Context<'_>) -> usize {
        let fresh = self.fresh_end(side, identity, context);
        // Where many come and go while the call stays open, one takes the place of another.
        let many = self.ends.len() >= 2 * context.branches_per_call;
        let free = if many { self.free_place() } else { None };
        if let Some((at, end)) = free.and_then(|at| Some((at, self.ends.get_mut(at)?))) {
            *end = fresh;
            return at;
        }
        // One or two ends are nearly all there ever are.
        self.ends.reserve_exact(1);
        self.ends.push(fresh);
        self.ends.len() - 1
    }

    /// The place of an end that is over, of which all is told, and that nothing of the call points to any more.
    fn free_place(&self) -> Option<usize> {
        let is_over = |end: &End| end.state == DialogState::Terminated && end.news.is_none();
        let mut free: Vec<bool> = self.ends.iter().map(is_over).collect();
        let parties = self.dialogs.iter().flat_map(|dialog| [dialog.caller, dialog.called]).flatten();
        let callers = self.attempts.iter().map(|attempt| attempt.caller);
        let called = self.branches.iter().flat_map(|branch| branch.called.iter().copied());
        for at in parties.chain(callers).chain(called) {
            if let Some(free) = free.get_mut(at) {
                *free = false;
            }
        }
        free.iter().position(|free| *free)
    }

    /// A new end in place of one that is over, which nobody will ask for again.
    pub(super) fn renew_end(&mut self, at: usize, identity: EndIdentity, context: &mut Context<'_>) -> usize {
        let over = |end: &&End| end.state == DialogState::Terminated && end.news.is_none();
        let Some(side) = self.ends.get(at).filter(over).map(|end| end.side) else {
            let side = self.ends.get(at).map_or(Side::Caller, |end| end.side);
            return self.new_end(side, identity, context);
        };
        let fresh = self.fresh_end(side, identity, context);
        if let Some(end) = self.ends.get_mut(at) {
            *end = fresh;
        }
        at
    }

    fn fresh_end(&self, side: Side, identity: EndIdentity, context: &mut Context<'_>) -> End {
        *context.next_end += 1;
        let fact = DialogFact {
            end: EndId(*context.next_end),
            about: Arc::new(EndDescription {
                call_id: Arc::clone(&self.call_id),
                identity,
                ..EndDescription::default()
            }),
            side,
            revoked_ends: 0,
            state: DialogState::Trying,
            engagement: Engagement::None,
            confirmed_at: None,
            ended: None,
            final_status: None,
            whole: true,
            confidence: Confidence::Full,
        };
        End { fact, told: false, news: None }
    }

    /// The dialog with these tags, and whether `from_tag` is its caller's.
    pub(super) fn find_dialog(&self, from_tag: &[u8], to_tag: &[u8]) -> Option<(usize, bool)> {
        self.dialogs.iter().enumerate().rev().find_map(|(at, dialog)| {
            let (caller, called) = (dialog.caller_tag.as_bytes(), dialog.called_tag.as_bytes());
            if caller == from_tag && called == to_tag {
                Some((at, true))
            } else if caller == to_tag && called == from_tag {
                Some((at, false))
            } else {
                None
            }
        })
    }

    /// Ends a dialog: both its parties are told, the reason is counted once.
    pub(super) fn end_dialog(&mut self, at: usize, ending: Ending, context: &mut Context<'_>) {
        let Some(dialog) = self.dialogs.get_mut(at) else {
            return;
        };
        if !dialog.is_live() {
            return;
        }
        count(context, ending.reason);
        dialog.progress = Progress::Ended(ending.reason);
        dialog.talking = false;
        let forget_s = if ending.reason.is_inferred() { FORGET_INFERRED_S } else { FORGET_SEEN_S };
        dialog.forget_at = Some((context.now.after_s(forget_s), ending.frame));
        for timer in [
            &mut dialog.presume_at,
            &mut dialog.no_ack_at,
            &mut dialog.bye_until,
            &mut dialog.copy_until,
            &mut dialog.session_ends_at,
            &mut dialog.silent_at,
            &mut dialog.cap_at,
        ] {
            *timer = None;
        }
        for end in [dialog.caller, dialog.called].into_iter().flatten() {
            self.end_end(end, ending);
        }
    }

    pub(super) fn end_end(&mut self, at: usize, ending: Ending) {
        if let Some(end) = self.ends.get_mut(at) {
            end.end(ending);
        }
    }

    /// Ends an attempt that no 2xx answered.
    pub(super) fn end_attempt(&mut self, at: usize, ending: Ending, context: &mut Context<'_>) {
        let Some(attempt) = self.attempts.get_mut(at) else {
            return;
        };
        if attempt.over {
            return;
        }
        attempt.over = true;
        (attempt.retry_until, attempt.refused_below_until) = (None, None);
        if attempt.bound {
            return;
        }
        let caller = attempt.caller;
        count(context, ending.reason);
        self.end_end(caller, ending);
        // What follows from it cites this call, not its other leg.
        let foreign = ending.rule == Rule::OtherLeg;
        let frame = self.last_frame().filter(|_| foreign).unwrap_or(ending.frame);
        // Who still rings for nobody stops when its own CANCEL is seen, and must have by 64·T1.
        let lost_at = Some((context.now.after_s(TIMER_B_S), frame));
        for branch in self.branches.iter_mut().filter(|branch| branch.attempt == at) {
            if branch.lost_at.is_none() {
                branch.lost_at = lost_at;
            }
        }
    }

    /// What a party of a live dialog is doing now.
    pub(super) fn engage(&mut self, at: usize, rule: Rule, frame: FrameId) {
        let Some(dialog) = self.dialogs.get(at) else {
            return;
        };
        let engagement = match (dialog.talking, dialog.held) {
            (true, false) => Engagement::Talking,
            (true, true) => Engagement::Held,
            (false, _) => return,
        };
        let confirmed_at = dialog.confirmed_at;
        for end in [dialog.caller, dialog.called].into_iter().flatten() {
            if let Some(end) = self.ends.get_mut(end)
                && end.engagement != engagement
            {
                let fact = end.edit();
                fact.engagement = engagement;
                fact.confirmed_at = Some(confirmed_at);
                end.news(rule, frame);
            }
        }
    }

    /// Facts about all ends of which there is news.
    pub(super) fn tell(&mut self, out: &mut Findings) {
        for end in &mut self.ends {
            let Some((rule, frame)) = end.news.take() else {
                continue;
            };
            if end.state == DialogState::Terminated && !end.told {
                continue; // nobody ever heard of it
            }
            end.told = true;
            out.push(rule, frame, &self.call_id, Fact::Dialog(end.fact.clone()));
        }
    }

    /// Nothing of it can matter any more.
    pub(super) fn is_over(&self) -> bool {
        self.dialogs.is_empty() && self.pending.is_empty() && self.is_settled()
    }

    /// Every attempt has its answer or its end, and no message of an INVITE can be repeated any more.
    fn is_settled(&self) -> bool {
        self.attempts.iter().all(|attempt| attempt.over || attempt.bound)
            && self.branches.iter().all(|branch| branch.no_response_at.is_none() && branch.lost_at.is_none())
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        // Asked after every message: loops cost half of what one long iterator does.
        let mut next = Timestamp::MAX;
        let mut note = |at: Timestamp| next = next.min(at);
        let mut note_due = |due: Due| due.into_iter().for_each(|(at, _)| note(at));
        for attempt in &self.attempts {
            attempt.timers().into_iter().for_each(&mut note_due);
        }
        for branch in &self.branches {
            [branch.no_response_at, branch.lost_at].into_iter().for_each(&mut note_due);
        }
        for dialog in &self.dialogs {
            dialog.timers().into_iter().for_each(&mut note_due);
            note_due(dialog.forget_at);
        }
        note_due(self.legs.rings_at);
        note_due(self.legs.answers_at);
        note_due(self.legs.ends_at);
        for pending in &self.pending {
            note(pending.at.after_s(2 * TIMER_B_S));
        }
        (next < Timestamp::MAX).then_some(next)
    }

    /// Fires all that is due.
    pub(super) fn fire(&mut self, context: &mut Context<'_>) {
        let now = context.now;
        let due = |timer: Due| timer.filter(|&(at, _)| at <= now).map(|(_, frame)| frame);
        for at in 0..self.attempts.len() {
            let Some(attempt) = self.attempts.get_mut(at) else {
                break;
            };
            if let Some(frame) = due(attempt.retry_until) {
                attempt.retry_until = None;
                let (reason, rule) = attempt.retry_or;
                self.end_attempt(at, Ending::new(reason, rule, frame), context);
            } else if let Some(frame) = due(attempt.refused_below_until) {
                attempt.refused_below_until = None;
                self.presume_refused(at, frame, context);
            }
        }
        for at in 0..self.branches.len() {
            let Some(branch) = self.branches.get_mut(at) else {
                break;
            };
            if let Some(frame) = due(branch.no_response_at) {
                branch.no_response_at = None;
                branch.final_status.get_or_insert(408);
                branch.lost_at = Some((now.after_s(TIMER_B_S), frame));
                let (called, attempt, is_root) =
                    (branch.called.clone(), branch.attempt, branch.parent.is_none());
                for called in called {
                    // Who is in a dialog answered, as another hop showed.
                    if self.ends.get(called).is_some_and(|end| end.state < DialogState::Confirmed) {
                        self.end_end(called, Ending::new(EndReason::NoResponse, Rule::NoResponse, frame));
                    }
                }
                if is_root && self.all_roots_failed(attempt) {
                    self.end_attempt(
                        attempt,
                        Ending::new(EndReason::NoResponse, Rule::NoResponse, frame),
                        context,
                    );
                }
            } else if let Some(frame) = due(branch.lost_at) {
                branch.lost_at = None;
                branch.no_response_at = None;
                let is_open = branch.final_status.is_none();
                let (status, reason, rule) = match branch.cancelled {
                    true => (487, EndReason::Cancelled, Rule::Cancel),
                    false => (408, EndReason::NoResponse, Rule::NoResponse),
                };
                branch.final_status.get_or_insert(status);
                let (called, attempt, is_root) =
                    (branch.called.clone(), branch.attempt, branch.parent.is_none());
                for called in called {
                    if self.end_lost_fork(called, frame) {
                        count(context, EndReason::ForkLost);
                    }
                }
                // It is not over yet where the caller began anew while this one was open.
                if is_open && is_root && self.all_roots_failed(attempt) {
                    self.end_attempt(attempt, Ending::new(reason, rule, frame), context);
                }
            }
        }
        if let Some(frame) = due(self.legs.rings_at) {
            self.legs.rings_at = None;
            self.presume_ringing(frame, context);
        }
        if let Some(frame) = due(self.legs.answers_at) {
            self.legs.answers_at = None;
            self.presume_answered(frame, context);
        }
        if let Some(frame) = due(self.legs.ends_at) {
            self.legs.ends_at = None;
            self.presume_ended(frame, context);
        }
        for at in 0..self.dialogs.len() {
            self.fire_dialog(at, context);
        }
        self.dialogs.retain(|dialog| dialog.forget_at.is_none_or(|(at, _)| at > now));
        self.pending.retain(|pending| pending.at.after_s(2 * TIMER_B_S) > now);
        self.compact();
    }

    /// A phone that rings although its call is settled elsewhere; a party of a dialog is none.
    pub(super) fn end_lost_fork(&mut self, called: usize, frame: FrameId) -> bool {
        let rings = self.ends.get(called).is_some_and(|end| end.state == DialogState::Early);
        if rings {
            self.end_end(called, Ending::new(EndReason::ForkLost, Rule::ForkLost, frame));
        }
        rings
    }

    fn fire_dialog(&mut self, at: usize, context: &mut Context<'_>) {
        let Some(dialog) = self.dialogs.get_mut(at) else {
            return;
        };
        let due = |timer: Due| timer.filter(|&(at, _)| at <= context.now).map(|(_, frame)| frame);
        if let Some(frame) = due(dialog.presume_at) {
            dialog.presume_at = None;
            dialog.talking = true;
            self.engage(at, Rule::AckPresumed, frame);
            return;
        }
        self.let_media_speak(at, context);
        let Some(dialog) = self.dialogs.get(at) else {
            return;
        };
        let ending = [
            (dialog.no_ack_at, EndReason::NoAck, Rule::NoAck),
            (dialog.bye_until, EndReason::ByeTimeout, Rule::ByeTimeout),
            (dialog.copy_until, EndReason::CopyEnded, Rule::CopyEnded),
            (dialog.session_ends_at, EndReason::SessionExpired, Rule::SessionExpired),
            (dialog.cap_at, EndReason::DialogCap, Rule::DialogCap),
        ];
        for (timer, reason, rule) in ending {
            if let Some(frame) = due(timer) {
                return self.end_dialog(at, Ending::new(reason, rule, frame), context);
            }
        }
        if let Some(armed_by) = due(dialog.silent_at) {
            self.listen_for_media(at, armed_by, context);
        }
    }

    /// What only the beginning of a call needs goes when it is settled and its messages can no longer be
    /// repeated: an open call keeps its dialog and its parties.
    fn compact(&mut self) {
        if !self.is_settled() || self.branches.is_empty() {
            return;
        }
        self.branches = Vec::new();
        self.attempts = Vec::new();
        self.pending.shrink_to_fit();
        self.ends.shrink_to_fit();
        self.dialogs.shrink_to_fit();
        for dialog in &mut self.dialogs {
            dialog.ok_branches = Vec::new();
            dialog.hops.shrink_to_fit();
        }
        self.forget_ends();
    }

    /// Drops the ends that are over and that no dialog has as its party.
    fn forget_ends(&mut self) {
        let party = |dialogs: &[Dialog], at| {
            dialogs.iter().any(|dialog| dialog.caller == Some(at) || dialog.called == Some(at))
        };
        let mut kept = Vec::with_capacity(self.ends.len());
        for (at, end) in std::mem::take(&mut self.ends).into_iter().enumerate() {
            let over = end.state == DialogState::Terminated && end.news.is_none();
            if over && !party(&self.dialogs, at) {
                continue;
            }
            // Places move towards the front only, and in order: none is mistaken for one that moved before.
            for dialog in &mut self.dialogs {
                for place in [&mut dialog.caller, &mut dialog.called] {
                    if *place == Some(at) {
                        *place = Some(kept.len());
                    }
                }
            }
            kept.push(end);
        }
        self.ends = kept;
    }

    /// Every INVITE that the caller itself sent last was refused. A 2xx of which no dialog came is as good as that: the
    /// caller began anew after it.
    pub(super) fn all_roots_failed(&self, attempt: usize) -> bool {
        let Some((cseq, bound)) = self.attempts.get(attempt).map(|attempt| (attempt.cseq, attempt.bound))
        else {
            return false;
        };
        self.branches
            .iter()
            .filter(|branch| branch.attempt == attempt && branch.cseq == cseq && branch.parent.is_none())
            .all(|branch| branch.final_status.is_some_and(|status| status >= 300 || !bound))
    }

    /// The table is full and this call has to go. Cited is what was heard of it last.
    pub(super) fn evict(&mut self, context: &mut Context<'_>) {
        let evicted = |frame| Ending::new(EndReason::Evicted, Rule::Evicted, frame);
        let frame = self.last_frame().unwrap_or(context.frame);
        for at in 0..self.dialogs.len() {
            self.end_dialog(at, evicted(frame), context);
        }
        for at in 0..self.attempts.len() {
            self.end_attempt(at, evicted(frame), context);
        }
        for at in 0..self.ends.len() {
            self.end_end(at, evicted(frame));
        }
    }

    /// The newest frame that armed one of its timers.
    fn last_frame(&self) -> Option<FrameId> {
        let attempts = self.attempts.iter().flat_map(Attempt::own_timers);
        let branches = self.branches.iter().flat_map(|branch| [branch.no_response_at, branch.lost_at]);
        let dialogs = self.dialogs.iter().flat_map(|dialog| [dialog.cap_at, dialog.forget_at]);
        attempts.chain(branches).chain(dialogs).flatten().map(|(_, frame)| frame).max()
    }
}

/// The two addresses of a hop, whichever way a message went.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct HopMark(AddressMark, AddressMark);

impl HopMark {
    pub(super) fn of(heard: &Heard<'_, '_>) -> Self {
        let [one, other] = [heard.source, heard.destination].map(AddressMark::from);
        Self(one.min(other), one.max(other))
    }
}

fn count(context: &mut Context<'_>, reason: EndReason) {
    if let Some(count) = context.ends.get_mut(reason as usize) {
        *count += 1;
    }
}
