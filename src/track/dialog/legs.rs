//! The two legs of a call through a back-to-back user agent: what one shows of the other when the mirror loses messages.
//! In: calls whose INVITE was seen, what they have to say to their other leg. Out: which calls belong together, and what a
//! call makes of it. Knows nothing of presence.
//!
//! A back-to-back user agent gives each leg its own Call-ID, tags and CSeq (RFC 7092). Who calls whom stays the same, and
//! so does the address where one leg ends and the other begins:
//!
//! ```text
//! alice ──INVITE, From alice, To bob──► PBX ──INVITE, From alice, To bob──► bob        within 10 s
//! ```
//!
//! While the mirror shows all there is, each leg speaks for itself: a leg that lives on after the other's BYE was
//! transferred or parked. Only where messages are known to have been lost does one leg stand in for the other.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashMap};
use smallvec::SmallVec;

use super::super::heard::{Heard, is_copy, text};
use super::super::losses::Proof;
use super::super::{Confidence, EndReason, Engagement, OVERTAKES, Rule, Side};
use super::call::{Answering, Branch, Call, Dialog, Due, Ending, ShownBy};
use super::invite::patience;
use super::{Context, RETRY_S, Registered};
use crate::base::{FrameId, HeardTransport, Timestamp};
use crate::sip::{Aor, Method};

/// A PBX places the second leg within this time of the first.
const NEXT_LEG_S: u32 = 10;
/// Other legs of one call that are remembered: a group call has one for each phone.
const LEGS_PER_CALL: usize = 8;
/// An INVITE that no response has reached is repeated after T1 over UDP (RFC 3261 section 17.1.1.2). One that is not repeated
/// so long after the caller heard ringing has reached its phone. Over TCP that rests on the PBX alone, which passes on what
/// it has heard.
const UNREPEATED: Duration = Duration::from_millis(600);

/// A back-to-back user agent passes on at once that somebody answers, refuses or hangs up: what is not seen of it on the other
/// leg within this time was lost.
pub(super) const PASSED_ON_S: u32 = 1;

/// More messages of one call are not lost within half a second.
const PROOFS_PER_CALL: usize = 4;

/// A PBX lets a phone ring so long, or longer, before it takes the call itself. Who rings no longer than that has answered.
const TAKEN_BACK_S: u32 = 10;

/// So many sayings, and for so long, wait for the proof that the mirror loses messages.
const DOUBTS: usize = 256;
const DOUBTED_S: u32 = 60;

/// A call, wherever it stands now: places are used again, births are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallRef {
    pub id: u32,
    pub born: u64,
}

/// What a call has to say to its other legs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LegNews {
    /// The caller hears that somebody rings.
    Rings,
    /// A 2xx answered it.
    Answered,
    /// Nobody on this leg takes the call.
    Refused,
    /// It was refused, and now somebody else is asked on this leg.
    GoesOn,
    /// A BYE ended it, and nothing before it told of a transfer.
    Ended,
}

/// What one leg says to another.
pub(super) struct Said {
    pub at: Timestamp,
    pub by: CallRef,
    pub to: CallRef,
    pub news: LegNews,
    pub frame: FrameId,
}

/// What legs said while the mirror was not known to lose messages, the oldest first: it may come to be known soon after.
#[derive(Default)]
pub(super) struct Doubts(VecDeque<Said>);

impl Doubts {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn keep(&mut self, said: Said) {
        while self.0.len() >= DOUBTS || self.0.front().is_some_and(|old| old.at.after_s(DOUBTED_S) < said.at)
        {
            self.0.pop_front();
        }
        self.0.push_back(said);
    }

    /// Those of the last while.
    pub(super) fn take_since(&mut self, now: Timestamp) -> impl Iterator<Item = Said> + use<> {
        std::mem::take(&mut self.0).into_iter().filter(move |said| said.at.after_s(DOUBTED_S) >= now)
    }
}

/// A message that was not seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Missing {
    pub method: Method,
    pub cseq: u32,
    pub is_response: bool,
}

