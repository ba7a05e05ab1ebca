//! From the INVITE to its final response: attempts, branches, forks, CANCEL, and the 2xx that makes a dialog.
//! In: INVITE, CANCEL and their responses. Out: changes of a `Call`. Knows nothing of what happens inside dialogs.
//! RFC 3261 sections 9, 13, 16.7, 17.1.1; RFC 3262.

use std::sync::Arc;

use smallvec::SmallVec;

use super::super::heard::{Heard, is_copy, is_text, text};
use super::super::{AuthUser, Confidence, DialogState, EndIdentity, EndReason, Engagement, Rule, Side};
use super::call::{Attempt, Branch, Call, Dialog, Early, Progress, hop_mark};
use super::media::{Description, MediaTable, held};
use super::{ACK_PRESUMED_S, Context, RETRY_S, T2_S, TIMER_B_S, TIMER_C_S};
use crate::base::{Flow, TalkingOn};
use crate::sip::Method;

impl Call {
    /// One message of this Call-ID.
    pub(super) fn handle(&mut self, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        let message = heard.message;
        match (message.cseq().method, message.status()) {
            (Method::Invite, None) if message.to_tag().is_none() => self.invite(heard, context),
            (Method::Invite, Some(status)) => match self.branch_of(heard) {
                Some(branch) => self.invite_response(branch, status, heard, context),
                None => self.stray_response(status, heard, context),
            },
            (Method::Cancel, status) => {
                if status.is_none_or(|status| (200..300).contains(&status)) {
                    self.cancel(heard, context);
                }
            }
            (Method::Ack, None) => self.ack(heard, context),
            (Method::Bye, None) => self.bye(heard, context),
            (Method::Bye, Some(status)) => self.bye_response(status, heard, context),
            (_, None) => self.inside_request(heard),
            (method, Some(status)) => self.inside_response(method, status, heard, context),
        }
    }

    /// An INVITE that opens a dialog, on one hop.
    fn invite(&mut self, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        let message = heard.message;
        let cseq = message.cseq().number;
        if self.branch_of(heard).is_some() || self.branches.len() >= context.branches_per_call {
            return; // a retransmission, the mirror's copy, or a loop
        }
        let from_tag = message.from_tag().unwrap_or_default();
        let vias = message.via_count();
        let known = self.attempts.iter().rposition(|attempt| is_text(&attempt.from_tag, from_tag));
        let parent = known.and_then(|attempt| self.parent_of(attempt, heard));
        let attempt = match known {
            Some(at) if cseq < self.attempts.get(at).map_or(0, |attempt| attempt.cseq) => return,
            Some(at) => self.again(at, parent.is_some(), heard, context),
            None => self.attempt(text(from_tag), heard, context),
        };
        let Some(attempt) = attempt else { return };
        let children = self.adopt_children(attempt, heard);
        if let Some(parent) = parent.and_then(|at| self.branches.get_mut(at)) {
            parent.children = parent.children.saturating_add(1);
            // It was taken for a phone's own, and is a server's. Who has answered on it is in a dialog by now.
            for called in std::mem::take(&mut parent.called) {
                self.end_lost_fork(called, heard.frame);
            }
        }
        self.branches.reserve_exact(1);
        let second_via = message.vias().nth(1).and_then(|via| via.branch);
        self.branches.push(Branch {
            attempt,
            cseq,
            id: message.top_branch().into(),
            parent,
            parent_id: second_via.filter(|_| parent.is_none()).map(Into::into),
            children,
            vias,
            source: heard.source,
            destination: Flow { address: heard.destination.into(), transport: heard.transport },
            request_uri: heard.shared(message.request_uri().unwrap_or_default()),
            auth: heard.auth_user(),
            at: heard.at,
            expires_s: message.expires().filter(|&expires_s| expires_s > 0),
            final_status: None,
            cancelled: false,
            early: Vec::new(),
            called: SmallVec::new(),
            no_response_at: Some((heard.at.after_s(TIMER_B_S), heard.frame)),
            lost_at: None,
        });
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
        let message = heard.message;
        let caller = self.calling_end(&from_tag, heard, context);
        self.attempts.reserve_exact(1);
        self.attempts.push(Attempt {
            from_tag,
            cseq: message.cseq().number,
            caller,
            bound: false,
            over: false,
            from: heard.aor(&message.from()),
            to: heard.aor(&message.to()),
            dialled: message.request_uri().map(|uri| heard.shared(uri)),
            caller_vias: message.via_count(),
            offer: Description::of(heard),
            retry_until: None,
            retry_or: (EndReason::NotRetried, Rule::NotRetried),
        });
        Some(self.attempts.len() - 1)
    }

