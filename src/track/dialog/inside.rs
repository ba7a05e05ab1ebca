//! Inside a dialog: ACK, BYE, re-INVITE, UPDATE, PRACK and the rest, and dialogs whose beginning was not seen.
//! In: in-dialog requests and their responses. Out: changes of a `Call`. Knows nothing of forks.
//! RFC 3261 sections 12.2, 14, 15; RFC 3262, 3311, 4028, 5057.

use std::sync::Arc;

use super::super::heard::{Heard, text};
use super::super::{Confidence, DialogState, EndIdentity, EndReason, Rule, Side};
use super::answer::session_end;
use super::call::{Call, Dialog, Ending, HopMark, Pending, Progress, ShownBy};
use super::legs::{LegNews, Missing};
use super::media::{Description, answers_hold, held, offers_hold};
use super::{Context, RETRY_S, TIMER_B_S};
use crate::base::{EndedOn, FrameId};
use crate::sip::{Method, Sdp};

/// Requests under way inside the dialogs of one call.
const PENDING: usize = 16;
/// Hops of one of them whose branches are remembered.
const HOPS: usize = 8;

impl Call {
    pub(super) fn ack(&mut self, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        if self.ack_of_failure(heard, context) {
            return;
        }
        let message = heard.message;
        let Some(to_tag) = message.to_tag() else {
            return;
        };
        let from_tag = message.from_tag().unwrap_or_default();
        let Some((at, _)) = self.find_dialog(from_tag, to_tag) else {
            return self.ack_without_ok(heard, context);
        };
        let Some(dialog) = self.dialogs.get_mut(at) else {
            return;
        };
        if !dialog.is_live() {
            return;
        }
        if message.cseq().number == dialog.cseq && !dialog.acked {
            dialog.acked = true;
            (dialog.presume_at, dialog.no_ack_at) = (None, None);
            dialog.talking = true;
            if let (Some(offer), Some(answer)) = (dialog.offer_in_ok.take(), Description::of(heard).sdp()) {
                dialog.held = held(&offer, &answer).unwrap_or(false);
                dialog.agree(&offer, &answer, heard, context);
                self.set_media(at, &answer, Rule::Ack, heard, context);
            }
            return self.engage(at, Rule::Ack, heard.frame);
        }
        // The ACK of a re-INVITE may carry the answer.
        let cseq = message.cseq().number;
        let offered = self.pending.iter_mut().find(|pending| {
            pending.method == Method::Invite
                && pending.cseq == cseq
                && pending.from_tag.as_bytes() == from_tag
        });
        let Some(pending) = offered else { return };
        let was_answered = pending.answered_vias.is_some();
        // One with the branch of the re-INVITE acknowledges a refusal. Of a hop whose re-INVITE was not seen that is not known.
        let shows_ok = pending.vias == message.via_count()
            && !pending.branches.contains(&heard.texts.mark(message.top_branch()));
        if !was_answered && !shows_ok {
            return;
        }
        let answer = Description::of(heard).sdp();
        if let Description::Present(offer) = std::mem::replace(&mut pending.offer, Description::Unseen) {
            match answer {
                Some(answer) => self.renegotiated(at, &offer, &answer, heard, context),
                None if was_answered => {}
                None => {
                    self.prove_response_lost(cseq, context);
                    self.held_by_half(at, &offer, offers_hold, heard, context);
                }
            }
        }
    }

    /// Only one of the two descriptions was seen; the other one answers as is usual.
    fn held_by_half(
        &mut self,
        at: usize,
        seen: &Sdp,
        holds: impl Fn(&Sdp) -> Option<bool>,
        heard: &Heard<'_, '_>,
        context: &mut Context<'_>,
    ) {
        if let Some(dialog) = self.dialogs.get_mut(at) {
            dialog.agree_by_half(seen, heard.frame, context);
        }
        let Some(held) = holds(seen) else { return };
        if let Some(dialog) = self.dialogs.get_mut(at)
            && dialog.held != held
        {
            dialog.held = held;
            for end in self.parties(at) {
                if let Some(end) = self.ends.get_mut(end) {
                    end.edit().confidence = Confidence::Weak;
                }
            }
            self.engage(at, if held { Rule::Hold } else { Rule::Resume }, heard.frame);
        }
    }

