//! What a message proves of another one that the mirror did not show.
//! In: ACKs, responses, refusals on further hops. Out: changes of a `Call`. Knows nothing of what follows inside a dialog.
//! RFC 3261 sections 16.7, 17.1.1.3.

use std::sync::Arc;

use smallvec::SmallVec;

use super::super::heard::{Heard, is_text, text};
use super::super::{Confidence, DialogState, EndIdentity, EndReason, Engagement, Rule, Side};
use super::call::{Answering, Answers, Attempt, Branch, Call, Dialog, Early, End, Ending, Progress, ShownBy};
use super::invite::Said;
use super::legs::{Missing, PASSED_ON_S};
use super::media::Description;
use super::{Context, FORGET_SEEN_S, GOES_ON_S, TIMER_B_S};
use crate::base::FrameId;
use crate::sip::{Method, uri};

/// Who is challenged or redirected tries again within this time, unless a person is asked.
const RETRY_AT_ONCE_S: u32 = 1;

/// A response that only an INVITE which opens a dialog has: a 100 to one inside a dialog would have a To-tag, and no phone
/// rings inside one.
pub(super) fn shows_an_invite(heard: &Heard<'_, '_>) -> bool {
    let message = heard.message;
    match message.status() {
        Some(100) => message.to_tag().is_none(),
        status => status == Some(180),
    }
}

/// The first Contact, if it can be read.
fn contact_of<'h>(heard: &'h Heard<'_, '_>) -> Option<&'h str> {
    let contact = heard.message.contacts().find(|contact| !contact.star)?;
    std::str::from_utf8(contact.addr.uri).ok()
}

impl Call {
    /// An ACK with the INVITE's own branch and Request-URI acknowledges a final response other than 2xx (RFC 3261 section
    /// 17.1.1.3), whether that was seen or not. Says whether it is such an ACK.
    pub(super) fn ack_of_failure(&mut self, heard: &Heard<'_, '_>, context: &mut Context<'_>) -> bool {
        let Some(at) = self.branch_of(heard) else {
            return false;
        };
        let Some(branch) = self.branches.get(at) else {
            return false;
        };
        let same = Some(branch.request_uri.as_bytes()) == heard.message.request_uri();
        if !same && !branch.request_uri.is_empty() {
            return false; // a phone that does not give the ACK to its 2xx a branch of its own
        }
        if let Some(status) = branch.final_status {
            return status >= 300;
        }
        let (cancelled, attempt, has_credentials) = (branch.cancelled, branch.attempt, branch.auth.is_some());
        self.prove_response_lost(heard.message.cseq().number, context);
        if cancelled {
            self.refused(at, 487, Some(Rule::AckWithoutFinal), heard, context);
        } else if self.was_refused_below(at) || has_credentials {
            self.refused(at, 480, Some(Rule::AckWithoutFinal), heard, context);
        } else {
            // It may have been a challenge or a redirection: then the caller tries again at once.
            self.refused(at, 401, Some(Rule::AckWithoutFinal), heard, context);
            if let Some(attempt) = self.attempts.get_mut(attempt)
                && attempt.retry_until.is_some()
            {
                attempt.retry_until = Some((heard.at.after_s(RETRY_AT_ONCE_S), heard.frame));
                attempt.retry_or = (EndReason::Rejected, Rule::AckWithoutFinal);
            }
        }
        true
    }

    /// Who is in a dialog does not ask for it again: if only an ACK shows that the INVITE was answered 2xx, that ACK was to a
    /// challenge, under a branch of its own as some phones write it. Says whether it was so; then the attempt is over.
    pub(super) fn was_refused_after_all(
        &mut self,
        at: usize,
        heard: &Heard<'_, '_>,
        context: &mut Context<'_>,
    ) -> bool {
        let ending = Ending::new(EndReason::Rejected, Rule::AckWithoutFinal, heard.frame);
        heard.message.to_tag().is_none()
            && self.end_presumed(at, &[ShownBy::Ack, ShownBy::OtherLeg], ending, context)
    }

