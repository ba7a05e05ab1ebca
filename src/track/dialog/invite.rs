//! From the INVITE to its final response: attempts, branches, forks, CANCEL.
//! In: INVITE, CANCEL and their responses. Out: changes of a `Call`. Knows nothing of dialogs that are made.
//! RFC 3261 sections 9, 13, 16.7, 17.1.1; RFC 3262.

use std::sync::Arc;

use smallvec::SmallVec;

use super::super::heard::{Heard, is_copy, is_text, text};
use super::super::{AuthUser, Confidence, DialogState, EndIdentity, EndReason, Engagement, Rule, Side};
use super::call::{Answering, Answers, Attempt, Branch, Call, Early, Ending};
use super::legs::LegNews;
use super::listening::claim;
use super::media::{Description, MediaTable};
use super::{Context, RETRY_S, TIMER_B_S, TIMER_C_S};
use crate::base::{FrameId, Timestamp};
use crate::sip::{Aor, Method, uri};

/// Whom an INVITE says it is from and to, and where it goes.
pub(super) struct Said {
    from: Option<Aor>,
    to: Option<Aor>,
    dialled: Option<Arc<str>>,
}

impl Said {
    pub(super) fn by(heard: &Heard<'_, '_>) -> Self {
        let message = heard.message;
        Self {
            from: heard.aor(&message.from()),
            to: heard.aor(&message.to()),
            dialled: message.request_uri().map(|uri| heard.shared(uri)),
        }
    }
}

impl Attempt {
    pub(super) fn new(from_tag: Arc<str>, caller: usize, said: Said, heard: &Heard<'_, '_>) -> Self {
        let Said { from, to, dialled } = said;
        Self {
            from_tag,
            cseq: heard.message.cseq().number,
            caller,
            bound: false,
            over: false,
            from,
            to,
            dialled,
            caller_vias: heard.message.via_count(),
            offer: Description::of(heard),
            retry_until: None,
            retry_or: (EndReason::NotRetried, Rule::NotRetried),
            refused_below_until: None,
            refused_below: (EndReason::CopyEnded, Rule::CopyEnded),
        }
    }
}

impl Branch {
    /// The INVITE on the hop of this message, which is itself or a response to it.
    pub(super) fn new(attempt: usize, parent: Option<usize>, children: u16, heard: &Heard<'_, '_>) -> Self {
        let message = heard.message;
        let invite = message.status().is_none().then_some(message);
        let (source, destination) = match invite {
            Some(_) => (heard.source, heard.destination_flow()),
            None => (heard.destination, heard.source_flow()),
        };
        let second_via = message.vias().nth(1).and_then(|via| via.branch);
        Self {
            attempt,
            cseq: message.cseq().number,
            id: message.top_branch().into(),
            parent,
            parent_id: second_via.filter(|_| parent.is_none()).map(Into::into),
            children,
            vias: message.via_count(),
            source,
            destination,
            request_uri: invite
                .and_then(|invite| invite.request_uri())
                .map(|uri| heard.shared(uri))
                .unwrap_or_default(),
            auth: invite.and_then(|_| heard.auth_user()),
            at: heard.at,
            expires_s: invite.and_then(|invite| invite.expires()).filter(|&expires_s| expires_s > 0),
            final_status: None,
            answers: Answers::Named,
            cancelled: false,
            responded: invite.is_none(),
            early: Vec::new(),
            called: SmallVec::new(),
            no_response_at: Some((heard.at.after_s(TIMER_B_S), heard.frame)),
            lost_at: None,
        }
    }
}