    /// An ACK with a branch of its own acknowledges a 2xx, whether that was seen or not (RFC 3261 section 13.2.2.4).
    fn ack_without_ok(&mut self, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        let message = heard.message;
        let cseq = message.cseq().number;
        let branch = self.branches.iter().position(|branch| {
            branch.cseq == cseq
                && branch.source == heard.source
                && branch.destination.address == heard.destination.into()
                && &*branch.id != message.top_branch()
                && branch.final_status.is_none()
                && self.attempts.get(branch.attempt).is_some_and(|attempt| {
                    // Who has tried again since was refused.
                    attempt.from_tag.as_bytes() == message.from_tag().unwrap_or_default()
                        && attempt.cseq == cseq
                })
        });
        let Some(branch) = branch else { return };
        self.prove_response_lost(cseq, context);
        self.accepted(Some(branch), heard, context);
        let Some(to_tag) = message.to_tag() else {
            return;
        };
        let Some((at, _)) = self.find_dialog(message.from_tag().unwrap_or_default(), to_tag) else {
            return;
        };
        if let Some(dialog) = self.dialogs.get_mut(at) {
            (dialog.acked, dialog.shown_by) = (true, ShownBy::Ack);
            dialog.talking = true;
            (dialog.presume_at, dialog.offer_in_ok) = (None, None);
        }
        for end in self.parties(at) {
            if let Some(end) = self.ends.get_mut(end) {
                end.edit().confidence = Confidence::Weak;
                end.news(Rule::AckWithout200, heard.frame);
            }
        }
        self.engage(at, Rule::AckWithout200, heard.frame);
        for end in self.parties(at) {
            if let Some(end) = self.ends.get_mut(end) {
                end.news(Rule::AckWithout200, heard.frame);
            }
        }
    }

    pub(super) fn bye(&mut self, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        let message = heard.message;
        let Some(to_tag) = message.to_tag() else {
            return;
        };
        let from_tag = message.from_tag().unwrap_or_default();
        let known = self.find_dialog(from_tag, to_tag).map(|(at, _)| at);
        let Some(at) = known.or_else(|| self.bye_unanswered(heard, context)) else {
            return self.bye_early(from_tag, to_tag, heard);
        };
        if !self.dialogs.get(at).is_some_and(Dialog::is_live) {
            self.comes_late(heard, context);
        }
        match context.rules.ended_on {
            EndedOn::Bye => self.over_by_bye(at, Rule::Bye, heard, context),
            EndedOn::Response => {
                if let Some(dialog) = self.dialogs.get_mut(at)
                    && dialog.is_live()
                    && dialog.bye_until.is_none()
                {
                    dialog.bye_until = Some((heard.at.after_s(TIMER_B_S), heard.frame));
                }
            }
        }
    }

    pub(super) fn bye_response(&mut self, status: u16, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        if status < 200 || matches!(status, 401 | 407) {
            return;
        }
        let Some(to_tag) = heard.message.to_tag() else {
            return;
        };
        let known = self.find_dialog(heard.message.from_tag().unwrap_or_default(), to_tag).map(|(at, _)| at);
        let at = match known {
            None if status < 300 => self.bye_unanswered(heard, context),
            known => known,
        };
        if let Some(at) = at {
            self.over_by_bye(at, Rule::Bye200, heard, context);
        } else if status < 300 {
            self.over_unseen(
                text(heard.message.from_tag().unwrap_or_default()),
                text(to_tag),
                heard,
                context,
            );
        }
    }