    /// The INVITE on this branch was answered 2xx under that tag, which was not seen. Gives the dialog.
    pub(super) fn answer_unseen(
        &mut self,
        at: usize,
        called_tag: Arc<str>,
        shown_by: ShownBy,
        context: &mut Context<'_>,
    ) -> Option<usize> {
        let of = self.branches.get(at).filter(|_| self.dialogs.len() < context.branches_per_call)?.attempt;
        self.settle_attempt(Some(of), Some(at), (context.now, context.frame));
        let branch = self.branches.get_mut(at)?;
        let attempt = self.attempts.get_mut(of)?;
        (attempt.bound, attempt.retry_until, attempt.refused_below_until) = (true, None, None);
        let frame = branch.no_response_at.map_or(context.frame, |(_, frame)| frame);
        (branch.no_response_at, branch.lost_at) = (None, Some((context.now.after_s(TIMER_B_S), frame)));
        let media = branch.early.first().and_then(|early| early.media.clone()).unwrap_or_default();
        let tagged = |at: &usize| {
            let end = self.ends.get(*at);
            end.is_some_and(|end| end.local_tag.as_ref().is_none_or(|tag| *tag == called_tag))
        };
        let called = branch.called.iter().copied().find(tagged);
        let mut dialog = Dialog {
            cseq: branch.cseq,
            caller: Some(attempt.caller),
            called,
            talking: true,
            shown_by,
            ..Dialog::confirmed(Arc::clone(&attempt.from_tag), called_tag, frame, context)
        };
        if let Description::Present(offer) = &attempt.offer {
            dialog.agree_by_half(offer, frame, context);
        }
        self.dialogs.push(dialog);
        let dialog = self.dialogs.len() - 1;
        for party in self.parties(dialog) {
            self.confirm_end(party, dialog, &media);
        }
        Some(dialog)
    }

    /// A BYE, or its answer, of a dialog whose 2xx was not seen. It ends the call; only where the caller had heard of several
    /// phones it may have given up one early dialog (RFC 3261 section 15: no called phone may). Gives the dialog.
    pub(super) fn bye_unanswered(
        &mut self,
        heard: &Heard<'_, '_>,
        context: &mut Context<'_>,
    ) -> Option<usize> {
        let message = heard.message;
        let (from_tag, to_tag) = (message.from_tag().unwrap_or_default(), message.to_tag()?);
        let waits = |tag: &[u8]| {
            let of = |attempt: &Attempt| !attempt.over && !attempt.bound && is_text(&attempt.from_tag, tag);
            self.attempts.iter().rposition(of)
        };
        let (attempt, called_tag) = match waits(from_tag) {
            Some(attempt) => (attempt, to_tag),
            None => (waits(to_tag)?, from_tag),
        };
        let is_this = |early: &Early| early.tag.as_bytes() == called_tag;
        let own = || self.branches.iter().enumerate().filter(|(_, branch)| branch.attempt == attempt);
        let mut heard_of = own().flat_map(|(_, branch)| &branch.early);
        // Without a 1xx it is not known of how many the caller has heard.
        if called_tag == to_tag && !(heard_of.next().is_some_and(is_this) && heard_of.all(is_this)) {
            return None;
        }
        let told = own().filter(|(_, branch)| branch.early.iter().any(is_this));
        let branch = told.max_by_key(|(_, branch)| branch.vias).or_else(|| own().next());
        let (at, cseq) = branch.map(|(at, branch)| (at, branch.cseq))?;
        if called_tag == from_tag {
            self.prove_response_lost(cseq, context);
        }
        self.answer_unseen(at, text(called_tag), ShownBy::Answer, context)
    }

    /// No 2xx can have come on this branch: what the other leg seemed to show of one is not so.
    pub(super) fn deny_answer(&mut self, at: usize, ending: Ending, context: &mut Context<'_>) {
        if let Some(attempt) = self.branches.get(at).map(|branch| branch.attempt) {
            self.end_presumed(attempt, &[ShownBy::OtherLeg], ending, context);
        }
    }

    /// The phone that is called on this branch rings: it has not answered yet, whatever the other leg seemed to show.
    pub(super) fn rings_still(&mut self, at: usize, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        if !self.legs.is_second() {
            return;
        }
        self.legs.answers_at = None;
        let Some(attempt) = self.branches.get(at).map(|branch| branch.attempt) else { return };
        let ending = Ending::new(EndReason::CopyEnded, Rule::Invite180, heard.frame);
        if !self.end_presumed(attempt, &[ShownBy::OtherLeg], ending, context) {
            return;
        }
        if let Some(attempt) = self.attempts.get_mut(attempt) {
            attempt.over = false;
        }
        // Another end goes on in the place of the one that was held to talk.
        let denied = self.branches.get_mut(at).map(|branch| std::mem::take(&mut branch.called));
        let revoked =
            denied.iter().flatten().filter_map(|&end| self.ends.get(end)).map(|end| end.revoked_ends).max();
        self.ring(at, Answering::of(heard), context);
        let called = self.branches.get(at).and_then(|branch| branch.called.last().copied());
        if let Some(end) = called.and_then(|called| self.ends.get_mut(called)) {
            end.edit().revoked_ends = revoked.map_or(0, |revoked| revoked.saturating_add(1));
        }
    }