impl Call {
    /// An INVITE that opens a dialog, on one hop.
    pub(super) fn invite(&mut self, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        let message = heard.message;
        let cseq = message.cseq().number;
        if let Some(at) = self.branch_of(heard) {
            self.invite_repeated(at, heard);
            return self.late_invite(at, heard, context); // else a retransmission, the mirror's copy, or a loop
        }
        if self.branches.len() >= context.branches_per_call {
            return;
        }
        let from_tag = message.from_tag().unwrap_or_default();
        let known = self.attempts.iter().rposition(|attempt| is_text(&attempt.from_tag, from_tag));
        let parent = known.and_then(|attempt| self.parent_of(attempt, heard));
        let attempt = match known {
            Some(at) if cseq < self.attempts.get(at).map_or(0, |attempt| attempt.cseq) => return,
            Some(at) => self.again(at, parent.is_some(), heard, context),
            // A fork that nobody answered: its INVITE is still repeated.
            None if self.was_over_unseen(from_tag) => return,
            None => match self.answered_before(from_tag, cseq) {
                Some(dialog) => self.late_attempt(dialog, heard, context),
                None => self.attempt(text(from_tag), heard, context),
            },
        };
        let Some(attempt) = attempt else { return };
        let children = self.adopt_children(attempt, heard);
        if let Some(attempt) = self.attempts.get_mut(attempt) {
            attempt.refused_below_until = None;
        }
        let mut rings_here: SmallVec<[usize; 1]> = SmallVec::new();
        if let Some(parent) = parent.and_then(|at| self.branches.get_mut(at)) {
            parent.children = parent.children.saturating_add(1);
            // It was taken for a phone's own, and is a server's. Who has answered on it is in a dialog by now; who rings
            // does so on this hop, if its Contact says so.
            for called in std::mem::take(&mut parent.called) {
                if self.is_called_here(called, heard) {
                    rings_here.push(called);
                } else {
                    self.end_lost_fork(called, heard.frame);
                }
            }
        }
        self.goes_on_after_refusal(heard.frame);
        let no_response_s = if rings_here.is_empty() { TIMER_B_S } else { TIMER_C_S };
        self.branches.reserve_exact(1);
        self.branches.push(Branch {
            called: rings_here,
            no_response_at: Some((heard.at.after_s(no_response_s), heard.frame)),
            ..Branch::new(attempt, parent, children, heard)
        });
    }

    /// A phone that rings, as another hop showed, is the one that this INVITE goes to; what this hop shows of it is
    /// nearer the truth.
    fn is_called_here(&mut self, called: usize, heard: &Heard<'_, '_>) -> bool {
        let receiver = heard.receiver_identity();
        let Some(end) = self.ends.get_mut(called).filter(|end| end.state == DialogState::Early) else {
            return false;
        };
        let same = match (&end.identity.contact, &receiver.request_uri) {
            (Some(contact), Some(request_uri)) => uri::same(contact, request_uri),
            _ => false,
        };
        if same {
            let known = &mut end.edit().identity;
            (known.flow, known.neighbour, known.request_uri) =
                (receiver.flow, receiver.neighbour, receiver.request_uri);
        }
        same
    }

    /// The first INVITE of a From-tag: somebody calls.
    fn attempt(
        &mut self,
        from_tag: Arc<str>,
        heard: &Heard<'_, '_>,
        context: &mut Context<'_>,
    ) -> Option<usize> {
        if self.attempts.len() >= context.branches_per_call {
            return None;
        }
        let said = Said::by(heard);
        let caller = self.calling_end(&from_tag, &said, heard, context);
        let attempt = Attempt::new(from_tag, caller, said, heard);
        claim(&attempt.offer, context.places);
        self.attempts.reserve_exact(1);
        self.attempts.push(attempt);
        Some(self.attempts.len() - 1)
    }

    fn calling_end(
        &mut self,
        from_tag: &Arc<str>,
        said: &Said,
        heard: &Heard<'_, '_>,
        context: &mut Context<'_>,
    ) -> usize {
        let identity = heard.sender_identity_from(|| said.from.clone());
        let caller = self.new_end(Side::Caller, identity, context);
        if let Some(end) = self.ends.get_mut(caller) {
            let fact = end.edit();
            fact.engagement = Engagement::Calling;
            fact.local_tag = Some(Arc::clone(from_tag));
            fact.peer = said.to.as_ref().map(Aor::to_text);
            fact.dialled = said.dialled.clone();
            fact.expires_s = heard.message.expires().filter(|&expires_s| expires_s > 0);
            end.news(Rule::Invite, heard.frame);
        }
        caller
    }

