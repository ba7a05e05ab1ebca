//! The 2xx to INVITE: which attempt it answers, who answered, and the dialog that it makes.
//! In: 2xx responses to INVITE. Out: changes of a `Call`. Knows nothing of what led to it or of what follows inside.
//! RFC 3261 sections 13.2.2.4, 13.3.1.4; RFC 4028 section 10.

use std::sync::Arc;

use smallvec::SmallVec;

use super::super::heard::{Heard, is_copy, is_text, text};
use super::super::{Confidence, DialogState, EndIdentity, EndReason, Rule, Side};
use super::call::{Answering, Answers, Branch, Call, Dialog, Early, Ending, HopMark, ShownBy};
use super::legs::LegNews;
use super::media::{Description, held};
use super::{ACK_PRESUMED_IF_LOSSY_S, ACK_PRESUMED_S, Context, T2_S, TIMER_B_S};
use crate::base::{FrameId, TalkingOn, Timestamp};

impl Call {
    /// A 2xx to INVITE: there is a dialog. `at` is its branch, when its INVITE was seen on this hop.
    pub(super) fn accepted(&mut self, at: Option<usize>, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        let message = heard.message;
        let Some(to_tag) = message.to_tag() else {
            // It was cut: somebody answers here. Another hop, or the ACK, tells under which tag.
            if let Some(branch) = at.and_then(|at| self.branches.get_mut(at)) {
                branch.answers = Answers::Unnamed;
            }
            return;
        };
        let from_tag = message.from_tag().unwrap_or_default();
        let known = self.find_dialog(from_tag, to_tag);
        if known.is_none() && self.dialogs.len() >= context.branches_per_call {
            return; // the attempt keeps its timers, so that nobody calls or rings for ever
        }
        if let Some(at) = at {
            self.answered(at, Rule::Invite, heard.frame);
        }
        if known.is_none() {
            self.shows_life(heard.at);
        }
        let dialog = match known {
            Some((dialog, _)) => {
                self.comes_late(heard, context);
                self.end_copied_attempt(at, heard, context);
                dialog
            }
            None => {
                self.tell_other_leg(LegNews::Answered, heard.frame);
                self.confirm(at, self.tag(from_tag), text(to_tag), heard, context)
            }
        };
        if let Some(branch) = at.and_then(|at| self.branches.get_mut(at)) {
            branch.final_status = Some(200);
            branch.no_response_at = None;
            branch.lost_at = branch.lost_at.or(Some((heard.at.after_s(TIMER_B_S), heard.frame)));
        }
        if let Some(dialog) = self.dialogs.get_mut(dialog) {
            dialog.shown_by = ShownBy::Answer;
        }
        self.seen_on_hop(dialog, at, heard, context);
        // Its own hop shows who answered, which may have been presumed before.
        let called = self.dialogs.get(dialog).and_then(|dialog| dialog.called);
        let shown = |branch: &Branch| called.is_some_and(|called| branch.called.contains(&called));
        if at.and_then(|at| self.branches.get(at)).is_some_and(shown)
            && let Some(end) = called.and_then(|called| self.ends.get_mut(called))
            && end.confidence == Confidence::Weak
        {
            end.edit().confidence = Confidence::Full;
        }
    }

    /// A caller's tag as its attempt has it.
    fn tag(&self, from_tag: &[u8]) -> Arc<str> {
        let attempt = self.attempts.iter().rfind(|attempt| is_text(&attempt.from_tag, from_tag));
        attempt.map_or_else(|| text(from_tag), |attempt| Arc::clone(&attempt.from_tag))
    }

    /// The 2xx belongs to a dialog that had its caller before: what this INVITE began was a late copy of it.
    fn end_copied_attempt(&mut self, at: Option<usize>, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        let attempt = at.and_then(|at| self.branches.get(at)).map(|branch| branch.attempt);
        if let Some(at) = attempt.filter(|&at| self.attempts.get(at).is_some_and(|attempt| !attempt.bound)) {
            self.end_attempt(at, Ending::new(EndReason::CopyEnded, Rule::CopyEnded, heard.frame), context);
        }
    }