    /// A BYE ends its dialog, and the copies of the same call that other hops show with other tags.
    fn over_by_bye(&mut self, at: usize, rule: Rule, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        let was_live = self.dialogs.get(at).is_some_and(Dialog::is_live);
        self.shows_life(heard.at);
        if let Some(dialog) = self.dialogs.get_mut(at)
            && let Progress::Ended(reason) = dialog.progress
            && reason.is_inferred()
        {
            dialog.progress = Progress::Ended(EndReason::Bye); // now it was seen: final
        }
        self.end_dialog(at, Ending::new(EndReason::Bye, rule, heard.frame), context);
        if !was_live {
            return;
        }
        self.tell_other_leg(LegNews::Ended, heard.frame);
        if rule == Rule::Bye200 && context.rules.ended_on == EndedOn::Bye {
            let cseq = heard.message.cseq().number;
            self.prove_loss(Missing { method: Method::Bye, cseq, is_response: false }, context);
        }
        let Some(mut hops) = self.dialogs.get(at).map(|dialog| dialog.hops.clone()) else {
            return;
        };
        // Of two dialogs that pass the same hop neither is the other's copy, whichever of their messages showed it.
        hops.push(HopMark::of(heard));
        let until = Some((heard.at.after_s(RETRY_S), heard.frame));
        for (other, dialog) in self.dialogs.iter_mut().enumerate() {
            let is_copy = other != at
                && dialog.is_live()
                && !dialog.hops.is_empty()
                && dialog.hops.iter().all(|hop| !hops.contains(hop));
            if is_copy && dialog.copy_until.is_none() {
                dialog.copy_until = until;
            }
        }
    }

    /// A caller may give up one early dialog by BYE (RFC 3261 section 15).
    fn bye_early(&mut self, from_tag: &[u8], to_tag: &[u8], heard: &Heard<'_, '_>) {
        let called: Vec<usize> = self
            .branches
            .iter()
            .filter(|branch| {
                self.attempts
                    .get(branch.attempt)
                    .is_some_and(|attempt| attempt.from_tag.as_bytes() == from_tag)
            })
            .flat_map(|branch| branch.called.iter().copied())
            .filter(|&called| {
                let tag = self.ends.get(called).and_then(|end| end.local_tag.as_ref());
                tag.is_some_and(|tag| tag.as_bytes() == to_tag)
            })
            .collect();
        for called in called {
            self.end_end(called, Ending::new(EndReason::Bye, Rule::Bye, heard.frame));
        }
    }

    /// A request with both tags that awaits its answer.
    pub(super) fn inside_request(&mut self, heard: &Heard<'_, '_>) {
        let message = heard.message;
        let (Some(from_tag), Some(to_tag)) = (message.from_tag(), message.to_tag()) else {
            return;
        };
        let (method, cseq) = (message.cseq().method, message.cseq().number);
        let vias = message.via_count();
        let known = self.pending.iter_mut().find(|pending| {
            pending.method == method && pending.cseq == cseq && pending.from_tag.as_bytes() == from_tag
        });
        if let Some(pending) = known {
            // A further hop: the first one shows the sender best, the last one the receiver.
            if vias > pending.vias {
                pending.receiver = heard.receiver_identity();
            } else if vias < pending.vias {
                pending.sender = heard.inside_sender_identity();
            }
            if method == Method::Invite && pending.branches.len() < HOPS {
                let branch = heard.texts.mark(message.top_branch());
                if !pending.branches.contains(&branch) {
                    pending.branches.push(branch);
                }
            }
            return;
        }
        if self.pending.len() >= PENDING {
            self.pending.remove(0);
        }
        self.pending.reserve_exact(1);
        self.pending.push(Pending {
            method,
            cseq,
            from_tag: self.tag_of_a_dialog(from_tag),
            to_tag: self.tag_of_a_dialog(to_tag),
            offer: Description::of(heard),
            branches: (method == Method::Invite)
                .then(|| heard.texts.mark(message.top_branch()))
                .into_iter()
                .collect(),
            vias,
            sender: heard.inside_sender_identity(),
            receiver: heard.receiver_identity(),
            answered_vias: None,
            at: heard.at,
        });
    }

    /// The tag, which a dialog mostly has.
    fn tag_of_a_dialog(&self, tag: &[u8]) -> Arc<str> {
        let mut tags = self.dialogs.iter().flat_map(|dialog| [&dialog.caller_tag, &dialog.called_tag]);
        tags.find(|known| known.as_bytes() == tag).cloned().unwrap_or_else(|| text(tag))
    }