    /// A further INVITE of the same From-tag: the next hop, a fork, or the caller trying again.
    fn again(
        &mut self,
        at: usize,
        forwarded: bool,
        heard: &Heard<'_, '_>,
        context: &mut Context<'_>,
    ) -> Option<usize> {
        let (cseq, vias) = (heard.message.cseq().number, heard.message.via_count());
        // What it was forwarded to was refused before it was seen.
        let refused = self.branches.iter().any(|branch| {
            branch.attempt == at
                && branch.cseq == cseq
                && branch.parent_id.as_deref() == Some(heard.message.top_branch())
                && branch.final_status.is_some_and(|status| status >= 300)
        });
        let attempt = self.attempts.get(at)?;
        let newer = cseq > attempt.cseq;
        if attempt.bound && !(newer && self.was_refused_after_all(at, heard, context)) {
            // A dialog came of it already; other forks of that INVITE may still be on their way.
            return (!newer).then_some(at);
        }
        let attempt = self.attempts.get_mut(at)?;
        if attempt.over && (forwarded || refused) {
            return Some(at); // what the caller heard ended it; a hop of the same INVITE comes late
        }
        if newer {
            attempt.cseq = cseq;
            attempt.caller_vias = vias;
            attempt.offer = Description::of(heard);
            attempt.dialled = heard.message.request_uri().map(|uri| heard.shared(uri));
        }
        // A further hop that comes late is not the caller trying again.
        if !forwarded {
            attempt.retry_until = None;
        }
        if attempt.over {
            attempt.over = false;
            let (from_tag, before) = (Arc::clone(&attempt.from_tag), attempt.caller);
            let caller = self.calling_end(&from_tag, &Said::by(heard), heard, context);
            self.attempts.get_mut(at)?.caller = caller;
            // That it was over is final for the old id, which the same tags would have again.
            let revoked_ends = self.ends.get(before).map_or(0, |end| end.revoked_ends.saturating_add(1));
            if let Some(end) = self.ends.get_mut(caller) {
                end.edit().revoked_ends = revoked_ends;
            }
        } else if newer || vias < attempt.caller_vias {
            attempt.caller_vias = vias;
            let caller = attempt.caller;
            let end = self.ends.get_mut(caller)?;
            let identity = EndIdentity { answered: end.identity.answered, ..heard.sender_identity() };
            if end.identity != identity {
                end.edit().identity = identity;
                end.news(Rule::Invite, heard.frame);
            }
        }
        Some(at)
    }

    /// The branch that this INVITE continues: its second Via's, or the one that was sent to this sender.
    pub(super) fn parent_of(&self, attempt: usize, heard: &Heard<'_, '_>) -> Option<usize> {
        let cseq = heard.message.cseq().number;
        let mine = |branch: &Branch| branch.attempt == attempt && branch.cseq == cseq;
        if let Some(via) = heard.message.vias().nth(1) {
            let id = via.branch.unwrap_or_default();
            return self.branches.iter().position(|branch| mine(branch) && &*branch.id == id);
        }
        // A border controller hides the Vias behind it. What this INVITE was forwarded to, seen before it, may have
        // gone to the very address that it comes from.
        let forwarded_from_it =
            |branch: &Branch| branch.parent_id.as_deref() == Some(heard.message.top_branch());
        self.branches.iter().position(|branch| {
            mine(branch)
                && !forwarded_from_it(branch)
                && branch.destination.address.ip() == heard.source.ip()
                && branch.source.ip() != heard.source.ip()
        })
    }

    /// The next hop's INVITE may be seen first: it becomes the child of the branch that is about to be entered.
    pub(super) fn adopt_children(&mut self, attempt: usize, heard: &Heard<'_, '_>) -> u16 {
        let (id, cseq) = (heard.message.top_branch(), heard.message.cseq().number);
        let at = self.branches.len();
        let mut children = 0_u16;
        for branch in &mut self.branches {
            let orphan = branch.attempt == attempt && branch.cseq == cseq && branch.parent.is_none();
            if orphan && branch.parent_id.as_deref().is_some_and(|parent| parent == id) {
                (branch.parent, branch.parent_id) = (Some(at), None);
                children = children.saturating_add(1);
            }
        }
        children
    }

    /// The INVITE that a response or a CANCEL belongs to: same branch, same CSeq (RFC 3261 section 17.1.3).
    pub(super) fn branch_of(&self, heard: &Heard<'_, '_>) -> Option<usize> {
        let message = heard.message;
        let (id, cseq) = (message.top_branch(), message.cseq().number);
        self.branches.iter().rposition(|branch| {
            branch.cseq == cseq
                && &*branch.id == id
                && self.attempts.get(branch.attempt).is_some_and(|attempt| {
                    attempt.from_tag.as_bytes() == message.from_tag().unwrap_or_default()
                })
        })
    }

    pub(super) fn invite_response(
        &mut self,
        at: usize,
        status: u16,
        heard: &Heard<'_, '_>,
        context: &mut Context<'_>,
    ) {
        match status {
            100..=199 => self.provisional(at, status, heard, context),
            200..=299 => self.accepted(Some(at), heard, context),
            _ => self.refused(at, status, None, heard, context),
        }
    }

