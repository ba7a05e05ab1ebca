//! A recall: the phone is rung, and asked once it is picked up.
//! In: answers to INVITE, requests of the phone in its dialog. Out: INVITE, ACK, CANCEL, BYE, session descriptions.
//! Knows nothing of what REFER brings about.
//! RFC 3261 sections 9, 13, 14, 15; RFC 3264; RFC 3311 (UPDATE).

use std::time::Duration;

use super::asker::MediaCommand;
use super::asking::{ALLOW, Asking, Means, Purpose, Reply, Stage, user_agent};
use super::offer::{Session, Sink};
use super::{AskEnd, AskEvent, Manner};
use crate::base::{Timestamp, Transmit};
use crate::sip::authenticator::Attempt;
use crate::sip::dialog::{Dialog, Order};
use crate::sip::invite_transaction::{InviteEvent, InviteHead, InviteTransaction};
use crate::sip::transaction::Reliability;
use crate::sip::write::{self, Header, RequestMethod, header, via};
use crate::sip::{Method, SipMessage};

/// So long after the ACK comes the REFER: phones refuse an earlier one with 491.
const BEFORE_REFER: Duration = Duration::from_millis(500);
/// Forks that may pick up; further ones are left to ring themselves out.
const MAX_FORKS: usize = 8;

/// What was heard of a phone that is rung.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Heard {
    /// Nothing.
    Nothing,
    /// The INVITE arrived somewhere.
    Something,
    /// It rings; that was told.
    Ringing,
}

impl Heard {
    /// The end, if nothing better follows.
    pub(super) const fn end_in_vain(self) -> AskEnd {
        match self {
            Self::Nothing => AskEnd::Silent,
            Self::Something | Self::Ringing => AskEnd::NotPickedUp { status: None },
        }
    }
}

/// Where our call to the phone is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// Nobody picked up.
    Open,
    /// The dialog is confirmed.
    Up,
    /// The phone hung up.
    PhoneLeft,
    /// We did.
    WeLeft,
}

/// Somebody who picked up.
struct Fork {
    tag: Vec<u8>,
    /// For each copy of its 2xx (RFC 3261 section 13.2.2.4).
    ack: Vec<u8>,
}

/// The call to the phone.
pub(super) struct Call {
    /// The newest last; those before it were challenged.
    invites: Vec<InviteTransaction>,
    attempt: Attempt,
    /// Those of the newest INVITE, for its ACK.
    credentials: Vec<Header>,
    /// The dialog as it was when the newest INVITE was sent: each fork's begins so.
    begun: Dialog,
    cseq: u32,
    forks: Vec<Fork>,
    line: Line,
    session: Session,
    sink: Option<Sink>,
    /// A 491 was borne.
    glared: bool,
}

impl Call {
    /// An INVITE awaits its final response.
    pub(super) fn is_pending(&self) -> bool {
        self.invites.iter().any(InviteTransaction::is_pending)
    }

    pub(super) fn is_terminated(&self) -> bool {
        self.invites.iter().all(InviteTransaction::is_terminated)
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.invites.iter().filter_map(InviteTransaction::poll_timeout).min()
    }

    pub(super) fn handle_timeout(&mut self, now: Timestamp) {
        for invite in &mut self.invites {
            invite.handle_timeout(now);
        }
    }

    pub(super) fn handle_transport_error(&mut self) {
        for invite in &mut self.invites {
            invite.handle_transport_error();
        }
    }

    /// The first 491 is borne.
    pub(super) const fn takes_glare(&mut self) -> bool {
        !std::mem::replace(&mut self.glared, true)
    }
}

impl Asking {
    /// The phone hung up.
    pub(super) fn phone_left(&self) -> bool {
        self.call.as_ref().is_some_and(|call| call.line == Line::PhoneLeft)
    }

    /// A REFER, and no OPTIONS, awaits its answer.
    pub(super) fn awaits_refer_answer(&self) -> bool {
        self.stage == Stage::Asked && self.order.manner != Manner::Probe
    }

    /// Rings the phone.
    pub(super) fn ring(&mut self, now: Timestamp, means: &mut Means) {
        self.call = Some(Call {
            invites: Vec::new(),
            attempt: Attempt::default(),
            credentials: Vec::new(),
            begun: self.dialog.clone(),
            cseq: 0,
            forks: Vec::new(),
            line: Line::Open,
            session: Session::new(means.random.next(), self.reach.media),
            sink: None,
            glared: false,
        });
        let until = now.after_s(means.options.ring_s);
        self.stage = Stage::Ringing { until, heard: Heard::Nothing, giving_up: None };
        self.invite(now, means);
    }

