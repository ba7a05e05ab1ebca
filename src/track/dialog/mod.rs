//! Dialogs: who is talking to whom.
//! In: `Heard`. Out: `Observation` of dialog ends. Knows nothing of presence, sockets, clocks.
//! RFC 3261 sections 9, 12, 13, 15; RFC 3262, 3311, 4028, 5057; state names from RFC 4235 section 3.7.1.
//!
//! ```text
//! Call-ID ──► Call ──► Attempt   one From-tag: the caller's wish to talk, over all its INVITEs
//!                 ├──► Branch    one INVITE on one hop; a branch without children is a phone's own
//!                 ├──► Dialog    both tags: from the first 2xx to the end
//!                 └──► End       what observations are about: a caller, a ringing phone, a party
//! ```

mod answer;
mod call;
mod inside;
mod invite;
mod legs;
mod listening;
mod media;
mod media_places;
mod unseen;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use super::heard::{Heard, text};
use super::losses::Losses;
use super::{EndReason, Findings};
use crate::base::{Deadlines, FrameId, Limits, Oddities, Oddity, Places, Rules, Timestamp};
use crate::sip::Method;
use call::Call;
use legs::{CallRef, Doubts, LegNews, LegTable, Said};
use media::MediaTable;
use media_places::MediaPlaces;
use unseen::shows_an_invite;

/// 64·T1 (RFC 3261 section 17.1.1.2): how long a transaction is given.
const TIMER_B_S: u32 = 32;
/// A 401, 407, 422 or 3xx is followed by a new INVITE within this time, or it was the end.
const RETRY_S: u32 = 4;
/// A call that every phone in sight refused may go on to where the mirror shows nothing: the caller hears of that within
/// this time, in which a telephone network finds the other side, or the call is over.
const GOES_ON_S: u32 = 12;
/// A 2xx with the first offer that is not repeated for so long was acknowledged out of our sight.
const ACK_PRESUMED_S: u32 = 4;
/// The same where the mirror is known to lose messages.
const ACK_PRESUMED_IF_LOSSY_S: u32 = 1;
/// T2: between two repetitions of a 2xx there is no more than this.
const T2_S: u32 = 4;
/// After a 1xx: since the last 101–199 (RFC 3261 section 16.7, timer C).
const TIMER_C_S: u32 = 180;
/// How long an end that was seen is remembered, so that late copies of its messages raise nothing.
const FORGET_SEEN_S: u32 = 64;
/// How long an end that was inferred is remembered, so that a sign of life can revoke it.
const FORGET_INFERRED_S: u32 = 3_600;

/// What every step of a call needs besides the message.
struct Context<'a> {
    now: Timestamp,
    frame: FrameId,
    rules: &'a Rules,
    branches_per_call: usize,
    next_end: &'a mut u64,
    ends: &'a mut [u64],
    media: &'a mut MediaTable,
    places: &'a mut MediaPlaces,
    /// The call itself.
    this: CallRef,
    losses: &'a mut Losses,
    /// When the first message was heard.
    began: Timestamp,
}

/// What registrations tell of calls.
pub(super) trait Registered {
    /// Phones register in this domain.
    fn is_domain(&self, domain: &str) -> bool;
}

/// All calls.
pub(super) struct Dialogs {
    /// By Call-ID.
    calls: Places<Call>,
    order: VecDeque<(u32, u64)>,
    born: u64,
    deadlines: Deadlines<u32>,
    rules: Rules,
    limits: Limits,
    next_end: u64,
    ends: Vec<u64>,
    media: MediaTable,
    places: MediaPlaces,
    legs: LegTable,
    doubts: Doubts,
}

impl Dialogs {
    pub(super) fn new(rules: &Rules, limits: &Limits) -> Self {
        Self {
            calls: Places::default(),
            order: VecDeque::new(),
            born: 0,
            deadlines: Deadlines::new(),
            rules: rules.clone(),
            limits: limits.clone(),
            next_end: 0,
            ends: vec![0; EndReason::ALL.len()],
            media: MediaTable::default(),
            places: MediaPlaces::new(limits.media_addresses, rules.media_silence_s),
            legs: LegTable::default(),
            doubts: Doubts::default(),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.deadlines.next()
    }

    pub(super) fn ends(&self) -> impl Iterator<Item = (EndReason, u64)> + '_ {
        EndReason::ALL
            .iter()
            .map(|&reason| (reason, self.ends.get(reason as usize).copied().unwrap_or(0)))
            .filter(|&(_, count)| count > 0)
    }