    /// A response to INVITE that belongs to a re-INVITE.
    pub(super) fn is_inside(&self, heard: &Heard<'_, '_>) -> bool {
        let message = heard.message;
        let (from_tag, cseq) = (message.from_tag().unwrap_or_default(), message.cseq().number);
        let asked = self.pending.iter().any(|pending| {
            pending.method == Method::Invite
                && pending.cseq == cseq
                && pending.from_tag.as_bytes() == from_tag
        });
        let known = message.to_tag().and_then(|to_tag| self.find_dialog(from_tag, to_tag));
        asked
            || known.is_some_and(|(at, from_caller)| {
                !from_caller || self.dialogs.get(at).is_some_and(|dialog| dialog.cseq < cseq)
            })
    }

    pub(super) fn inside_response(
        &mut self,
        method: Method,
        status: u16,
        heard: &Heard<'_, '_>,
        context: &mut Context<'_>,
    ) {
        let message = heard.message;
        let Some(to_tag) = message.to_tag() else {
            return;
        };
        let from_tag = message.from_tag().unwrap_or_default();
        match status {
            200..=299 => self.inside_accepted(method, from_tag, to_tag, heard, context),
            // RFC 5057: these take the INVITE usage with them.
            408 | 481
                if !matches!(method, Method::Prack | Method::Notify | Method::Subscribe | Method::Refer) =>
            {
                if let Some((at, _)) = self.find_dialog(from_tag, to_tag)
                    && self.dialogs.get(at).is_some_and(Dialog::is_live)
                {
                    self.end_dialog(
                        at,
                        Ending::new(EndReason::DialogGone, Rule::DialogGone, heard.frame),
                        context,
                    );
                }
            }
            _ => {}
        }
    }

    fn inside_accepted(
        &mut self,
        method: Method,
        from_tag: &[u8],
        to_tag: &[u8],
        heard: &Heard<'_, '_>,
        context: &mut Context<'_>,
    ) {
        let vias = heard.message.via_count();
        let cseq = heard.message.cseq().number;
        let pending = self.pending.iter().position(|pending| {
            pending.method == method && pending.cseq == cseq && pending.from_tag.as_bytes() == from_tag
        });
        let first_answer = pending.is_some_and(|at| {
            self.pending.get_mut(at).is_some_and(|pending| {
                let first = pending.answered_vias.is_none();
                pending.answered_vias = Some(pending.answered_vias.map_or(vias, |before| before.min(vias)));
                first
            })
        });
        if matches!(method, Method::Prack | Method::Update) {
            self.negotiated_early(from_tag, to_tag, heard, context);
        }
        let at = match self.find_dialog(from_tag, to_tag) {
            Some((at, _)) => at,
            None => {
                let shows_a_session = matches!(method, Method::Invite | Method::Info);
                let Some(pending) = pending.filter(|_| shows_a_session) else {
                    return;
                };
                match self.join(pending, heard, context) {
                    Some(at) => at,
                    None => return,
                }
            }
        };
        self.sign_of_life(at, heard, context);
        if !self.dialogs.get(at).is_some_and(Dialog::is_live) {
            return;
        }
        self.comes_late(heard, context);
        if matches!(method, Method::Invite | Method::Update)
            && let Some(dialog) = self.dialogs.get_mut(at)
        {
            let nearest = pending
                .and_then(|pending| self.pending.get(pending))
                .and_then(|pending| pending.answered_vias);
            if nearest.is_none_or(|nearest| vias <= nearest) {
                dialog.session_ends_at = session_end(heard);
            }
            // A copy of the first 2xx is no answer to a re-INVITE.
            let is_later = cseq != dialog.cseq || dialog.caller_tag.as_bytes() != from_tag;
            if first_answer {
                self.answered_offer(at, pending, heard, context);
            } else if pending.is_some() {
                dialog.agree_on_hop(heard, context);
            } else if pending.is_none()
                && is_later
                && let Some(answer) = Description::of(heard).sdp()
            {
                self.held_by_half(at, &answer, answers_hold, heard, context);
            }
        }
    }