/// What a call knows of its other legs.
#[derive(Default)]
pub(super) struct Legs {
    pub others: SmallVec<[CallRef; 1]>,
    /// It goes on from where another one ends: its called end is the phone.
    is_second: bool,
    /// It was entered into the table.
    entered: bool,
    /// A REFER or a Replaces was seen: the legs go ways of their own.
    pub parted: bool,
    /// To be told when the message is done with.
    pub news: Option<(LegNews, FrameId)>,
    /// The last was that nobody takes the call.
    said_refused: bool,
    /// The messages of it whose loss by the mirror it proved last, the oldest first.
    proofs: Vec<(Missing, Timestamp, Proof)>,
    /// The INVITE was sent again.
    invite_repeated: bool,
    /// The only phone that may be ringing, on this branch, is held to do so from then on.
    pub rings_at: Due,
    /// It is held to be answered from then on, if nothing else shows.
    pub answers_at: Due,
    /// It has until then to end by its own, or to show life.
    pub ends_at: Due,
    /// When something was last seen by which it goes on.
    pub lives_at: Timestamp,
}

impl Legs {
    /// It goes on from where another one ends.
    pub(super) const fn is_second(&self) -> bool {
        self.is_second
    }
}

/// Calls of the last seconds, by where they end and who calls whom.
#[derive(Default)]
pub(super) struct LegTable {
    hasher: DefaultHashBuilder,
    by_parties: HashMap<u64, SmallVec<[CallRef; 1]>>,
    order: VecDeque<(Timestamp, u64)>,
}

impl LegTable {
    /// Enters a call that has shown who calls whom, and gives the calls that may be its other leg: those that ended where
    /// this one begins.
    pub(super) fn enter(
        &mut self,
        call: CallRef,
        ends: &LegEnds<'_>,
        now: Timestamp,
        most: usize,
    ) -> SmallVec<[CallRef; 1]> {
        self.forget_old(now);
        let key = |address: IpAddr| self.hasher.hash_one((address, ends.from.user(), ends.to.user()));
        let (begins, goes_to) = (key(ends.sender), key(ends.receiver));
        if self.order.len() < most {
            let calls = self.by_parties.entry(goes_to).or_default();
            if calls.len() < LEGS_PER_CALL {
                calls.push(call);
                self.order.push_back((now, goes_to));
            }
        }
        self.by_parties
            .get(&begins)
            .map(|calls| calls.iter().copied().filter(|&other| other != call).collect())
            .unwrap_or_default()
    }

    fn forget_old(&mut self, now: Timestamp) {
        while let Some(&(at, key)) = self.order.front()
            && at.after_s(NEXT_LEG_S) < now
        {
            self.order.pop_front();
            if let Some(calls) = self.by_parties.get_mut(&key) {
                // The oldest of a key stands first, as its entry in the queue does.
                if calls.len() > 1 {
                    calls.remove(0);
                } else {
                    self.by_parties.remove(&key);
                }
            }
        }
    }
}

/// Where a leg begins and ends, and who calls whom.
pub(super) struct LegEnds<'c> {
    sender: IpAddr,
    receiver: IpAddr,
    from: &'c Aor,
    to: &'c Aor,
}

impl Call {
    /// Something was seen that only a message can have brought about which was not.
    pub(super) fn prove_loss(&mut self, missing: Missing, context: &mut Context<'_>) {
        let now = context.now;
        self.legs.proofs.retain(|(_, at, _)| now.since(*at) <= OVERTAKES);
        if self.legs.proofs.len() < PROOFS_PER_CALL {
            self.legs.proofs.push((missing, now, context.losses.note(now)));
        }
    }

    /// The response to an INVITE with that CSeq was lost.
    pub(super) fn prove_response_lost(&mut self, cseq: u32, context: &mut Context<'_>) {
        self.prove_loss(Missing { method: Method::Invite, cseq, is_response: true }, context);
    }

    /// A message may come after what only it can have brought about: the mirror mixes up the order, and has not lost it.
    pub(super) fn comes_late(&mut self, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        let message = heard.message;
        let (method, cseq) = (message.cseq().method, message.cseq().number);
        let this = Missing { method, cseq, is_response: message.status().is_some() };
        let is_this = |(missing, at, _): &(Missing, Timestamp, Proof)| {
            *missing == this && context.now.since(*at) <= OVERTAKES
        };
        if let Some(at) = self.legs.proofs.iter().position(is_this) {
            let (.., proof) = self.legs.proofs.remove(at);
            context.losses.forgive(proof);
        }
    }

