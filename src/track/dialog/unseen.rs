//! What a message proves of another one that the mirror did not show.
//! In: ACKs, refusals on further hops. Out: changes of a `Call`. Knows nothing of dialogs that are made.
//! RFC 3261 sections 16.7, 17.1.1.3.

use std::sync::Arc;

use super::super::heard::{Heard, is_text};
use super::super::{Confidence, DialogState, EndIdentity, EndReason, Rule};
use super::call::{Answering, Attempt, Branch, Call, Ending};
use super::invite::Said;
use super::{Context, RETRY_S};
use crate::base::FrameId;

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
        if Some(branch.request_uri.as_bytes()) != heard.message.request_uri() {
            return false; // a phone that does not give the ACK to its 2xx a branch of its own
        }
        match branch.final_status {
            Some(status) => return status >= 300,
            None if branch.cancelled => self.refused(at, 487, Some(Rule::AckWithoutFinal), heard, context),
            // It may have been a challenge, if none was answered yet and nobody was asked: the caller has time to try again.
            None if branch.auth.is_none() && !branch.let_through && branch.is_leaf() => {
                self.refused(at, 401, Some(Rule::AckWithoutFinal), heard, context);
            }
            None => self.refused(at, 480, Some(Rule::AckWithoutFinal), heard, context),
        }
        true
    }

    /// The dialog that an INVITE of this From-tag and CSeq has made, before it was seen itself.
    pub(super) fn answered_before(&self, from_tag: &[u8], cseq: u32) -> Option<usize> {
        self.dialogs
            .iter()
            .position(|dialog| dialog.cseq == cseq && is_text(&dialog.caller_tag, from_tag) && cseq > 0)
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

    /// The phone's own branch whose answer with this To-tag was seen nearer the caller, and whether that is sure: a 1xx told
    /// the tag there, or else it is the only one that was seen.
    pub(super) fn leaf_of(&self, attempt: Option<usize>, cseq: u32, tag: &str) -> Option<(usize, bool)> {
        let leaves = || {
            self.branches.iter().enumerate().filter(|(_, branch)| {
                Some(branch.attempt) == attempt
                    && branch.cseq == cseq
                    && branch.is_leaf()
                    && branch.final_status.is_none_or(|status| status < 300)
            })
        };
        let tagged = leaves().find(|(_, branch)| branch.early.iter().any(|early| &*early.tag == tag));
        let mut all = leaves();
        let only = all.next().filter(|_| all.next().is_none());
        tagged.map(|(at, _)| (at, true)).or(only.map(|(at, _)| (at, false)))
    }

    /// A 180 that comes on to the caller: a phone rings, though its own hop has not shown it.
    pub(super) fn rings_behind(&mut self, at: usize, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        let answering = Answering::of(heard);
        let (Some(branch), Some(tag)) = (self.branches.get(at), &answering.tag) else {
            return;
        };
        let Some((leaf, _)) = self.leaf_of(Some(branch.attempt), branch.cseq, tag) else {
            return;
        };
        let rings = |branch: &Branch| {
            let mut tags = branch.called.iter().map(|&called| self.ends.get(called)?.local_tag.as_ref());
            branch.cancelled || branch.final_status.is_some() || tags.any(|known| known == Some(tag))
        };
        // Of one that has answered with another tag it may be a fork of its own.
        let other =
            |branch: &Branch| !branch.early.is_empty() && branch.early.iter().all(|it| it.tag != *tag);
        if self.branches.get(leaf).is_none_or(|branch| rings(branch) || other(branch)) {
            return;
        }
        self.ring(leaf, answering, context);
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
        let mut all = self.branches.iter().filter(|branch| branch.attempt == of && branch.cseq == cseq);
        if all.all(|branch| branch.parent.is_none() || refused(branch))
            && let Some(attempt) = self.attempts.get_mut(of)
            && attempt.cseq == cseq
        {
            attempt.refused_below_until = Some((context.now.after_s(RETRY_S), frame));
        }
    }

    /// Nothing of that came.
    pub(super) fn presume_refused(&mut self, at: usize, frame: FrameId, context: &mut Context<'_>) {
        if self.attempts.get(at).is_some_and(|attempt| !attempt.bound) {
            self.end_attempt(at, Ending::new(EndReason::CopyEnded, Rule::CopyEnded, frame), context);
        }
    }
}