    /// The dialog that an attempt was presumed to have brought about is none. Says whether there was such a one; then the
    /// attempt is over.
    fn end_presumed(
        &mut self,
        at: usize,
        shown_by: &[ShownBy],
        ending: Ending,
        context: &mut Context<'_>,
    ) -> bool {
        let Some(attempt) = self.attempts.get_mut(at) else {
            return false;
        };
        let presumed = self.dialogs.iter().position(|dialog| {
            shown_by.contains(&dialog.shown_by)
                && dialog.is_live()
                && dialog.caller_tag == attempt.from_tag
                && dialog.cseq == attempt.cseq
        });
        if presumed.is_some() {
            (attempt.bound, attempt.over) = (false, true);
        }
        presumed.inspect(|&dialog| self.end_dialog(dialog, ending, context)).is_some()
    }

    /// A hop behind this one was refused for good, and its answer is what comes back.
    fn was_refused_below(&self, at: usize) -> bool {
        let refused = |branch: &Branch| {
            branch.final_status.is_some_and(|status| status >= 400 && !matches!(status, 401 | 407 | 422))
        };
        self.branches.iter().any(|branch| branch.parent == Some(at) && refused(branch))
    }

    /// The dialog that an INVITE of this From-tag and CSeq has made, before it was seen itself.
    pub(super) fn answered_before(&self, from_tag: &[u8], cseq: u32) -> Option<usize> {
        self.dialogs
            .iter()
            .position(|dialog| dialog.cseq == cseq && is_text(&dialog.caller_tag, from_tag) && cseq > 0)
    }

    /// A dialog of which nothing was seen but its end: what comes of its INVITE after that opens no other.
    pub(super) fn over_unseen(
        &mut self,
        from_tag: Arc<str>,
        to_tag: Arc<str>,
        heard: &Heard<'_, '_>,
        context: &Context<'_>,
    ) {
        if self.dialogs.len() < context.branches_per_call {
            self.dialogs.push(Dialog {
                progress: Progress::Ended(EndReason::Bye),
                cap_at: None,
                forget_at: Some((heard.at.after_s(FORGET_SEEN_S), heard.frame)),
                ..Dialog::confirmed(from_tag, to_tag, heard.frame, context)
            });
        }
    }

    /// Of a dialog with this From-tag, on either side, nothing was seen but its end.
    pub(super) fn was_over_unseen(&self, from_tag: &[u8]) -> bool {
        let is_of =
            |dialog: &Dialog| is_text(&dialog.caller_tag, from_tag) || is_text(&dialog.called_tag, from_tag);
        let is_empty = |dialog: &Dialog| dialog.caller.is_none() && dialog.called.is_none();
        self.dialogs.iter().any(|dialog| !dialog.is_live() && is_empty(dialog) && is_of(dialog))
    }

    /// The INVITE comes after its 2xx: nobody calls, but now it is known who does.
    pub(super) fn late_attempt(
        &mut self,
        dialog: usize,
        heard: &Heard<'_, '_>,
        context: &Context<'_>,
    ) -> Option<usize> {
        let dialog = self.dialogs.get(dialog)?;
        if self.attempts.len() >= context.branches_per_call {
            return None;
        }
        let (from_tag, caller) = (Arc::clone(&dialog.caller_tag), dialog.caller?);
        let end = self.ends.get_mut(caller)?;
        if end.state == DialogState::Confirmed && end.confidence == Confidence::Weak {
            let fact = end.edit();
            fact.identity = EndIdentity { answered: true, ..heard.sender_identity() };
            fact.dialled = heard.message.request_uri().map(|uri| heard.shared(uri));
            fact.confidence = Confidence::Full;
            end.news(Rule::Invite, heard.frame);
        }
        let attempt = Attempt::new(from_tag, caller, Said::by(heard), heard);
        self.attempts.push(Attempt { bound: true, ..attempt });
        Some(self.attempts.len() - 1)
    }