    pub(super) fn handle(
        &mut self,
        heard: &Heard<'_, '_>,
        registered: &impl Registered,
        out: &mut Findings,
        oddities: &mut Oddities,
    ) {
        let call_id = heard.message.call_id();
        let known = self.find(call_id).or_else(|| {
            // What is not UTF-8 was replaced.
            std::str::from_utf8(call_id).is_err().then(|| self.find(text(call_id).as_bytes())).flatten()
        });
        let id = match known {
            Some(id) => id,
            None if opens_a_call(heard) => self.open(heard, out, oddities),
            None => return,
        };
        let speaks = self.step(id, heard.frame, out, |call, context| call.handle(heard, context));
        self.part_replaced(heard);
        if self.places.take_overflow() {
            oddities.note(Oddity::TableFull);
        }
        if let Some(this) = speaks {
            self.meet_other_leg(this, registered, heard.at);
            self.tell_other_legs(this, out);
        }
        self.believe_doubts(out);
    }

    /// A datagram passed that is no SIP: of a call's media, perhaps. True if it brought a call back.
    pub(super) fn hear_datagram(
        &mut self,
        frame: FrameId,
        ends: [SocketAddr; 2],
        is_media: bool,
        out: &mut Findings,
    ) -> bool {
        let Some(back) = self.places.hear(out.at, frame, ends, is_media) else { return false };
        if self.leg(back.call).is_some() {
            self.step(back.call.id, frame, out, |call, context| call.media_came_back(&back, context));
        }
        true
    }

    /// A frame passed, of whatever kind.
    #[inline]
    pub(super) fn see_frame(&mut self, at: Timestamp, frame: FrameId) {
        self.places.see_frame(at, frame);
    }

    /// See [`MediaPlaces::sees_since`].
    pub(super) const fn sees_since(&mut self, since: Option<Timestamp>) {
        self.places.sees_since(since);
    }

    /// A call that has just shown who calls whom may be the other leg of one that did so before.
    fn meet_other_leg(&mut self, this: CallRef, registered: &impl Registered, now: Timestamp) {
        let Some(ends) = self.calls.get_mut(this.id).and_then(Call::leg_ends) else { return };
        let candidates = self.legs.enter(this, &ends, now, self.limits.calls);
        let fits = |other: &&CallRef| {
            let (this, other) = (self.leg(this), self.leg(**other));
            this.zip(other)
                .is_some_and(|(this, other)| other.goes_on() && this.may_be_leg_of(other, registered))
        };
        let mut open = candidates.iter().filter(fits).copied();
        // Of two that call the same at once it could be either.
        if let (Some(other), None) = (open.next(), open.next()) {
            for (of, tied, is_second) in [(this, other, true), (other, this, false)] {
                if let Some(call) = self.calls.get_mut(of.id) {
                    call.tie(tied, is_second);
                }
            }
        }
    }

    fn leg(&self, leg: CallRef) -> Option<&Call> {
        self.calls.get(leg.id).filter(|call| call.born == leg.born)
    }

    fn tell_other_legs(&mut self, this: CallRef, out: &mut Findings) {
        let Some(legs) = self.calls.get_mut(this.id).map(|call| &mut call.legs) else { return };
        let Some((news, frame)) = legs.news.take() else { return };
        let others = legs.others.clone();
        let mut open = others.iter().filter(|&&other| self.leg(other).is_some_and(Call::goes_on));
        // What only one of several can mean says nothing of any.
        let (Some(&other), None) = (open.next(), open.next()) else { return };
        let said = Said { at: out.at, by: this, to: other, news, frame };
        // That a phone which says nothing rings is not believed before its silence proves that messages are lost.
        if news == LegNews::Rings || out.losses.are_known(out.at) {
            self.tell(&said, out);
        } else {
            self.doubts.keep(said);
        }
    }

    /// One of several legs cannot mean it for all, but that it takes the call.
    fn tell(&mut self, said: &Said, out: &mut Findings) {
        let others = self.leg(said.to).map(|leg| leg.legs.others.iter()).into_iter().flatten();
        let besides = |other: &CallRef| *other != said.by && self.leg(*other).is_some_and(Call::goes_on);
        if said.news == LegNews::Answered || !others.copied().any(|other| besides(&other)) {
            let hear = |call: &mut Call, context: &mut Context<'_>| call.hear(said, context);
            if self.leg(said.to).is_some() {
                self.step(said.to.id, said.frame, out, hear);
            }
        }
    }

    /// Now that the mirror is known to lose messages, what was said just before counts, too.
    fn believe_doubts(&mut self, out: &mut Findings) {
        if !self.doubts.is_empty() && out.losses.are_known(out.at) {
            for said in self.doubts.take_since(out.at) {
                self.tell(&said, out);
            }
        }
    }