    /// A 2xx to a re-INVITE or UPDATE: its answer counts from now (RFC 3264 section 8).
    fn answered_offer(
        &mut self,
        at: usize,
        pending: Option<usize>,
        heard: &Heard<'_, '_>,
        context: &mut Context<'_>,
    ) {
        let Some(pending) = pending.and_then(|pending| self.pending.get_mut(pending)) else {
            return;
        };
        let Some(answer) = Description::of(heard).sdp() else {
            return;
        };
        match std::mem::replace(&mut pending.offer, Description::Unseen) {
            Description::Present(offer) => self.renegotiated(at, &offer, &answer, heard, context),
            // The 2xx carries the offer; the ACK will answer it.
            Description::Absent => pending.offer = Description::Present(answer),
            Description::Unseen => {}
        }
    }

    fn renegotiated(
        &mut self,
        at: usize,
        offer: &Sdp,
        answer: &Sdp,
        heard: &Heard<'_, '_>,
        context: &mut Context<'_>,
    ) {
        if let Some(dialog) = self.dialogs.get_mut(at) {
            dialog.agree(offer, answer, heard, context);
        }
        self.set_media(at, answer, Rule::InDialog200, heard, context);
        let Some(held) = held(offer, answer) else {
            return;
        };
        if let Some(dialog) = self.dialogs.get_mut(at)
            && dialog.held != held
        {
            dialog.held = held;
            self.engage(at, if held { Rule::Hold } else { Rule::Resume }, heard.frame);
        }
    }

    /// What the session carries from now on: news even where nobody's engagement changes.
    fn set_media(
        &mut self,
        at: usize,
        answer: &Sdp,
        rule: Rule,
        heard: &Heard<'_, '_>,
        context: &mut Context<'_>,
    ) {
        let media = context.media.of(answer);
        for end in self.parties(at) {
            if let Some(end) = self.ends.get_mut(end)
                && end.media != media
            {
                end.edit().media = Arc::clone(&media);
                end.news(rule, heard.frame);
            }
        }
    }

    /// PRACK and UPDATE before the 2xx: the offer and answer are done, the 2xx has not the first offer.
    fn negotiated_early(
        &mut self,
        from_tag: &[u8],
        to_tag: &[u8],
        heard: &Heard<'_, '_>,
        context: &mut Context<'_>,
    ) {
        let Some(sdp) = Description::of(heard).sdp() else {
            return;
        };
        let media = context.media.of(&sdp);
        let early = self.branches.iter_mut().flat_map(|branch| branch.early.iter_mut());
        for early in early.filter(|early| [from_tag, to_tag].contains(&early.tag.as_bytes())) {
            early.negotiated = true;
            early.media = Some(Arc::clone(&media));
        }
    }

    /// Somebody answered inside the dialog: it is up, even if its end was inferred before.
    fn sign_of_life(&mut self, at: usize, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        self.shows_life(heard.at);
        let Some(dialog) = self.dialogs.get_mut(at) else {
            return;
        };
        match dialog.progress {
            Progress::Confirmed => {
                (dialog.copy_until, self.legs.ends_at) = (None, None);
                dialog.goes_on(context);
                dialog.cap_at = Some((heard.at.after_s(context.rules.dialog_cap_s), heard.frame));
            }
            Progress::Ended(reason) if reason.is_inferred() => {
                dialog.goes_on(context);
                self.revive(at, Rule::InDialog200, heard.frame, context);
            }
            Progress::Ended(_) => {}
        }
    }

    /// Takes an inferred end back; the dialog goes on under new ids, since terminated is final for the old.
    pub(super) fn revive(&mut self, at: usize, rule: Rule, frame: FrameId, context: &mut Context<'_>) {
        let parties = self.parties(at);
        let mut fresh = Vec::new();
        for party in parties {
            let Some(old) = self.ends.get(party) else {
                continue;
            };
            let (side, identity) = (old.side, old.identity.clone());
            let (peer, dialled, media) = (old.peer.clone(), old.dialled.clone(), Arc::clone(&old.media));
            let revoked_ends = old.revoked_ends.saturating_add(1);
            // In its place: a dialog that is given up and comes back again and again does not grow.
            let new = self.renew_end(party, identity, context);
            if let Some(end) = self.ends.get_mut(new) {
                let fact = end.edit();
                (fact.peer, fact.dialled, fact.confidence) = (peer, dialled, Confidence::Weak);
                fact.revoked_ends = revoked_ends;
            }
            fresh.push((side, new, media));
        }
        if let Some(dialog) = self.dialogs.get_mut(at) {
            dialog.progress = Progress::Confirmed;
            dialog.talking = true;
            dialog.forget_at = None;
            dialog.listen_again(frame, context);
            dialog.cap_at = Some((context.now.after_s(context.rules.dialog_cap_s), frame));
            for (side, new, _) in &fresh {
                match side {
                    Side::Caller => dialog.caller = Some(*new),
                    Side::Called => dialog.called = Some(*new),
                }
            }
        }
        for (_, new, media) in &fresh {
            self.confirm_end(*new, at, media);
        }
        self.engage(at, rule, frame);
    }