    fn calling_end(
        &mut self,
        from_tag: &Arc<str>,
        heard: &Heard<'_, '_>,
        context: &mut Context<'_>,
    ) -> usize {
        let message = heard.message;
        let caller = self.new_end(Side::Caller, heard.sender_identity(), context);
        if let Some(end) = self.ends.get_mut(caller) {
            let fact = end.edit();
            fact.engagement = Engagement::Calling;
            fact.local_tag = Some(Arc::clone(from_tag));
            fact.peer = heard.aor(&message.to()).map(|to| to.to_text());
            fact.dialled = message.request_uri().map(|uri| heard.shared(uri));
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
        let attempt = self.attempts.get_mut(at)?;
        let newer = cseq > attempt.cseq;
        if attempt.bound {
            // A dialog came of it already; other forks of that INVITE may still be on their way.
            return (!newer).then_some(at);
        }
        if attempt.over && forwarded {
            return Some(at); // what the caller heard ended it; a further hop of the same INVITE comes late
        }
        if newer {
            attempt.cseq = cseq;
            attempt.caller_vias = vias;
            attempt.offer = Description::of(heard);
            attempt.dialled = heard.message.request_uri().map(|uri| heard.shared(uri));
        }
        attempt.retry_until = None;
        if attempt.over {
            attempt.over = false;
            let from_tag = Arc::clone(&attempt.from_tag);
            let caller = self.calling_end(&from_tag, heard, context);
            self.attempts.get_mut(at)?.caller = caller;
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
    fn parent_of(&self, attempt: usize, heard: &Heard<'_, '_>) -> Option<usize> {
        let cseq = heard.message.cseq().number;
        let mine = |branch: &Branch| branch.attempt == attempt && branch.cseq == cseq;
        if let Some(via) = heard.message.vias().nth(1) {
            let id = via.branch.unwrap_or_default();
            return self.branches.iter().position(|branch| mine(branch) && &*branch.id == id);
        }
        // A border controller hides the Vias behind it.
        self.branches.iter().position(|branch| {
            mine(branch)
                && branch.destination.address.ip() == heard.source.ip()
                && branch.source.ip() != heard.source.ip()
        })
    }

    /// The next hop's INVITE may be seen first: it becomes the child of the branch that is about to be entered.
    fn adopt_children(&mut self, attempt: usize, heard: &Heard<'_, '_>) -> u16 {
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
    fn branch_of(&self, heard: &Heard<'_, '_>) -> Option<usize> {
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

    fn invite_response(&mut self, at: usize, status: u16, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        match status {
            100..=199 => self.provisional(at, status, heard, context),
            200..=299 => self.accepted(Some(at), heard, context),
            _ => self.refused(at, status, heard, context),
        }
    }

    fn provisional(&mut self, at: usize, status: u16, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        let Some(branch) = self.branches.get_mut(at) else {
            return;
        };
        if branch.final_status.is_some() {
            return;
        }
        let until = match branch.expires_s {
            // No call that is not even answered outlasts the longest that is.
            Some(expires_s) => branch.at.after_s(expires_s.min(context.rules.dialog_cap_s)).max(heard.at),
            None => heard.at.after_s(TIMER_C_S),
        };
        if !branch.no_response_at.is_some_and(|(before, _)| is_copy(before, until)) {
            branch.no_response_at = Some((until, heard.frame));
        }
        if status == 100 {
            return;
        }
        let tag = heard.message.to_tag();
        if let Some(tag) = tag {
            remember_early(&mut branch.early, tag, heard, context.branches_per_call, context.media);
        }
        let ringing = status == 180 && branch.is_leaf() && !branch.cancelled;
        self.answered(at, heard);
        if ringing {
            self.ring(at, heard, context);
        }
    }

    /// A 101–2xx came: whoever sent the INVITE was let through (SPEC section 6).
    fn answered(&mut self, at: usize, heard: &Heard<'_, '_>) {
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
                let rule = if heard.message.status() == Some(180) { Rule::Invite180 } else { Rule::Invite };
                end.news(rule, heard.frame);
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

    /// A phone alerts its user.
    fn ring(&mut self, at: usize, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        let tags = (heard.message.from_tag().unwrap_or_default(), heard.message.to_tag());
        if tags.1.is_some_and(|to_tag| self.find_dialog(tags.0, to_tag).is_some()) {
            return; // it has answered: this hop comes late
        }
        let called = self.called_end(at, heard, context);
        if let Some(end) = called.and_then(|called| self.ends.get_mut(called))
            && end.state < DialogState::Confirmed
            && end.engagement != Engagement::Ringing
        {
            let fact = end.edit();
            fact.state = DialogState::Early;
            fact.engagement = Engagement::Ringing;
            end.news(Rule::Invite180, heard.frame);
        }
    }

    /// The end with this response's To-tag at the far side of a leaf branch, made when there is none.
    fn called_end(&mut self, at: usize, heard: &Heard<'_, '_>, context: &mut Context<'_>) -> Option<usize> {
        let branch = self.branches.get(at)?;
        let attempt = self.attempts.get(branch.attempt)?;
        let local_tag = heard.message.to_tag().map(text);
        let known = branch.called.iter().rev().copied().find(|&called| {
            let tag = self.ends.get(called).and_then(|end| end.local_tag.as_ref());
            tag.is_none() || local_tag.is_none() || tag == local_tag.as_ref()
        });
        // A 2xx proves an inferred end wrong; terminated is final for the old id.
        let answers = heard.message.status().is_none_or(|status| status >= 200);
        let was_inferred = |called: &usize| {
            self.ends.get(*called).is_some_and(|end| end.ended.is_some_and(EndReason::is_inferred))
        };
        let known = known.filter(|called| !(answers && was_inferred(called)));
        if known.is_none() && branch.called.len() >= context.branches_per_call {
            return None;
        }
        let claimed = heard.asserted();
        let identity = EndIdentity {
            flow: Some(branch.destination),
            neighbour: Some(branch.source.into()),
            contact: heard.contact(),
            request_uri: Some(Arc::clone(&branch.request_uri)),
            auth: None,
            claimed,
            called: attempt.to.clone(),
            answered: true,
        };
        let (remote_tag, dialled) = (Arc::clone(&attempt.from_tag), attempt.dialled.clone());
        let peer = attempt.from.as_ref().map(|from| from.to_text());
        let called = match known {
            Some(called) => called,
            None => {
                let called = self.new_end(Side::Called, EndIdentity::default(), context);
                self.branches.get_mut(at)?.called.push(called);
                called
            }
        };
        let end = self.ends.get_mut(called)?.edit();
        end.local_tag = local_tag.or(end.local_tag.take());
        end.remote_tag = Some(remote_tag);
        end.peer = peer;
        end.dialled = dialled;
        let contact = end.identity.contact.take();
        end.identity = identity;
        if end.identity.contact.is_none() {
            end.identity.contact = contact;
        }
        Some(called)
    }

    fn refused(&mut self, at: usize, status: u16, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        let Some(branch) = self.branches.get_mut(at) else {
            return;
        };
        if branch.final_status.is_some() {
            return;
        }
        branch.final_status = Some(status);
        branch.no_response_at = None;
        let (called, attempt_at, is_root, vias) =
            (branch.called.clone(), branch.attempt, branch.parent.is_none(), branch.vias);
        let (reason, rule) = match status {
            487 => (EndReason::Cancelled, Rule::Cancel),
            _ => (EndReason::Rejected, Rule::InviteFailed),
        };
        for called in called {
            self.end_end(called, reason, rule, heard.frame);
        }
        if !is_root || !self.all_roots_failed(attempt_at) {
            return;
        }
        let Some(attempt) = self.attempts.get_mut(attempt_at) else {
            return;
        };
        if attempt.over || attempt.bound {
            return;
        }
        let retry_until = Some((heard.at.after_s(RETRY_S), heard.frame));
        if matches!(status, 300..=399 | 401 | 407 | 422) {
            attempt.retry_until = retry_until;
            attempt.retry_or = (EndReason::NotRetried, Rule::NotRetried);
        } else if vias > 1 {
            // The caller's own hop was not seen: who refused may be but one of several that are asked.
            attempt.retry_until = retry_until;
            attempt.retry_or = (reason, rule);
        } else {
            self.end_attempt(attempt_at, reason, rule, heard.frame, context);
        }
    }

    /// A CANCEL or its 200: it stops the ringing on its hop and ends no dialog (RFC 3261 section 9.1).
    fn cancel(&mut self, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
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
        for called in branch.called.clone() {
            if let Some(end) = self.ends.get_mut(called)
                && end.engagement == Engagement::Ringing
            {
                end.edit().engagement = Engagement::None;
                end.news(Rule::Cancel, heard.frame);
            }
        }
    }

    /// A response to INVITE whose request was not seen on this hop.
    fn stray_response(&mut self, status: u16, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        if self.is_inside(heard) {
            return self.inside_response(Method::Invite, status, heard, context);
        }
        if (200..300).contains(&status) {
            self.accepted(None, heard, context);
        }
    }

    /// A 2xx to INVITE: there is a dialog. `at` is its branch, when its INVITE was seen on this hop.
    pub(super) fn accepted(&mut self, at: Option<usize>, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        let message = heard.message;
        let Some(to_tag) = message.to_tag() else {
            return;
        };
        let from_tag = message.from_tag().unwrap_or_default();
        let known = self.find_dialog(from_tag, to_tag);
        if known.is_none() && self.dialogs.len() >= context.branches_per_call {
            return; // the attempt keeps its timers, so that nobody calls or rings for ever
        }
        if let Some(at) = at {
            self.answered(at, heard);
        }
        let dialog = match known {
            Some((dialog, _)) => {
                self.end_copied_attempt(at, heard, context);
                dialog
            }
            None => self.confirm(at, self.tag(from_tag), text(to_tag), heard, context),
        };
        if let Some(branch) = at.and_then(|at| self.branches.get_mut(at)) {
            branch.final_status = Some(200);
            branch.no_response_at = None;
            branch.lost_at = branch.lost_at.or(Some((heard.at.after_s(TIMER_B_S), heard.frame)));
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
            self.end_attempt(at, EndReason::CopyEnded, Rule::CopyEnded, heard.frame, context);
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
        let mut dialog = Dialog {
            caller_tag: from_tag,
            called_tag: to_tag,
            cseq,
            caller: Some(caller),
            called: None,
            progress: Progress::Confirmed,
            talking: false,
            held: false,
            confirmed_at: heard.at,
            confirmed_in: heard.frame,
            acked: false,
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
            cap_at: Some((heard.at.after_s(context.rules.dialog_cap_s), heard.frame)),
            forget_at: None,
        };
        let offer = attempt.and_then(|at| self.attempts.get(at)).map(|attempt| &attempt.offer);
        let answer = Description::of(heard);
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
            dialog.presume_at = Some((heard.at.after_s(ACK_PRESUMED_S), heard.frame));
        }
        self.dialogs.reserve_exact(1);
        self.dialogs.push(dialog);
        let dialog = self.dialogs.len() - 1;
        self.settle_attempt(attempt, at, heard);
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
        // No INVITE was seen: the response tells where it went back to, and whom it is from and to.
        let message = heard.message;
        let flow = match message.via_count() {
            1 => Some(Flow { address: heard.destination.into(), transport: heard.transport }),
            _ => heard.origin(),
        };
        let identity = EndIdentity {
            flow,
            neighbour: (message.via_count() == 1).then(|| heard.source.into()),
            claimed: heard.aor(&message.from()).into_iter().collect(),
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
                let cseq = heard.message.cseq().number;
                let leaves = || {
                    self.branches.iter().enumerate().filter(|(_, branch)| {
                        Some(branch.attempt) == attempt
                            && branch.cseq == cseq
                            && branch.is_leaf()
                            && branch.final_status.is_none_or(|status| status < 300)
                    })
                };
                let tagged = leaves().find(|(_, branch)| branch.early.iter().any(|early| early.tag == tag));
                let mut all = leaves();
                let only = all.next().filter(|_| all.next().is_none());
                presumed = tagged.is_none();
                tagged.or(only).map(|(at, _)| at)
            }
            None => None,
        };
        let called = match leaf {
            Some(leaf) => self.called_end(leaf, heard, context),
            None if at.is_none() => Some(self.unseen_called(heard, context)),
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

    /// Who sent a 2xx whose INVITE was not seen.
    fn unseen_called(&mut self, heard: &Heard<'_, '_>, context: &mut Context<'_>) -> usize {
        let message = heard.message;
        let identity = EndIdentity {
            flow: Some(heard.source_flow()),
            neighbour: Some(heard.destination.into()),
            contact: heard.contact(),
            claimed: heard.asserted(),
            called: heard.aor(&message.to()),
            answered: true,
            ..EndIdentity::default()
        };
        let called = self.new_end(Side::Called, identity, context);
        if let Some(end) = self.ends.get_mut(called) {
            let fact = end.edit();
            fact.peer = heard.aor(&message.from()).map(|from| from.to_text());
            fact.confidence = Confidence::Weak;
        }
        called
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
        let (local, remote) = match end.side {
            Side::Caller => (&dialog.caller_tag, &dialog.called_tag),
            Side::Called => (&dialog.called_tag, &dialog.caller_tag),
        };
        let fact = end.edit();
        fact.local_tag = Some(Arc::clone(local));
        fact.remote_tag = Some(Arc::clone(remote));
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
    fn settle_attempt(&mut self, attempt: Option<usize>, at: Option<usize>, heard: &Heard<'_, '_>) {
        let until = Some((heard.at.after_s(TIMER_B_S), heard.frame));
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
        let hop = hop_mark(heard.source, heard.destination);
        if !dialog.hops.contains(&hop) && dialog.hops.len() < context.branches_per_call {
            dialog.hops.push(hop);
        }
        if dialog.session_vias > vias {
            dialog.session_vias = vias;
            dialog.session_ends_at = session_end(heard);
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