    fn provisional(&mut self, at: usize, status: u16, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        let Some(branch) = self.branches.get_mut(at) else {
            return;
        };
        if branch.final_status.is_some() {
            return;
        }
        branch.responded = true;
        let until = patience(branch, heard.at, context);
        if !branch.no_response_at.is_some_and(|(before, _)| is_copy(before, until)) {
            branch.no_response_at = Some((until, heard.frame));
        }
        if status == 100 {
            return self.goes_nowhere(at, heard, context);
        }
        self.shows_life(heard.at);
        self.goes_on_after_refusal(heard.frame);
        let Some(branch) = self.branches.get_mut(at) else {
            return;
        };
        if branch.parent.is_none()
            && let Some(attempt) = self.attempts.get_mut(branch.attempt)
        {
            attempt.refused_below_until = None;
        }
        let tag = heard.message.to_tag();
        if let Some(tag) = tag {
            remember_early(&mut branch.early, tag, heard, context.branches_per_call, context.media);
        }
        let branch_is_callers_own = branch.parent.is_none() && branch.vias == 1;
        let (ringing, leaf) = (status == 180 && !branch.cancelled, branch.is_leaf());
        if status == 180 && branch_is_callers_own {
            self.tell_other_leg(LegNews::Rings, heard.frame);
        }
        if status == 180 && leaf {
            self.rings_still(at, heard, context);
        }
        self.answered(at, if status == 180 { Rule::Invite180 } else { Rule::Invite }, heard.frame);
        if ringing && !self.rings_already(at, heard) {
            if leaf {
                self.ring(at, Answering::of(heard), context);
            } else {
                self.rings_behind(at, heard, context);
            }
        }
    }

    /// A 101–2xx came: whoever sent the INVITE was let through (SPEC section 6).
    pub(super) fn answered(&mut self, at: usize, rule: Rule, frame: FrameId) {
        let Some(branch) = self.branches.get(at) else {
            return;
        };
        let auth = self.credentials_of(at);
        let Some(attempt) = self.attempts.get(branch.attempt).filter(|attempt| !attempt.over) else {
            return;
        };
        if let Some(end) = self.ends.get_mut(attempt.caller)
            && end.state != DialogState::Terminated
            && (!end.identity.answered || (end.identity.auth.is_none() && auth.is_some()))
        {
            let identity = &mut end.edit().identity;
            identity.answered = true;
            identity.auth = auth.or(identity.auth.take());
            if end.engagement == Engagement::Calling {
                end.news(rule, frame);
            }
        }
    }

    /// The caller's digest user: proxies take the credentials out, and what one of them forwarded was let
    /// through on all hops before it.
    fn credentials_of(&self, at: usize) -> Option<AuthUser> {
        let mut nearest_the_caller = None;
        let mut next = Some(at);
        for _ in 0..self.branches.len() {
            let Some(branch) = next.and_then(|at| self.branches.get(at)) else {
                break;
            };
            nearest_the_caller = branch.auth.as_ref().or(nearest_the_caller);
            next = branch.parent;
        }
        nearest_the_caller.cloned()
    }

    /// This 180 says what another said before, or comes on a hop that is behind: its dialog has answered.
    fn rings_already(&self, at: usize, heard: &Heard<'_, '_>) -> bool {
        let message = heard.message;
        let (Some(branch), Some(tag)) = (self.branches.get(at), message.to_tag()) else { return false };
        let attempt = self.attempts.get(branch.attempt);
        if attempt.is_some_and(|attempt| self.find_dialog(attempt.from_tag.as_bytes(), tag).is_some()) {
            return true;
        }
        let mut contacts = message.contacts().filter(|contact| !contact.star);
        let contact = contacts.next().map(|contact| contact.addr.uri);
        let mut called = branch.called.iter().filter_map(|&called| self.ends.get(called));
        message.asserted().next().is_none()
            && called.any(|end| {
                end.engagement == Engagement::Ringing
                    && end.local_tag.as_ref().is_some_and(|known| known.as_bytes() == tag)
                    && end.identity.contact.as_ref().map(|known| known.as_bytes()) == contact
                    && end.identity.claimed.is_empty()
            })
    }