    /// A response to an INVITE that was not seen shows that it was sent; on the caller's own hop it is the caller's. Gives its
    /// branch.
    pub(super) fn unseen_invite(
        &mut self,
        heard: &Heard<'_, '_>,
        context: &mut Context<'_>,
    ) -> Option<usize> {
        let message = heard.message;
        let (cseq, vias) = (message.cseq().number, message.via_count());
        let from_tag = message.from_tag().unwrap_or_default();
        let settled = message.to_tag().is_some_and(|to_tag| self.find_dialog(from_tag, to_tag).is_some());
        if settled || self.is_inside(heard) || self.branches.len() >= context.branches_per_call {
            return None;
        }
        let known = self.attempts.iter().rposition(|attempt| is_text(&attempt.from_tag, from_tag));
        let attempt = match known {
            Some(at) => {
                let attempt = self.attempts.get_mut(at).filter(|attempt| !attempt.over && !attempt.bound)?;
                if cseq < attempt.cseq || (cseq == attempt.cseq && vias == attempt.caller_vias) {
                    return None;
                }
                if cseq > attempt.cseq {
                    (attempt.retry_until, attempt.refused_below_until) = (None, None);
                }
                attempt.cseq = cseq;
                if vias <= attempt.caller_vias {
                    attempt.caller_vias = vias;
                    attempt.refused_below_until = None;
                    let caller = attempt.caller;
                    if let Some(end) = self.ends.get_mut(caller).filter(|_| vias == 1) {
                        let identity = &mut end.edit().identity;
                        identity.flow = Some(heard.destination_flow());
                        identity.neighbour = Some(heard.source.into());
                    }
                }
                at
            }
            None => self.unseen_attempt(heard, context)?,
        };
        let parent = if vias > 1 { self.parent_of(attempt, heard) } else { None };
        let children = self.adopt_children(attempt, heard);
        let mut called = SmallVec::new();
        if let Some(parent) = parent.and_then(|at| self.branches.get_mut(at)) {
            parent.children = parent.children.saturating_add(1);
            // Who rings with this tag does so on this hop.
            let is_this = |end: &End| end.local_tag.as_deref().map(str::as_bytes) == message.to_tag();
            let ends = &self.ends;
            parent.called.retain(|at| {
                let is_here = ends.get(*at).is_some_and(is_this);
                if is_here {
                    called.push(*at);
                }
                !is_here
            });
        }
        // Of a call that is older than what the mirror shows of it nothing was lost.
        if context.began.after_s(TIMER_B_S) < heard.at {
            self.prove_loss(Missing { method: Method::Invite, cseq, is_response: false }, context);
        }
        self.branches.push(Branch { called, ..Branch::new(attempt, parent, children, heard) });
        Some(self.branches.len() - 1)
    }

    /// Nothing of this call was seen but that its INVITE is being tried: a 100 to a request inside a dialog would have a
    /// To-tag.
    fn unseen_attempt(&mut self, heard: &Heard<'_, '_>, context: &mut Context<'_>) -> Option<usize> {
        let message = heard.message;
        let from_tag = message.from_tag().unwrap_or_default();
        if !shows_an_invite(heard)
            || self.attempts.len() >= context.branches_per_call
            || self.answered_before(from_tag, message.cseq().number).is_some()
        {
            return None;
        }
        let (flow, neighbour) = match message.via_count() {
            1 => (Some(heard.destination_flow()), Some(heard.source.into())),
            _ => (heard.origin(), None),
        };
        let identity = EndIdentity {
            flow,
            neighbour,
            claimed: heard.aor(&message.from()).into_iter().collect(),
            ..EndIdentity::default()
        };
        let caller = self.new_end(Side::Caller, identity, context);
        let from_tag = text(from_tag);
        let end = self.ends.get_mut(caller)?;
        let fact = end.edit();
        fact.engagement = Engagement::Calling;
        fact.local_tag = Some(Arc::clone(&from_tag));
        fact.peer = heard.aor(&message.to()).map(|to| to.to_text());
        fact.confidence = Confidence::Weak;
        end.news(Rule::Invite, heard.frame);
        let attempt = Attempt::new(from_tag, caller, Said::by(heard), heard);
        self.attempts.push(Attempt { offer: Description::Unseen, ..attempt });
        Some(self.attempts.len() - 1)
    }