    /// The first 2xx with these tags.
    fn confirm(
        &mut self,
        at: Option<usize>,
        from_tag: Arc<str>,
        to_tag: Arc<str>,
        heard: &Heard<'_, '_>,
        context: &mut Context<'_>,
    ) -> usize {
        let attempt = self.attempts.iter().rposition(|attempt| attempt.from_tag == from_tag);
        let caller = self.caller_of(attempt, &from_tag, heard, context);
        let cseq = heard.message.cseq().number;
        let early = self.early_of(attempt, cseq, &to_tag);
        let negotiated = early.is_some_and(|early| early.negotiated);
        let early_media = early.and_then(|early| early.media.clone());
        let mut dialog = Dialog::confirmed(from_tag, to_tag, heard.frame, context);
        dialog.cseq = cseq;
        dialog.caller = Some(caller);
        let offer = attempt.and_then(|at| self.attempts.get(at)).map(|attempt| &attempt.offer);
        let answer = Description::of(heard);
        match (offer, &answer) {
            (Some(Description::Present(offer)), Description::Present(answer)) => {
                dialog.agree(offer, answer, heard, context);
            }
            (Some(Description::Present(seen)), _) => dialog.agree_by_half(seen, heard.frame, context),
            (_, Description::Present(seen)) => dialog.agree_by_half(seen, heard.frame, context),
            _ => {}
        }
        let mut media = early_media.unwrap_or_default();
        let offers_first = !negotiated && matches!(offer, Some(Description::Absent));
        match (offer, answer) {
            (_, Description::Present(sdp)) if offers_first => {
                media = context.media.of(&sdp);
                dialog.offer_in_ok = Some(sdp);
            }
            (Some(Description::Present(offer)), Description::Present(answer)) => {
                media = context.media.of(&answer);
                dialog.held = held(offer, &answer).unwrap_or(false);
            }
            (_, Description::Present(answer)) => media = context.media.of(&answer),
            _ => {}
        }
        let wait_for_ack = match context.rules.talking_on {
            TalkingOn::Response => false,
            TalkingOn::Ack => true,
            TalkingOn::Auto => dialog.offer_in_ok.is_some(),
        };
        dialog.talking = !wait_for_ack;
        if wait_for_ack {
            // Its 2xx would have been repeated after T1, and after 2·T1 more, over TCP, too (RFC 3261 section 13.3.1.4).
            let after_s =
                if context.losses.are_known(heard.at) { ACK_PRESUMED_IF_LOSSY_S } else { ACK_PRESUMED_S };
            dialog.presume_at = Some((heard.at.after_s(after_s), heard.frame));
        }
        self.dialogs.reserve_exact(1);
        self.dialogs.push(dialog);
        let dialog = self.dialogs.len() - 1;
        self.settle_attempt(attempt, at, (heard.at, heard.frame));
        self.join_called(dialog, at, attempt, &media, heard, context);
        for end in self.parties(dialog) {
            self.confirm_end(end, dialog, &media);
        }
        self.engage(dialog, Rule::Invite200, heard.frame);
        dialog
    }

    /// The end that becomes the dialog's caller: the one that was calling, or one like it for a further fork.
    fn caller_of(
        &mut self,
        attempt: Option<usize>,
        from_tag: &Arc<str>,
        heard: &Heard<'_, '_>,
        context: &mut Context<'_>,
    ) -> usize {
        if let Some(attempt) = attempt.and_then(|at| self.attempts.get_mut(at)) {
            let free = !attempt.bound && !attempt.over;
            (attempt.bound, attempt.retry_until) = (true, None);
            let caller = attempt.caller;
            if free {
                return caller;
            }
            let like = self.ends.get(caller);
            let (identity, peer, dialled) = like
                .map(|end| (end.identity.clone(), end.peer.clone(), end.dialled.clone()))
                .unwrap_or_default();
            let identity = EndIdentity { answered: true, ..identity };
            let caller = self.new_end(Side::Caller, identity, context);
            if let Some(end) = self.ends.get_mut(caller) {
                let fact = end.edit();
                (fact.peer, fact.dialled, fact.local_tag) = (peer, dialled, Some(Arc::clone(from_tag)));
            }
            return caller;
        }
        // No INVITE was seen: the response tells where it went back to, and whom it is from and to. It may answer a
        // re-INVITE, whose From may be the name by which its sender was called.
        let message = heard.message;
        let flow = match message.via_count() {
            1 => Some(heard.destination_flow()),
            _ => heard.origin(),
        };
        let identity = EndIdentity {
            flow,
            neighbour: (message.via_count() == 1).then(|| heard.source.into()),
            called: heard.aor(&message.from()),
            answered: true,
            ..EndIdentity::default()
        };
        let caller = self.new_end(Side::Caller, identity, context);
        if let Some(end) = self.ends.get_mut(caller) {
            let fact = end.edit();
            fact.peer = heard.aor(&message.to()).map(|to| to.to_text());
            fact.local_tag = Some(Arc::clone(from_tag));
            fact.confidence = Confidence::Weak;
        }
        caller
    }