    /// Sends an INVITE: the first one, or again with credentials.
    fn invite(&mut self, now: Timestamp, means: &mut Means) {
        let hop = self.reach.hop;
        let branch = means.branch();
        let contact = self.contact();
        let Some(call) = &mut self.call else {
            return;
        };
        let head = InviteHead {
            uri: write::uri_text(&self.reach.request_uri).into_owned(),
            via: via(hop.transport.via_name(), hop.local, &branch),
            branch,
            from: format!("{};tag={}", self.from, self.dialog.local_tag()),
            to: write::tagged(self.order.phone.as_str(), None),
            call_id: self.dialog.call_id().to_owned(),
            cseq: self.dialog.next_cseq(),
        };
        call.begun = self.dialog.clone();
        call.cseq = head.cseq;
        call.credentials = means.credentials(hop, &mut self.authenticator, "INVITE", &head.uri);
        let mut fields = vec![contact, header("Allow", ALLOW)];
        fields.extend(call.credentials.iter().cloned());
        fields.extend([user_agent(), header("Content-Type", "application/sdp")]);
        let Ok(request) = head.invite(fields, call.session.offer().as_bytes()) else {
            // The AORs or the phone's contact cannot stand in a message.
            self.end(now, AskEnd::Undeliverable, means);
            return;
        };
        let reliability = match hop.transport.is_reliable() {
            true => Reliability::Reliable,
            false => Reliability::Unreliable,
        };
        call.invites.push(InviteTransaction::new(now, head, request, reliability));
    }

    /// The INVITE is taken back, and this is the end as soon as it has its own; at once, if nothing was heard of the
    /// phone.
    pub(super) fn give_up(&mut self, now: Timestamp, end: AskEnd, means: &mut Means) {
        let Stage::Ringing { until, heard, .. } = self.stage else {
            return;
        };
        for invite in self.call.iter_mut().flat_map(|call| &mut call.invites) {
            invite.cancel(now);
        }
        self.stage = Stage::Ringing { until, heard, giving_up: Some(end) };
        if heard == Heard::Nothing {
            self.end(now, end, means);
        }
    }

    /// Takes a response to an INVITE of this dialog.
    pub(super) fn handle_invite_answer(
        &mut self,
        now: Timestamp,
        status: u16,
        response: &SipMessage<'_>,
        means: &mut Means,
    ) {
        let mut invites = self.call.iter_mut().flat_map(|call| &mut call.invites);
        let Some(invite) = invites.find(|invite| invite.matches(response)) else {
            means.counters.strangers += 1;
            return;
        };
        invite.handle(now, status, response);
        match invite.poll_event() {
            Some(InviteEvent::Provisional(status)) => self.handle_provisional(status, means),
            Some(InviteEvent::Accepted(status)) => self.handle_picked_up(now, status, response, means),
            Some(InviteEvent::Refused(status)) => self.handle_refused(now, status, response, means),
            Some(InviteEvent::TimedOut | InviteEvent::TransportFailed) | None => {}
        }
        self.settle(now, means);
    }

    fn handle_provisional(&mut self, status: u16, means: &mut Means) {
        if let Stage::Ringing { heard, .. } = &mut self.stage {
            let hears = match status {
                180..=198 => Heard::Ringing,
                _ => Heard::Something,
            };
            let was = std::mem::replace(heard, hears.max(*heard));
            if was < Heard::Ringing && hears == Heard::Ringing {
                self.tell(AskEvent::Ringing, means);
            }
        }
    }

    fn handle_refused(&mut self, now: Timestamp, status: u16, response: &SipMessage<'_>, means: &mut Means) {
        let (Stage::Ringing { giving_up, .. }, Some(call)) = (self.stage, &mut self.call) else {
            return;
        };
        match giving_up {
            Some(end) => self.end(now, end, means),
            None if means.accept(self.reach.hop, &mut self.authenticator, &mut call.attempt, response) => {
                if let Stage::Ringing { heard, .. } = &mut self.stage {
                    *heard = Heard::Something.max(*heard);
                }
                self.invite(now, means);
            }
            None => self.end(now, AskEnd::NotPickedUp { status: Some(status) }, means),
        }
    }