    /// An INVITE that comes after a response to it says who calls whom.
    pub(super) fn late_invite(&mut self, at: usize, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        let message = heard.message;
        if self.branches.get(at).is_some_and(|branch| branch.request_uri.is_empty()) {
            self.comes_late(heard, context);
        }
        let Some(branch) = self.branches.get_mut(at).filter(|branch| branch.request_uri.is_empty()) else {
            return;
        };
        branch.request_uri = heard.shared(message.request_uri().unwrap_or_default());
        branch.auth = heard.auth_user();
        branch.expires_s = message.expires().filter(|&expires_s| expires_s > 0);
        let (request_uri, called) = (Arc::clone(&branch.request_uri), branch.called.clone());
        let Some(attempt) = self.attempts.get_mut(branch.attempt) else {
            return;
        };
        for called in called {
            if let Some(end) = self.ends.get_mut(called) {
                let fact = end.edit();
                fact.identity.request_uri = Some(Arc::clone(&request_uri));
                fact.confidence = Confidence::Full;
            }
        }
        if message.via_count() > attempt.caller_vias {
            return;
        }
        let late = Attempt::new(Arc::clone(&attempt.from_tag), attempt.caller, Said::by(heard), heard);
        (attempt.offer, attempt.from, attempt.to) = (late.offer, late.from, late.to);
        attempt.dialled.clone_from(&late.dialled);
        if let Some(end) = self.ends.get_mut(late.caller).filter(|end| end.state != DialogState::Terminated) {
            let fact = end.edit();
            fact.identity = EndIdentity { answered: fact.identity.answered, ..heard.sender_identity() };
            fact.dialled = late.dialled;
            fact.confidence = Confidence::Full;
            end.news(Rule::Invite, heard.frame);
        }
    }

    /// The phone's own branch whose answer was seen nearer the caller, and whether that is sure: a 1xx told its To-tag
    /// there, or its Contact is what was called there, or its 2xx passed there without its To; else it is the only one
    /// that was seen.
    pub(super) fn leaf_of(&self, attempt: Option<usize>, heard: &Heard<'_, '_>) -> Option<(usize, bool)> {
        let (cseq, tag) = (heard.message.cseq().number, heard.message.to_tag());
        let contact = contact_of(heard);
        let leaves = || {
            self.branches.iter().enumerate().filter(|(_, branch)| {
                Some(branch.attempt) == attempt
                    && branch.cseq == cseq
                    && branch.is_leaf()
                    && branch.final_status.is_none_or(|status| status < 300)
            })
        };
        let tagged = |branch: &Branch| branch.early.iter().any(|early| Some(early.tag.as_bytes()) == tag);
        let called = |branch: &Branch| contact.is_some_and(|contact| uri::same(contact, &branch.request_uri));
        let sure = leaves().find(|(_, branch)| tagged(branch));
        let sure = sure.or_else(|| leaves().find(|(_, branch)| called(branch)));
        let sure = sure.or_else(|| leaves().find(|(_, branch)| branch.answers == Answers::Unnamed));
        let mut all = leaves();
        let only = all.next().filter(|_| all.next().is_none());
        sure.map(|(at, _)| (at, true)).or(only.map(|(at, _)| (at, false)))
    }

    /// A 180 that comes on to the caller: a phone rings, though its own hop has not shown it.
    pub(super) fn rings_behind(&mut self, at: usize, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        let (Some(branch), Some(tag)) = (self.branches.get(at), heard.message.to_tag()) else {
            return;
        };
        let leaf = self.leaf_of(Some(branch.attempt), heard);
        // The only one that was seen may be another one than that with this Contact, or with one that was cut away.
        let says_nobody = contact_of(heard).is_none() && heard.message.headers_are_whole();
        let Some((leaf, _)) = leaf.filter(|&(_, sure)| sure || says_nobody) else {
            return;
        };
        let is = |known: &Arc<str>| known.as_bytes() == tag;
        let rings = |branch: &Branch| {
            let mut tags = branch.called.iter().map(|&called| self.ends.get(called)?.local_tag.as_ref());
            branch.cancelled || branch.final_status.is_some() || tags.any(|known| known.is_some_and(is))
        };
        // Of one that has answered with another tag it may be a fork of its own.
        let other = |branch: &Branch| !branch.early.is_empty() && !branch.early.iter().any(|it| is(&it.tag));
        if self.branches.get(leaf).is_none_or(|branch| rings(branch) || other(branch)) {
            return;
        }
        self.ring(leaf, Answering::of(heard), context);
        let called = self.branches.get(leaf).and_then(|branch| branch.called.last().copied());
        if let Some(end) = called.and_then(|called| self.ends.get_mut(called)) {
            end.edit().confidence = Confidence::Weak;
        }
    }