    /// Finds who answered, and makes it the dialog's called party. Only a branch without children leads to a
    /// phone; when the 2xx is first seen nearer the caller, the tag of a 1xx, or there being but one
    /// phone, tells which.
    fn join_called(
        &mut self,
        dialog: usize,
        at: Option<usize>,
        attempt: Option<usize>,
        media: &Arc<[super::super::Media]>,
        heard: &Heard<'_, '_>,
        context: &mut Context<'_>,
    ) {
        let Some(tag) = self.dialogs.get(dialog).map(|dialog| Arc::clone(&dialog.called_tag)) else {
            return;
        };
        // It is but the only phone that was seen to be called: the INVITE to another may have been lost.
        let mut presumed = false;
        let leaf = match at.and_then(|at| self.branches.get(at).map(|branch| (at, branch.is_leaf()))) {
            Some((at, true)) => Some(at),
            Some((_, false)) => {
                let leaf = self.leaf_of(attempt, heard);
                presumed = leaf.is_some_and(|(_, sure)| !sure);
                leaf.map(|(at, _)| at)
            }
            None => None,
        };
        let called = match leaf {
            Some(leaf) => self.called_end(leaf, Answering::of(heard), context),
            None if at.is_none() => Some(self.unseen_called(attempt, &tag, heard, context)),
            None => None,
        };
        if let Some(dialog) = self.dialogs.get_mut(dialog) {
            dialog.called = called;
        }
        if let Some(called) = called {
            if presumed && let Some(end) = self.ends.get_mut(called) {
                end.edit().confidence = Confidence::Weak;
            }
            self.confirm_end(called, dialog, media);
        }
    }

    /// Who sent a 2xx whose INVITE was not seen. It may have been heard ringing on another hop.
    fn unseen_called(
        &mut self,
        attempt: Option<usize>,
        tag: &str,
        heard: &Heard<'_, '_>,
        context: &mut Context<'_>,
    ) -> usize {
        let message = heard.message;
        let (rings, revoked_ends) = self.answers_as(attempt, tag, heard.frame);
        let identity = EndIdentity {
            flow: Some(heard.source_flow()),
            neighbour: Some(heard.destination.into()),
            contact: heard.contact(),
            claimed: heard.asserted(),
            called: heard.aor(&message.to()),
            answered: true,
            ..EndIdentity::default()
        };
        if let Some(end) = rings.and_then(|at| self.ends.get_mut(at)) {
            let known = &mut end.edit().identity;
            let contact = identity.contact.clone().or(known.contact.take());
            *known = EndIdentity { contact, ..identity };
            return rings.unwrap_or_default();
        }
        let called = self.new_end(Side::Called, identity, context);
        if let Some(end) = self.ends.get_mut(called) {
            let fact = end.edit();
            fact.peer = heard.aor(&message.from()).map(|from| from.to_text());
            fact.revoked_ends = revoked_ends;
            fact.confidence = Confidence::Weak;
        }
        called
    }

    /// The end that rings under this tag, which is now known to have answered; where documents say that it was over, another
    /// one goes on in its place, and this is how often that was so.
    pub(super) fn answers_as(
        &mut self,
        attempt: Option<usize>,
        tag: &str,
        frame: FrameId,
    ) -> (Option<usize>, u32) {
        match self.ringing_as(attempt, tag) {
            Some(rang) if self.was_told_over(rang) => (None, self.replace(rang, frame)),
            rang => (rang, 0),
        }
    }

    /// The phone that rings under this tag.
    fn ringing_as(&self, attempt: Option<usize>, tag: &str) -> Option<usize> {
        let branches = self.branches.iter().filter(|branch| Some(branch.attempt) == attempt);
        branches.flat_map(|branch| branch.called.iter().copied()).find(|&called| {
            self.ends
                .get(called)
                .is_some_and(|end| end.state == DialogState::Early && end.local_tag.as_deref() == Some(tag))
        })
    }

    pub(super) fn confirm_end(&mut self, at: usize, dialog: usize, media: &Arc<[super::super::Media]>) {
        let Some(dialog) = self.dialogs.get(dialog) else {
            return;
        };
        let Some(end) = self.ends.get_mut(at) else {
            return;
        };
        if end.state == DialogState::Terminated {
            return;
        }
        let fact = end.edit();
        (fact.local_tag, fact.remote_tag) = dialog.tags_of(fact.side);
        fact.state = DialogState::Confirmed;
        fact.identity.answered = true;
        fact.media = Arc::clone(media);
        end.news(Rule::Invite200, dialog.confirmed_in);
    }

