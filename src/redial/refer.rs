//! REFER and what follows it; OPTIONS.
//! In: answers, NOTIFYs. Out: header fields, what became of the asking. Knows nothing of how the dialog began.
//! RFC 3515, RFC 4488 (no subscription), RFC 3892 (Referred-By), RFC 5589.

use std::time::Duration;

use super::asking::{Asking, Means, Reply, Stage};
use super::{AskEnd, AskEvent, sipfrag};
use crate::base::{Random, Timestamp};
use crate::sip::write::{self, Header, header};
use crate::sip::{HeaderName, SipMessage};

/// A call is followed at most so many times as long as silence would be borne.
const LONGEST_FOLLOWED: u32 = 10;
/// How a NOTIFY before the answer counts (RFC 6665 section 4.1.2.4).
const ACCEPTED_UNSAID: u16 = 202;

impl Asking {
    pub(super) fn refer_fields(&self) -> Vec<Header> {
        let bracketed = |uri: &str| format!("<{}>", write::uri_text(uri));
        let mut fields = vec![
            self.contact(),
            header("Refer-To", bracketed(self.order.callee.as_str())),
            header("Referred-By", bracketed(&self.own_uri)),
        ];
        // Inside a dialog NOTIFYs are wanted: they say when to leave it.
        if self.call.is_none() {
            fields.push(header("Refer-Sub", "false"));
            fields.push(header("Supported", "norefersub"));
        }
        fields.push(header("Allow", super::asking::ALLOW));
        fields
    }

    pub(super) fn handle_refer_answer(
        &mut self,
        now: Timestamp,
        status: u16,
        response: &SipMessage<'_>,
        means: &mut Means,
    ) {
        match (self.stage, status) {
            (Stage::Asked | Stage::Following { .. }, 200..=299) => {
                self.dialog.learn_from_answer(response);
                self.accept(now, status, means);
                if tells_nothing(response)
                    && let Stage::Following { last, .. } = self.stage
                {
                    self.end(now, AskEnd::Followed { status: last }, means);
                }
            }
            (Stage::Asked, _) if self.phone_left() => self.end(now, AskEnd::HungUp, means),
            (Stage::Asked, 491) if self.call.as_mut().is_some_and(|call| call.takes_glare()) => {
                self.stage = Stage::Talking { refer_at: now.after(glare_wait(&mut means.random)) };
            }
            // RFC 3261 section 12.2.1.2: the phone knows the dialog no more; its BYE was lost.
            (Stage::Asked, 481) if self.call.is_some() => self.end(now, AskEnd::HungUp, means),
            (Stage::Asked, _) => self.end(now, AskEnd::Refused { status }, means),
            _ => {}
        }
    }

    pub(super) fn handle_probe_answer(&mut self, now: Timestamp, status: u16, means: &mut Means) {
        let end = match status {
            // A proxy's word that nobody is there; a proxy that wants to know us first is no phone either.
            404 | 407 | 408 | 480 | 503 => AskEnd::Refused { status },
            _ => AskEnd::There { status },
        };
        self.end(now, end, means);
    }

    /// The REFER was accepted; told once.
    fn accept(&mut self, now: Timestamp, status: u16, means: &mut Means) {
        if self.stage != Stage::Asked {
            return;
        }
        let follow_s = means.options.follow_s;
        self.stage = Stage::Following {
            until: now.after_s(follow_s),
            at_latest: now.after_s(follow_s.saturating_mul(LONGEST_FOLLOWED)),
            last: None,
        };
        self.tell(AskEvent::Accepted { status }, means);
    }

    /// A NOTIFY of this dialog, the next one.
    pub(super) fn handle_notify(
        &mut self,
        now: Timestamp,
        notify: &SipMessage<'_>,
        means: &mut Means,
    ) -> Reply {
        if !sipfrag::is_of_refer(notify) {
            return Reply::of(489);
        }
        if self.awaits_refer_answer() {
            self.accept(now, ACCEPTED_UNSAID, means);
        }
        match self.stage {
            Stage::Following { at_latest, last, .. } => {
                let told = sipfrag::read(notify);
                if told.status.is_some() && told.status != last {
                    self.tell(AskEvent::Progress { status: told.status.unwrap_or_default() }, means);
                }
                let last = told.status.or(last);
                let until = now.after_s(means.options.follow_s).min(at_latest);
                self.stage = Stage::Following { until, at_latest, last };
                if told.last {
                    self.end(now, AskEnd::Followed { status: last }, means);
                }
                Reply::of(200)
            }
            // What comes after the end is taken, so that the phone has its peace.
            Stage::Over { .. } => Reply::of(200),
            _ => Reply::of(481),
        }
    }
}

/// The phone took the offer not to notify (RFC 4488 section 4).
fn tells_nothing(response: &SipMessage<'_>) -> bool {
    let value = response.header(HeaderName::ReferSub).unwrap_or_default();
    value
        .split(|&byte| byte == b';')
        .next()
        .is_some_and(|word| word.trim_ascii().eq_ignore_ascii_case(b"false"))
}

/// RFC 3261 section 14.1: who made the Call-ID waits between 2.1 and 4 s, in steps of 10 ms.
fn glare_wait(random: &mut Random) -> Duration {
    Duration::from_millis(2_100 + random.next() % 191 * 10)
}