    /// A further hop refused it. If each of them has, the proxy tries somebody else or says that it waits for somebody; else
    /// its caller was told by now.
    pub(super) fn refused_below(&mut self, at: usize, frame: FrameId, context: &Context<'_>) {
        let Some(branch) = self.branches.get(at) else {
            return;
        };
        let (of, cseq) = (branch.attempt, branch.cseq);
        let refused = |branch: &Branch| branch.final_status.is_some_and(|status| status >= 300);
        let all = || self.branches.iter().filter(|branch| branch.attempt == of && branch.cseq == cseq);
        let said = |tag: &Arc<str>| {
            all().any(|branch| branch.parent.is_some() && branch.early.iter().any(|early| early.tag == *tag))
        };
        // The caller heard somebody ring of whom the further hops know nothing: there is one that the mirror does not show.
        let is_unseen = |early: &Early| !said(&early.tag);
        if all().all(|branch| branch.parent.is_none() || refused(branch))
            && !all().any(|branch| branch.parent.is_none() && branch.early.iter().any(is_unseen))
            && let Some(attempt) = self.attempts.get_mut(of)
            && attempt.cseq == cseq
        {
            let lossy = context.losses.are_known(context.now);
            let until = context.now.after_s(if lossy { PASSED_ON_S } else { GOES_ON_S });
            attempt.refused_below_until = Some((until, frame));
            attempt.refused_below = (EndReason::CopyEnded, Rule::CopyEnded);
        }
    }

    /// No phone of the other leg took it: the answer must have come, or the PBX asks somebody else.
    pub(super) fn refused_on_other_leg(&mut self, context: &Context<'_>) {
        let open =
            |attempt: &&mut Attempt| !attempt.over && !attempt.bound && attempt.refused_below_until.is_none();
        for attempt in self.attempts.iter_mut().filter(open) {
            attempt.refused_below_until = Some((context.now.after_s(PASSED_ON_S), context.frame));
            attempt.refused_below = (EndReason::CopyEnded, Rule::OtherLeg);
        }
    }

    /// A server tries. If neither a further hop nor another leg nor any other response shows within the time in which a
    /// telephone network finds the other side, then, where the mirror loses messages, that was the final one.
    pub(super) fn goes_nowhere(&mut self, at: usize, heard: &Heard<'_, '_>, context: &Context<'_>) {
        let Some(branch) = self.branches.get(at).filter(|branch| branch.vias == 1 && branch.early.is_empty())
        else {
            return;
        };
        let hops = self.branches.iter().filter(|other| other.cseq == branch.cseq).count();
        if hops == 1
            && self.legs.others.is_empty()
            && self.dialogs.is_empty()
            && let Some(attempt) = self.attempts.get_mut(branch.attempt)
            && attempt.refused_below_until.is_none()
            && context.losses.are_known(context.now)
        {
            attempt.refused_below_until = Some((context.now.after_s(GOES_ON_S), heard.frame));
            attempt.refused_below = (EndReason::NoResponse, Rule::NoResponse);
        }
    }

    /// Nobody waits for an answer any more: what rings rings no longer.
    fn nobody_calls(&mut self, attempt: usize, ending: Ending) {
        let open = |branch: &&Branch| branch.attempt == attempt && branch.final_status.is_none();
        let rang = self.branches.iter().filter(open).flat_map(|branch| branch.called.iter().copied());
        for called in rang.collect::<SmallVec<[usize; 2]>>() {
            self.end_end(called, ending);
        }
    }

    /// Nothing of that came.
    pub(super) fn presume_refused(&mut self, at: usize, frame: FrameId, context: &mut Context<'_>) {
        if let Some(attempt) = self.attempts.get(at).filter(|attempt| !attempt.bound) {
            let (reason, rule) = attempt.refused_below;
            let ending = Ending::new(reason, rule, frame);
            self.end_attempt(at, ending, context);
            if rule == Rule::OtherLeg {
                self.nobody_calls(at, ending);
            }
        }
    }
}