    /// There is news for its other legs, or it is not known to them yet.
    pub(super) fn has_to_speak(&self) -> bool {
        self.legs.news.is_some() || !self.legs.entered
    }

    /// Where this call goes, once, when it has shown that.
    pub(super) fn leg_ends(&mut self) -> Option<LegEnds<'_>> {
        if self.legs.entered {
            return None;
        }
        let (attempt, branch) = (self.attempts.first()?, self.branches.first()?);
        let (from, to) = (attempt.from.as_ref()?, attempt.to.as_ref()?);
        self.legs.entered = true;
        let ends =
            LegEnds { sender: branch.source.ip(), receiver: branch.destination.address.ip(), from, to };
        (!from.user().is_empty() && !to.user().is_empty()).then_some(ends)
    }

    /// Nobody of whom one leg says that he is in one domain is in another one in the other leg. A PBX puts its own name or address
    /// there, in which no phone registers, or its address, in which some do.
    pub(super) fn may_be_leg_of(&self, other: &Self, registered: &impl Registered) -> bool {
        let (Some(this), Some(other)) = (self.attempts.first(), other.attempts.first()) else { return true };
        let tells = |domain: &str| domain.parse::<IpAddr>().is_err() && registered.is_domain(domain);
        [(&this.from, &other.from), (&this.to, &other.to)].into_iter().all(|(this, other)| {
            let domains = [this, other].map(|aor| aor.as_ref().and_then(Aor::domain));
            let [Some(this), Some(other)] = domains else { return true };
            this == other || !tells(this) || !tells(other)
        })
    }

    /// It goes on, or has gone on until now.
    pub(super) const fn shows_life(&mut self, now: Timestamp) {
        self.legs.lives_at = now;
    }

    /// Somebody still calls or talks on this leg.
    pub(super) fn goes_on(&self) -> bool {
        self.attempts.iter().any(|attempt| !attempt.over && !attempt.bound)
            || self.dialogs.iter().any(Dialog::is_live)
    }

    /// `is_second`: it begins where the other one ends.
    pub(super) fn tie(&mut self, other: CallRef, is_second: bool) {
        self.legs.is_second |= is_second;
        // It goes on, whatever a leg before this one said.
        for attempt in &mut self.attempts {
            attempt.refused_below_until = None;
        }
        if self.legs.others.len() < LEGS_PER_CALL {
            self.legs.others.push(other);
        }
    }

    pub(super) fn tell_other_leg(&mut self, news: LegNews, frame: FrameId) {
        let goes_its_own_way = news == LegNews::Ended && self.legs.parted;
        if !self.legs.others.is_empty() && !goes_its_own_way {
            self.legs.said_refused = news == LegNews::Refused;
            self.legs.news = Some((news, frame));
        }
    }

    /// A phone is called or rings: if the last one refused, that was not for all.
    pub(super) fn goes_on_after_refusal(&mut self, frame: FrameId) {
        if self.legs.said_refused {
            self.tell_other_leg(LegNews::GoesOn, frame);
        }
    }

    /// Another leg shows something of this one, which the mirror may not have shown.
    pub(super) fn hear(&mut self, said: &Said, context: &Context<'_>) {
        if said.at < self.legs.lives_at {
            return; // it was said a while ago, and is refuted
        }
        match said.news {
            LegNews::Rings if self.silent_phone().is_some() => {
                // Over a mirror that loses messages it was its own 180 that the PBX passed on, unless the phone is not reached.
                let is_sure = context.losses.are_known(context.now) && !self.legs.invite_repeated;
                let at = context.now.after(if is_sure { Duration::ZERO } else { UNREPEATED });
                if self.legs.rings_at.is_none_or(|(before, _)| at < before) {
                    self.legs.rings_at = Some((at, context.frame));
                }
            }
            LegNews::Rings => {}
            // The PBX may have cancelled it, unseen, and have put the caller through to a voicemail: nobody rings, and who talks
            // is not known.
            LegNews::Answered if self.legs.is_second && self.may_be_taken_back(said.at) => {
                self.refused_on_other_leg(context);
            }
            LegNews::Answered if self.legs.answers_at.is_none() && self.unanswered().is_some() => {
                // Who was called back to may have to say first that it takes the call.
                let after_s = if self.legs.is_second { PASSED_ON_S } else { RETRY_S };
                self.legs.answers_at = Some((context.now.after_s(after_s), context.frame));
            }
            LegNews::Answered => {}
            LegNews::GoesOn => {
                for attempt in &mut self.attempts {
                    let is_said = attempt.refused_below.1 == Rule::OtherLeg;
                    attempt.refused_below_until = attempt.refused_below_until.filter(|_| !is_said);
                }
            }
            LegNews::Refused | LegNews::Ended => {
                (self.legs.rings_at, self.legs.answers_at) = (None, None);
                let talks = self.dialogs.iter().filter(|dialog| dialog.is_live()).count();
                if talks == 0 {
                    self.refused_on_other_leg(context);
                }
                // Whom the PBX called for somebody who has gone it lets go; a caller may talk to the PBX itself.
                let ends = self.legs.is_second || (said.news == LegNews::Ended && talks == 1);
                if ends && talks <= 1 && self.legs.ends_at.is_none() {
                    self.legs.ends_at = Some((context.now.after_s(PASSED_ON_S), context.frame));
                }
            }
        }
    }

    /// What rings on this leg has done so for as long as a PBX lets it.
    fn may_be_taken_back(&self, now: Timestamp) -> bool {
        self.only_open_branch().is_some_and(|(_, branch)| branch.at.after_s(TAKEN_BACK_S) <= now)
    }

    /// The branch of the only phone that this leg calls, if that has neither answered nor was given up.
    fn only_open_branch(&self) -> Option<(usize, &Branch)> {
        let mut open = self
            .branches
            .iter()
            .enumerate()
            .filter(|(_, branch)| branch.is_leaf() && branch.final_status.is_none() && !branch.cancelled);
        let only = open.next()?;
        (open.next().is_none() && self.dialogs.is_empty()).then_some(only)
    }

    /// The same, if nothing was heard of that phone yet but that it was reached.
    fn silent_phone(&self) -> Option<usize> {
        self.only_open_branch().filter(|(_, branch)| branch.called.is_empty()).map(|(at, _)| at)
    }

    /// The INVITE was sent again: no phone has said that it rings.
    pub(super) fn invite_repeated(&mut self, at: usize, heard: &Heard<'_, '_>) {
        let Some(branch) = self.branches.get(at).filter(|branch| !is_copy(branch.at, heard.at)) else {
            return;
        };
        (self.legs.rings_at, self.legs.invite_repeated) = (None, true);
        let presumed = branch.called.iter().copied();
        let presumed = presumed.filter(|&called| {
            self.ends.get(called).is_some_and(|end| {
                end.engagement == Engagement::Ringing && end.local_tag.is_none() && !branch.responded
            })
        });
        for called in presumed.collect::<SmallVec<[usize; 1]>>() {
            if let Some(end) = self.ends.get_mut(called) {
                end.edit().engagement = Engagement::None;
                end.news(Rule::NoResponse, heard.frame);
            }
        }
    }

    /// A transfer begins: what this leg does from now on says nothing of its other legs, nor does what they said just before
    /// say anything of it.
    pub(super) const fn part(&mut self) {
        self.legs.parted = true;
        self.legs.ends_at = None;
    }

    /// It did neither, and nothing told of a transfer since.
    pub(super) fn presume_ended(&mut self, frame: FrameId, context: &mut Context<'_>) {
        if let Some(at) = self.dialogs.iter().position(Dialog::is_live) {
            self.end_dialog(at, Ending::new(EndReason::CopyEnded, Rule::OtherLeg, frame), context);
        }
    }

    /// The same, if somebody still waits for its answer, and the only To-tag that was heard on it; an empty one, if its phone is
    /// held to ring and has said nothing.
    fn unanswered(&self) -> Option<(usize, Arc<str>)> {
        let (at, branch) = self.only_open_branch()?;
        let waits = self.attempts.get(branch.attempt).is_some_and(|attempt| !attempt.over && !attempt.bound);
        match branch.early.as_slice() {
            [early] if waits => Some((at, Arc::clone(&early.tag))),
            [] if waits && (branch.called.len() == 1 || !self.legs.is_second) => Some((at, Arc::default())),
            _ => None,
        }
    }

    /// Nothing contradicted it: its 2xx was lost, and what followed.
    pub(super) fn presume_answered(&mut self, frame: FrameId, context: &mut Context<'_>) {
        let Some((at, called_tag)) = self.unanswered().filter(|_| !self.legs.parted) else { return };
        let Some(dialog) = self.answer_unseen(at, called_tag, ShownBy::OtherLeg, context) else { return };
        for party in self.parties(dialog) {
            if let Some(end) = self.ends.get_mut(party) {
                end.edit().confidence = Confidence::Weak;
            }
        }
        self.engage(dialog, Rule::OtherLeg, frame);
    }

    /// The first message inside the dialog tells the tag of a phone that was held to have answered: a 2xx to its INVITE or the
    /// ACK to that, or what comes later.
    pub(super) fn learn_called_tag(&mut self, heard: &Heard<'_, '_>) {
        let is_untagged = |dialog: &Dialog| dialog.is_live() && dialog.called_tag.is_empty();
        if !self.dialogs.iter().any(is_untagged) {
            return;
        }
        let message = heard.message;
        let (Some(from), Some(to)) = (message.from_tag(), message.to_tag()) else { return };
        let (cseq, is_refused) = (message.cseq(), message.status().is_some_and(|status| status >= 300));
        let is_outside = matches!(cseq.method, Method::Invite | Method::Ack | Method::Cancel);
        let is_inside = |dialog: &&mut Dialog| {
            let of_invite = cseq.number == dialog.cseq && message.status().is_none_or(|status| status >= 200);
            let has_caller = [from, to].contains(&dialog.caller_tag.as_bytes());
            has_caller && (!is_outside || cseq.number > dialog.cseq || (of_invite && !is_refused))
        };
        let mut untagged = self.dialogs.iter_mut().filter(|dialog| is_untagged(dialog));
        let Some(dialog) = untagged.find(is_inside) else { return };
        dialog.called_tag = text(if from == dialog.caller_tag.as_bytes() { to } else { from });
        for side in [Side::Caller, Side::Called] {
            let party = if side == Side::Caller { dialog.caller } else { dialog.called };
            if let Some(end) = party.and_then(|party| self.ends.get_mut(party)) {
                let fact = end.edit();
                (fact.local_tag, fact.remote_tag) = dialog.tags_of(side);
            }
        }
    }

    /// The INVITE on this branch had an answer that was not seen: it was not repeated, or its sender has bytes of the phone that
    /// were not seen.
    fn prove_silence_lossy(&mut self, at: usize, context: &mut Context<'_>) -> bool {
        let Some(branch) = self.branches.get(at).filter(|branch| !branch.responded) else { return false };
        let (phone, sender) = (branch.destination, branch.source);
        let was_answered = match phone.transport {
            HeardTransport::Udp => true,
            _ => context.losses.lost_message((phone.address.into(), sender), branch.at),
        };
        let cseq = branch.cseq;
        if was_answered {
            self.prove_response_lost(cseq, context);
        }
        was_answered
    }

    /// Nothing contradicted it: the phone rings, as the caller hears.
    pub(super) fn presume_ringing(&mut self, frame: FrameId, context: &mut Context<'_>) {
        let Some(at) = self.silent_phone() else { return };
        if !context.losses.are_known(context.now) && !self.prove_silence_lossy(at, context) {
            return;
        }
        let answering =
            Answering { tag: None, contact: None, claimed: SmallVec::new(), is_final: false, frame };
        self.ring(at, answering, context);
        let Some(branch) = self.branches.get_mut(at) else { return };
        // What it waits for is its own, not the other leg's.
        let own = branch.no_response_at.map_or(frame, |(_, own)| own);
        branch.no_response_at = Some((patience(branch, context.now, context), own));
        let called = branch.called.last().copied();
        if let Some(end) = called.and_then(|called| self.ends.get_mut(called))
            && end.engagement == Engagement::Ringing
        {
            end.edit().confidence = Confidence::Weak;
            end.news(Rule::OtherLeg, frame);
        }
    }
}