    /// A phone alerts its user.
    pub(super) fn ring(&mut self, at: usize, answering: Answering, context: &mut Context<'_>) {
        let attempt = self.branches.get(at).and_then(|branch| self.attempts.get(branch.attempt));
        let (Some(attempt), frame) = (attempt, answering.frame) else { return };
        let answered =
            |tag: &Arc<str>| self.find_dialog(attempt.from_tag.as_bytes(), tag.as_bytes()).is_some();
        if answering.tag.as_ref().is_some_and(answered) {
            return; // this hop comes late
        }
        let called = self.called_end(at, answering, context);
        if let Some(end) = called.and_then(|called| self.ends.get_mut(called))
            && end.state < DialogState::Confirmed
            && end.engagement != Engagement::Ringing
        {
            let fact = end.edit();
            fact.state = DialogState::Early;
            fact.engagement = Engagement::Ringing;
            end.news(Rule::Invite180, frame);
        }
    }

    /// The end with this response's To-tag at the far side of a leaf branch, made when there is none.
    pub(super) fn called_end(
        &mut self,
        at: usize,
        answering: Answering,
        context: &mut Context<'_>,
    ) -> Option<usize> {
        let local_tag = answering.tag;
        let known = self.branches.get(at)?.called.iter().rev().copied().find(|&called| {
            let tag = self.ends.get(called).and_then(|end| end.local_tag.as_ref());
            tag.is_none() || local_tag.is_none() || tag == local_tag.as_ref()
        });
        let wrong = known.filter(|&called| answering.is_final && self.was_told_over(called));
        let revoked_ends = wrong.map(|called| self.replace(called, answering.frame));
        let known = known.filter(|_| revoked_ends.is_none());
        let branch = self.branches.get(at)?;
        let attempt = self.attempts.get(branch.attempt)?;
        if known.is_none() && branch.called.len() >= context.branches_per_call {
            return None;
        }
        let identity = EndIdentity {
            flow: Some(branch.destination),
            neighbour: Some(branch.source.into()),
            contact: answering.contact,
            request_uri: Some(&branch.request_uri).filter(|uri| !uri.is_empty()).cloned(),
            auth: None,
            claimed: answering.claimed,
            called: attempt.to.clone(),
            answered: true,
        };
        let (remote_tag, dialled) = (Arc::clone(&attempt.from_tag), attempt.dialled.clone());
        let peer = attempt.from.as_ref().map(|from| from.to_text());
        let seen = identity.request_uri.is_some();
        let called = match known {
            Some(called) => called,
            None => {
                let called = self.new_end(Side::Called, EndIdentity::default(), context);
                self.branches.get_mut(at)?.called.push(called);
                if !seen && let Some(end) = self.ends.get_mut(called) {
                    end.edit().confidence = Confidence::Weak;
                }
                called
            }
        };
        let end = self.ends.get_mut(called)?.edit();
        end.local_tag = local_tag.or(end.local_tag.take());
        end.remote_tag = Some(remote_tag);
        end.revoked_ends = revoked_ends.unwrap_or(end.revoked_ends);
        end.peer = peer;
        end.dialled = dialled;
        let contact = end.identity.contact.take();
        end.identity = identity;
        if end.identity.contact.is_none() {
            end.identity.contact = contact;
        }
        Some(called)
    }

    /// Documents say that this end is over, which a 2xx proves wrong: an end that was inferred, or a ringing that a CANCEL
    /// stopped.
    pub(super) fn was_told_over(&self, called: usize) -> bool {
        self.ends.get(called).is_some_and(|end| {
            let stopped = end.state == DialogState::Early && end.engagement == Engagement::None;
            stopped || end.ended.is_some_and(EndReason::is_inferred)
        })
    }

    /// Another end goes on in the place of this one: that it was over is final for its id. Gives how often that was so.
    pub(super) fn replace(&mut self, called: usize, frame: FrameId) -> u32 {
        self.end_end(called, Ending::new(EndReason::Cancelled, Rule::Cancel, frame));
        self.ends.get(called).map_or(1, |end| end.revoked_ends.saturating_add(1))
    }