    /// An INVITE takes another dialog's place (RFC 3891), or a REFER asks for one that does: its legs go ways of their own.
    fn part_replaced(&mut self, heard: &Heard<'_, '_>) {
        let message = heard.message;
        if message.status().is_none()
            && matches!(message.cseq().method, Method::Invite | Method::Refer)
            && let Some(call_id) = message.replaced_call_id()
            && let Some(call) = self.find(&call_id).and_then(|id| self.calls.get_mut(id))
        {
            call.part();
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Timestamp, out: &mut Findings) {
        while let Some((_, id)) = self.deadlines.pop_due(now) {
            let Some(call) = self.calls.get_mut(id) else { continue };
            call.deadline = None;
            let next = call.next_deadline();
            if next.is_some_and(|next| next > now) {
                // It moved away since it was set.
                self.deadlines.set(&mut call.deadline, id, next);
                continue;
            }
            self.step(id, FrameId::default(), out, Call::fire);
        }
    }

    /// Lets one call do something, tells what came of it, and sets its next deadline or drops it. Gives the call if it has
    /// something to say to its other legs, which few messages bring about.
    fn step(
        &mut self,
        id: u32,
        frame: FrameId,
        out: &mut Findings,
        act: impl FnOnce(&mut Call, &mut Context<'_>),
    ) -> Option<CallRef> {
        let call = self.calls.get_mut(id)?;
        let this = CallRef { id, born: call.born };
        let mut context = Context {
            now: out.at,
            frame,
            rules: &self.rules,
            branches_per_call: self.limits.branches_per_call,
            next_end: &mut self.next_end,
            ends: &mut self.ends,
            media: &mut self.media,
            places: &mut self.places,
            this,
            losses: &mut out.losses,
            began: out.began.unwrap_or(out.at),
        };
        act(call, &mut context);
        call.tell(out);
        if call.is_over() {
            self.remove(id);
            return None;
        }
        let next = call.next_deadline();
        self.deadlines.set_lazily(&mut call.deadline, id, next);
        call.has_to_speak().then_some(this)
    }

    fn open(&mut self, heard: &Heard<'_, '_>, out: &mut Findings, oddities: &mut Oddities) -> u32 {
        if self.calls.len() >= self.limits.calls {
            oddities.note(Oddity::TableFull);
            self.evict_oldest(heard.frame, out);
        }
        let call_id = heard.call_id();
        self.born += 1;
        let id = self.calls.insert(call_id.as_bytes(), |_| Call::new(Arc::clone(&call_id), self.born));
        self.order.push_back((id, self.born));
        // Calls that ended leave their place in the queue: swept when they are the most of it.
        if self.order.len() > 2 * self.calls.len() + 64 {
            let calls = &self.calls;
            self.order.retain(|&(id, born)| calls.get(id).is_some_and(|call| call.born == born));
        }
        id
    }

    /// `frame` is of the message that needs the room.
    fn evict_oldest(&mut self, frame: FrameId, out: &mut Findings) {
        while let Some((id, born)) = self.order.pop_front() {
            if self.calls.get(id).is_some_and(|call| call.born == born) {
                self.step(id, frame, out, Call::evict);
                self.remove(id);
                return;
            }
        }
    }

    fn remove(&mut self, id: u32) {
        if let Some(mut call) = self.calls.remove(id) {
            self.deadlines.set(&mut call.deadline, id, None);
        }
    }

    fn find(&self, call_id: &[u8]) -> Option<u32> {
        self.calls.find(call_id, |call| call.call_id.as_bytes() == call_id)
    }
}

impl Call {
    /// One message of this Call-ID.
    fn handle(&mut self, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        let message = heard.message;
        if message.cseq().method == Method::Refer {
            self.part();
        }
        self.learn_called_tag(heard);
        match (message.cseq().method, message.status()) {
            (Method::Invite, None) if message.to_tag().is_none() => self.invite(heard, context),
            (Method::Invite, Some(status)) => match self.branch_of(heard) {
                Some(branch) => self.invite_response(branch, status, heard, context),
                None if matches!(status, 200..300) => self.stray_response(status, heard, context),
                None => match self.unseen_invite(heard, context) {
                    Some(branch) => self.invite_response(branch, status, heard, context),
                    None => self.stray_response(status, heard, context),
                },
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
}

/// Of an unknown Call-ID, only what can show that somebody calls, rings or talks is worth remembering, or that nobody does so any
/// more.
fn opens_a_call(heard: &Heard<'_, '_>) -> bool {
    let message = heard.message;
    let method = message.cseq().method;
    match message.status() {
        None => matches!(method, Method::Invite | Method::Info),
        Some(200..300) if method == Method::Bye => true,
        Some(status) => {
            method == Method::Invite && (matches!(status, 180 | 200..300) || shows_an_invite(heard))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{HeardTransport, Texts};
    use crate::sip::Scanner;
    use crate::track::{DialogState, Fact, Rule};

    struct Nobody;

    impl Registered for Nobody {
        fn is_domain(&self, domain: &str) -> bool {
            ["one.example", "two.example", "192.0.2.1"].contains(&domain)
        }
    }

    fn findings() -> Findings {
        Findings::new(Timestamp::from_secs(1))
    }

    fn hear(dialogs: &mut Dialogs, number: u64, text: &str, out: &mut Findings) {
        hear_on_hop(dialogs, number, ["192.0.2.11", "192.0.2.1"], text, out);
    }

    fn hear_on_hop(dialogs: &mut Dialogs, number: u64, hop: [&str; 2], text: &str, out: &mut Findings) {
        let [source, destination] =
            hop.map(|address| std::net::SocketAddr::new(address.parse().expect("an address"), 5060));
        let mut scanner = Scanner::new(&Limits::default());
        let heard = Heard {
            at: out.at,
            frame: FrameId::new(0, number),
            source,
            destination,
            transport: HeardTransport::Udp,
            whole: true,
            message: &scanner.scan(text.as_bytes()).expect("a message"),
            texts: &Texts::default(),
        };
        dialogs.handle(&heard, &Nobody, out, &mut Oddities::default());
    }

    #[test]
    fn a_call_that_has_to_go_cites_what_was_heard_of_it_last() {
        let limits = Limits { calls: 1, ..Limits::default() };
        let mut dialogs = Dialogs::new(&Rules::default(), &limits);
        let mut out = findings();
        for number in 1..=2 {
            let text = format!(
                "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.11;branch=z9hG4bK{number}\r\n\
                 From: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: call-{number}\r\n\
                 CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
            );
            hear(&mut dialogs, number, &text, &mut out);
        }
        let gone = out.queue.iter().find(|observation| match &observation.fact {
            Fact::Dialog(fact) => fact.state == DialogState::Terminated,
            _ => false,
        });
        let evidence = &gone.expect("the first call has ended").evidence;
        assert_eq!((evidence.rule, evidence.frame.number()), (Rule::Evicted, 1));
        assert_eq!(&*evidence.call_id, "call-1");
    }

    #[test]
    fn legs_of_two_tenants_with_the_same_users_are_not_tied() {
        for (domain, are_tied) in [("one.example", true), ("two.example", false), ("192.0.2.1", true)] {
            let mut dialogs = Dialogs::new(&Rules::default(), &Limits::default());
            let mut out = findings();
            for (number, hop, domain) in
                [(1, ["192.0.2.11", "192.0.2.1"], "one.example"), (2, ["192.0.2.1", "192.0.2.12"], domain)]
            {
                let text = format!(
                    "INVITE sip:bob@{domain} SIP/2.0\r\nVia: SIP/2.0/UDP {};branch=z9hG4bK{number}\r\n\
                     From: <sip:alice@{domain}>;tag=1\r\nTo: <sip:bob@{domain}>\r\nCall-ID: call-{number}\r\n\
                     CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
                    hop[0]
                );
                hear_on_hop(&mut dialogs, number, hop, &text, &mut out);
            }
            let call = dialogs.find(b"call-1").and_then(|id| dialogs.calls.get(id)).expect("it is open");
            assert_eq!(!call.legs.others.is_empty(), are_tied, "{domain}");
        }
    }

    /// Dialogs of one Call-ID whose INVITEs nobody saw, each begun before the one before it is forgotten.
    #[test]
    fn a_call_id_whose_dialogs_come_and_go_without_end_keeps_few_ends() {
        let limits = Limits { branches_per_call: 4, ..Limits::default() };
        let mut dialogs = Dialogs::new(&Rules::default(), &limits);
        let (mut out, mut begun) = (findings(), 0);
        for number in 1..=100 {
            out.at = out.at.after_s(30);
            let at = out.at;
            dialogs.handle_timeout(at, &mut out);
            for (start, method) in [
                ("INFO sip:bob@example.com SIP/2.0", "INFO"),
                ("SIP/2.0 200 OK", "INFO"),
                ("BYE sip:bob@example.com SIP/2.0", "BYE"),
            ] {
                let text = format!(
                    "{start}\r\nVia: SIP/2.0/UDP 192.0.2.11;branch=z9hG4bK{method}{number}\r\n\
                     From: <sip:alice@example.com>;tag=a{number}\r\nTo: <sip:bob@example.com>;tag=b{number}\r\n\
                     Call-ID: call\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
                );
                hear(&mut dialogs, number, &text, &mut out);
            }
            begun += out
                .queue
                .drain(..)
                .filter(|observation| {
                    matches!(&observation.fact, Fact::Dialog(fact) if fact.state == DialogState::Confirmed)
                })
                .count();
        }
        let call = dialogs.find(b"call").and_then(|id| dialogs.calls.get(id)).expect("it is still open");
        assert!(call.ends.len() <= 2 * limits.branches_per_call, "{} ends", call.ends.len());
        assert_eq!(begun, 200, "two parties each");
    }
}