    /// A 2xx: every one is acknowledged; the first is the call, unless we gave up; others are hung up at once.
    fn handle_picked_up(
        &mut self,
        now: Timestamp,
        status: u16,
        response: &SipMessage<'_>,
        means: &mut Means,
    ) {
        let Some(call) = &mut self.call else {
            return;
        };
        let hop = self.reach.hop;
        let tag = response.to_tag().unwrap_or_default();
        if let Some(fork) = call.forks.iter().find(|fork| fork.tag == tag) {
            means.transmits.push_back(Transmit { hop, bytes: fork.ack.clone() });
            return;
        }
        if call.forks.len() >= MAX_FORKS {
            means.counters.strangers += 1;
            return;
        }
        let tag = tag.to_vec();
        let mut dialog = call.begun.clone();
        dialog.learn_from_answer(response);
        let Some(ack) = self.ack(&dialog, means) else {
            // What it calls its end cannot stand in a message: there is no talking to it.
            if matches!(self.stage, Stage::Ringing { .. }) {
                self.end(now, AskEnd::Undeliverable, means);
            }
            return;
        };
        means.transmits.push_back(Transmit { hop, bytes: ack.clone() });
        let Some(call) = &mut self.call else {
            return;
        };
        call.forks.push(Fork { tag, ack });
        let giving_up = match self.stage {
            // A dialog needs a tag (RFC 3261 section 12.1.2).
            Stage::Ringing { giving_up: None, .. } if dialog.remote_tag().is_some() => {
                call.line = Line::Up;
                let sink = response.sdp().and_then(|answer| call.session.sink_of_answer(answer));
                self.dialog = dialog;
                self.stage = Stage::Talking { refer_at: now.after(BEFORE_REFER) };
                self.tell(AskEvent::PickedUp, means);
                self.set_sink(sink, means);
                return;
            }
            Stage::Ringing { giving_up, .. } => giving_up,
            _ => None,
        };
        self.send(now, Purpose::Bye(Box::new(dialog)), Attempt::default(), means);
        if matches!(self.stage, Stage::Ringing { .. }) {
            self.end(now, giving_up.unwrap_or(AskEnd::NotPickedUp { status: Some(status) }), means);
        }
    }

    /// The ACK to a 2xx: a request of the dialog, with the INVITE's number and credentials (RFC 3261 section
    /// 13.2.2.4).
    fn ack(&self, dialog: &Dialog, means: &mut Means) -> Option<Vec<u8>> {
        let call = self.call.as_ref()?;
        let hop = self.reach.hop;
        let (uri, routes) = dialog.way(&self.reach.request_uri);
        let mut headers = vec![
            via(hop.transport.via_name(), hop.local, &means.branch()),
            Header::MaxForwards("70".to_owned().into()),
            header("From", format!("{};tag={}", self.from, dialog.local_tag())),
            header("To", write::tagged(self.order.phone.as_str(), dialog.remote_tag())),
            Header::CallId(dialog.call_id().to_owned().into()),
            Header::CSeq(format!("{} ACK", call.cseq).into()),
        ];
        headers.extend(routes);
        headers.extend(call.credentials.iter().cloned());
        write::request(RequestMethod::Ack, &uri, headers, b"").ok()
    }

    /// The call's part of [`Self::settle`].
    pub(super) fn settle_call(&mut self, now: Timestamp, means: &mut Means) {
        let hop = self.reach.hop;
        let (mut ended, mut cancels) = (None, Vec::new());
        for invite in self.call.iter_mut().flat_map(|call| &mut call.invites) {
            while let Some(bytes) = invite.poll_transmit() {
                means.transmits.push_back(Transmit { hop, bytes: bytes.to_vec() });
            }
            ended = invite.poll_event().or(ended);
            cancels.extend(invite.poll_cancel().map(|bytes| (invite.head().branch.clone(), bytes)));
        }
        for cancel in cancels {
            self.send_cancel(now, cancel, means);
        }
        if let (Some(event), Stage::Ringing { heard, giving_up, .. }) = (ended, self.stage) {
            let end = match event {
                InviteEvent::TransportFailed => AskEnd::Undeliverable,
                _ => heard.end_in_vain(),
            };
            self.end(now, giving_up.unwrap_or(end), means);
        }
        if let Some(call) = &mut self.call {
            call.invites.retain(|invite| !invite.is_terminated());
            if self.is_over() {
                self.leave(now, means);
            }
        }
    }