    /// A final response other than 2xx; `proved` if it was not seen itself.
    pub(super) fn refused(
        &mut self,
        at: usize,
        status: u16,
        proved: Option<Rule>,
        heard: &Heard<'_, '_>,
        context: &mut Context<'_>,
    ) {
        if self.branches.get(at).is_some_and(|branch| branch.final_status.is_some()) {
            return self.comes_late(heard, context);
        }
        let Some(branch) = self.branches.get_mut(at) else {
            return;
        };
        branch.final_status = Some(status);
        branch.no_response_at = None;
        let (called, attempt_at, is_root, vias) =
            (branch.called.clone(), branch.attempt, branch.parent.is_none(), branch.vias);
        let (reason, rule) = match status {
            487 => (EndReason::Cancelled, Rule::Cancel),
            _ => (EndReason::Rejected, Rule::InviteFailed),
        };
        let rule = proved.unwrap_or(rule);
        for called in called {
            self.end_end(called, Ending::new(reason, rule, heard.frame));
        }
        self.deny_answer(at, Ending::new(reason, rule, heard.frame), context);
        if !is_root {
            return self.refused_below(at, heard.frame, context);
        }
        if !self.all_roots_failed(attempt_at) {
            return;
        }
        if status >= 400 && !matches!(status, 401 | 407 | 422) {
            self.tell_other_leg(LegNews::Refused, heard.frame);
        }
        let Some(attempt) = self.attempts.get_mut(attempt_at) else {
            return;
        };
        attempt.refused_below_until = None;
        if attempt.over || attempt.bound {
            return;
        }
        let caller = attempt.caller;
        if let Some(end) = self.ends.get_mut(caller) {
            end.edit().final_status = Some(status);
        }
        let Some(attempt) = self.attempts.get_mut(attempt_at) else {
            return;
        };
        let retry_until = Some((heard.at.after_s(RETRY_S), heard.frame));
        if matches!(status, 300..=399 | 401 | 407 | 422) {
            attempt.retry_until = retry_until;
            attempt.retry_or = (EndReason::NotRetried, Rule::NotRetried);
        } else if vias > 1 {
            // The caller's own hop was not seen: who refused may be but one of several that are asked.
            attempt.retry_until = retry_until;
            attempt.retry_or = (reason, rule);
        } else {
            self.end_attempt(attempt_at, Ending::new(reason, rule, heard.frame), context);
        }
    }

    /// A CANCEL or its 200: it stops the ringing on its hop and ends no dialog (RFC 3261 section 9.1).
    pub(super) fn cancel(&mut self, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        let Some(at) = self.branch_of(heard) else {
            return;
        };
        let Some(branch) = self.branches.get_mut(at) else {
            return;
        };
        if branch.cancelled || branch.final_status.is_some() {
            return;
        }
        branch.cancelled = true;
        branch.lost_at = Some((context.now.after_s(TIMER_B_S), heard.frame));
        let called = branch.called.clone();
        self.deny_answer(at, Ending::new(EndReason::Cancelled, Rule::Cancel, heard.frame), context);
        for called in called {
            if let Some(end) = self.ends.get_mut(called)
                && end.engagement == Engagement::Ringing
            {
                end.edit().engagement = Engagement::None;
                end.news(Rule::Cancel, heard.frame);
            }
        }
    }

    /// A response to INVITE whose request was not seen on this hop.
    pub(super) fn stray_response(&mut self, status: u16, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        if self.is_inside(heard) {
            return self.inside_response(Method::Invite, status, heard, context);
        }
        if matches!(status, 200..300) {
            self.accepted(None, heard, context);
        }
    }
}

/// Until when a final response is waited for after a 1xx that came at `now`.
pub(super) fn patience(branch: &Branch, now: Timestamp, context: &Context<'_>) -> Timestamp {
    match branch.expires_s {
        // No call that is not even answered outlasts the longest that is.
        Some(expires_s) => branch.at.after_s(expires_s.min(context.rules.dialog_cap_s)).max(now),
        None => now.after_s(TIMER_C_S),
    }
}

fn remember_early(
    early: &mut Vec<Early>,
    tag: &[u8],
    heard: &Heard<'_, '_>,
    most: usize,
    table: &mut MediaTable,
) {
    let description = Description::of(heard);
    let negotiated = heard.message.requires_100rel() && !matches!(description, Description::Absent);
    let media = description.sdp().map(|sdp| table.of(&sdp));
    let room = early.len() < most;
    match early.iter_mut().find(|early| early.tag.as_bytes() == tag) {
        Some(known) => {
            known.negotiated |= negotiated;
            known.media = media.or(known.media.take());
        }
        None if room => early.push(Early { tag: text(tag), negotiated, media }),
        None => {}
    }
}