    pub(super) fn parties(&self, dialog: usize) -> SmallVec<[usize; 2]> {
        self.dialogs
            .get(dialog)
            .map(|dialog| [dialog.caller, dialog.called].into_iter().flatten().collect())
            .unwrap_or_default()
    }

    fn early_of(&self, attempt: Option<usize>, cseq: u32, tag: &str) -> Option<&Early> {
        self.branches
            .iter()
            .filter(|branch| Some(branch.attempt) == attempt && branch.cseq == cseq)
            .flat_map(|branch| &branch.early)
            .find(|early| &*early.tag == tag)
    }

    /// The call is answered: what still rings elsewhere has 64·T1 left (RFC 3261 section 13.2.2.4).
    pub(super) fn settle_attempt(
        &mut self,
        attempt: Option<usize>,
        at: Option<usize>,
        (answered_at, frame): (Timestamp, FrameId),
    ) {
        let until = Some((answered_at.after_s(TIMER_B_S), frame));
        for (here, branch) in self.branches.iter_mut().enumerate() {
            if Some(branch.attempt) == attempt && Some(here) != at && branch.lost_at.is_none() {
                branch.lost_at = until;
            }
        }
        if let Some(branch) = at.and_then(|at| self.branches.get_mut(at)) {
            // Kept until its 2xx can no longer be repeated.
            branch.lost_at = until;
        }
    }

    /// What each sight of a 2xx adds: its hop, who answered, the session timer, a repetition.
    fn seen_on_hop(
        &mut self,
        at: usize,
        branch: Option<usize>,
        heard: &Heard<'_, '_>,
        context: &mut Context<'_>,
    ) {
        let message = heard.message;
        let vias = message.via_count();
        let Some(dialog) = self.dialogs.get_mut(at) else {
            return;
        };
        if !dialog.is_live() {
            return;
        }
        let hop = HopMark::of(heard);
        if !dialog.hops.contains(&hop) && dialog.hops.len() < context.branches_per_call {
            dialog.hops.push(hop);
        }
        // The ACK may come first, and says nothing of it.
        if message.status().is_some() {
            dialog.agree_on_hop(heard, context);
            if dialog.session_vias > vias {
                dialog.session_vias = vias;
                dialog.session_ends_at = session_end(heard);
            }
        }
        let id = message.top_branch();
        if dialog.ok_branches.iter().any(|seen| &**seen == id) {
            repeated(dialog, heard);
        } else if dialog.ok_branches.len() < context.branches_per_call {
            dialog.ok_branches.push(id.into());
        }
        // The 2xx came by on the caller's side first; now the phone's own hop shows who answered.
        let joins = dialog.called.is_none()
            && branch.and_then(|branch| self.branches.get(branch)).is_some_and(Branch::is_leaf);
        if joins {
            let media = self
                .parties(at)
                .first()
                .and_then(|&end| self.ends.get(end))
                .map_or_else(Arc::default, |end| Arc::clone(&end.media));
            let attempt = branch.and_then(|branch| self.branches.get(branch)).map(|branch| branch.attempt);
            self.join_called(at, branch, attempt, &media, heard, context);
            self.engage(at, Rule::Invite200, heard.frame);
        }
    }
}

/// When the session ends if nobody refreshes it: the interval of the 2xx, and 32 s (RFC 4028 section 10).
pub(super) fn session_end(heard: &Heard<'_, '_>) -> super::call::Due {
    let interval_s = heard.message.session_expires()?;
    Some((heard.at.after_s(interval_s.saturating_add(TIMER_B_S)), heard.frame))
}

/// The called end repeats its 2xx: it has not seen an ACK (RFC 3261 section 13.3.1.4).
fn repeated(dialog: &mut Dialog, heard: &Heard<'_, '_>) {
    if dialog.acked || is_copy(dialog.confirmed_at, heard.at) {
        return;
    }
    dialog.ok_repeated_at = Some(heard.at);
    if dialog.presume_at.is_some() {
        dialog.presume_at = Some((heard.at.after_s(2 * T2_S), heard.frame));
    }
    let last = dialog.confirmed_at.after_s(TIMER_B_S);
    if heard.at.after_s(T2_S) >= last {
        dialog.no_ack_at = Some((last, heard.frame));
    }
}