    /// Hangs up, if the phone has not.
    fn leave(&mut self, now: Timestamp, means: &mut Means) {
        self.set_sink(None, means);
        if let Some(call) = self.call.as_mut().filter(|call| call.line == Line::Up) {
            call.line = Line::WeLeft;
            let dialog = Box::new(self.dialog.clone());
            self.send(now, Purpose::Bye(dialog), Attempt::default(), means);
        }
    }

    /// Silence goes there from now on.
    fn set_sink(&mut self, sink: Option<Sink>, means: &mut Means) {
        let id = self.id();
        let Some(call) = self.call.as_mut().filter(|call| call.sink != sink) else {
            return;
        };
        if std::mem::replace(&mut call.sink, sink).is_some() {
            means.media.push_back(MediaCommand::Stop { id });
        }
        if let Some(Sink { remote, payload_type }) = sink {
            means.media.push_back(MediaCommand::Start { id, remote, payload_type });
        }
    }

    /// Takes a request with our Call-ID. The reply is to be sent before [`Self::settle`] is called.
    pub(super) fn handle_request(
        &mut self,
        now: Timestamp,
        method: Method,
        request: &SipMessage<'_>,
        means: &mut Means,
    ) -> Reply {
        // Before there is a dialog, only a NOTIFY can begin one (RFC 3515 section 2.4.4), and only where REFER could.
        let may_begin = self.call.is_none() && self.awaits_refer_answer() && method == Method::Notify;
        let has_peer = self.dialog.remote_tag().is_some();
        if !self.dialog.is_of(request) || !(has_peer || may_begin) {
            means.counters.strangers += 1;
            return Reply::of(481);
        }
        // What it would cancel has been answered (section 9.2).
        if method == Method::Cancel {
            return Reply::of(200);
        }
        if self.dialog.order(request) != Order::Next {
            return Reply::of(500);
        }
        let line = self.call.as_ref().map(|call| call.line);
        match (method, line) {
            (Method::Notify, _) => self.handle_notify(now, request, means),
            (Method::Options, _) => Reply::to_options(),
            (Method::Bye, Some(_)) => self.handle_bye(now, means),
            (Method::Invite | Method::Update, Some(Line::Up)) => {
                self.handle_offer(method, request.sdp(), request.body().is_empty(), means)
            }
            (Method::Bye | Method::Invite | Method::Update, _) => Reply::of(481),
            _ => Reply::of(405),
        }
    }

    /// The phone hangs up. Once it has accepted the REFER it may, and call all the same; while that awaits its answer
    /// it may have accepted it.
    fn handle_bye(&mut self, now: Timestamp, means: &mut Means) -> Reply {
        self.set_sink(None, means);
        if let Some(call) = self.call.as_mut().filter(|call| call.line == Line::Up) {
            call.line = Line::PhoneLeft;
        }
        if matches!(self.stage, Stage::Talking { .. }) {
            self.end(now, AskEnd::HungUp, means);
        }
        Reply::of(200)
    }

    /// A re-INVITE or an UPDATE: the phone holds us while it calls, or refreshes the session. No 100 is sent: the phone
    /// repeats its INVITE until it has our 2xx. What the ACK answers to an offer of ours is not read: silence goes on
    /// where it went.
    fn handle_offer(
        &mut self,
        method: Method,
        offer: Option<&[u8]>,
        is_empty: bool,
        means: &mut Means,
    ) -> Reply {
        let contact = self.contact();
        let Some(call) = &mut self.call else {
            return Reply::of(481);
        };
        let (body, sink) = match offer {
            Some(offer) => match call.session.answer(offer) {
                Some((answer, sink)) => (answer, sink),
                None => return Reply::of(488),
            },
            None if !is_empty => {
                let headers = vec![header("Accept", "application/sdp")];
                return Reply { status: 415, headers, ..Reply::default() };
            }
            None if method == Method::Update => (String::new(), call.sink),
            None => (call.session.offer(), call.sink),
        };
        let mut headers = vec![contact, header("Allow", ALLOW)];
        if !body.is_empty() {
            headers.push(header("Content-Type", "application/sdp"));
        }
        self.set_sink(sink, means);
        Reply { status: 200, headers, body: body.into_bytes() }
    }
}