    /// A re-INVITE or INFO was answered in a dialog whose 2xx was not seen: the call is up. Who called with one of its tags
    /// and who rang with the other go on in it; of who did neither the beginning was not seen.
    fn join(&mut self, pending: usize, heard: &Heard<'_, '_>, context: &mut Context<'_>) -> Option<usize> {
        if self.dialogs.len() >= context.branches_per_call {
            return None;
        }
        let pending = self.pending.get(pending)?;
        let mut tags = [Arc::clone(&pending.from_tag), Arc::clone(&pending.to_tag)];
        let answered = |identity: &EndIdentity| EndIdentity { answered: true, ..identity.clone() };
        let mut receiver = answered(&pending.receiver);
        receiver.contact = heard.contact().or(receiver.contact.take());
        let mut identities = [answered(&pending.sender), receiver];
        let mut peers =
            [heard.message.to(), heard.message.from()].map(|who| heard.aor(&who).map(|aor| aor.to_text()));
        let attempt = self.attempts.iter().rposition(|attempt| tags.contains(&attempt.from_tag));
        let calls = attempt.and_then(|at| self.attempts.get(at));
        if calls.is_some_and(|attempt| Some(&attempt.from_tag) == tags.get(1)) {
            // It is the one who was called that asks.
            tags.reverse();
            identities.reverse();
            peers.reverse();
        }
        let cseq = calls.map_or(0, |attempt| attempt.cseq);
        let calling = calls.filter(|attempt| !attempt.bound && !attempt.over).map(|attempt| attempt.caller);
        let [caller_tag, called_tag] = tags;
        let (ringing, revoked_ends) = self.answers_as(attempt, &called_tag, heard.frame);
        if let Some(attempt) = attempt.and_then(|at| self.attempts.get_mut(at)) {
            (attempt.bound, attempt.retry_until, attempt.refused_below_until) = (true, None, None);
        }
        self.settle_attempt(attempt, None, (heard.at, heard.frame));
        let media = Description::of(heard).sdp().map_or_else(Arc::default, |sdp| context.media.of(&sdp));
        let [of_caller, of_called] = identities;
        let [called_uri, caller_uri] = peers;
        let parties = [
            (Side::Caller, calling, of_caller, called_uri, 0),
            (Side::Called, ringing, of_called, caller_uri, revoked_ends),
        ];
        let ends = parties.map(|(side, known, identity, peer, revoked_ends)| {
            let at = known.unwrap_or_else(|| self.new_end(side, identity, context));
            if let Some(end) = self.ends.get_mut(at) {
                let fact = end.edit();
                fact.confidence = Confidence::Weak;
                if known.is_none() {
                    (fact.peer, fact.revoked_ends, fact.whole) = (peer, revoked_ends, false);
                }
            }
            at
        });
        self.dialogs.reserve_exact(1);
        let mut dialog = Dialog::confirmed(caller_tag, called_tag, heard.frame, context);
        dialog.cseq = cseq;
        (dialog.caller, dialog.called) = (ends.first().copied(), ends.last().copied());
        (dialog.talking, dialog.acked) = (true, true);
        dialog.hops.push(HopMark::of(heard));
        self.dialogs.push(dialog);
        let at = self.dialogs.len() - 1;
        for end in ends {
            self.confirm_end(end, at, &media);
            debug_assert!(self.ends.get(end).is_some_and(|end| end.state == DialogState::Confirmed));
        }
        self.engage(at, Rule::InDialog200, heard.frame);
        Some(at)
    }
}
