//! What comes to a user agent: requests, responses, timers.
//! In: messages, wake-ups. Out: what the agent answers, events, truth. Knows nothing of mirrors, taps, people.

use std::net::SocketAddr;

use super::super::message::{Direction, Message, Method};
use super::super::transactions::{News, Out, T1_US, TIMER_B_US, Wake};
use super::super::truth::Happening;
use super::{Agent, Context, Event, Leg, Side, State, address_of};

impl Agent {
    /// A timer fires.
    pub fn wake(&mut self, cx: &mut Context<'_>, wake: &Wake) {
        match *wake {
            Wake::Accepted(leg) => self.wake_accepted(cx, leg),
            Wake::Session(leg) => {
                let Some(known) = self.legs.get(leg).filter(|leg| leg.state == State::Up) else { return };
                let due = known.session_s.is_some_and(|interval_s| {
                    let age_us = cx.now_us - known.refreshed_us;
                    match known.side {
                        Side::Caller => age_us >= u64::from(interval_s / 2) * 1_000_000,
                        Side::Called => {
                            age_us >= u64::from(interval_s - (interval_s / 3).min(32)) * 1_000_000
                        }
                    }
                });
                match (due, known.side) {
                    (false, _) => {}
                    (true, Side::Caller) => self.refresh(cx, leg),
                    (true, Side::Called) => {
                        self.bye(cx, leg);
                        cx.events.push(Event::Ended(leg));
                    }
                }
            }
            Wake::Client(_) | Wake::Server(_) => {
                if let Some(News::Timeout(message)) = self.transactions.wake(cx.now_us, wake, cx.out) {
                    let response = message.response(408, "", self.name);
                    self.response(cx, &response);
                }
            }
        }
    }

    fn wake_accepted(&mut self, cx: &mut Context<'_>, leg: usize) {
        let Some(accepted) = self.legs.get_mut(leg).and_then(|leg| leg.accepted.as_mut()) else { return };
        if cx.now_us >= accepted.since_us + TIMER_B_US {
            self.bye(cx, leg);
            cx.events.push(Event::Ended(leg));
            return;
        }
        if cx.now_us < accepted.since_us + T1_US {
            return; // a timer of an earlier 2xx
        }
        cx.out.push(Out::Send { to: accepted.to, message: accepted.message.clone() });
        accepted.interval_us = (accepted.interval_us * 2).min(4_000_000);
        let at_us = (cx.now_us + accepted.interval_us).min(accepted.since_us + TIMER_B_US);
        cx.out.push(Out::Wake { at_us, wake: Wake::Accepted(leg) });
    }

    pub fn handle(&mut self, cx: &mut Context<'_>, message: Message, from: SocketAddr) {
        match self.transactions.handle(message, from, cx.out) {
            None => {}
            Some(News::Request(message)) => self.request(cx, message),
            Some(News::Response(message) | News::Timeout(message)) => self.response(cx, &message),
            Some(News::Stray(message)) => self.stray(cx, &message),
        }
    }

    fn leg_of(&self, message: &Message) -> Option<usize> {
        let (local, remote) = match message.is_request() {
            true => (message.to_tag.as_deref(), Some(message.from_tag.as_str())),
            false => (Some(message.from_tag.as_str()), message.to_tag.as_deref()),
        };
        self.legs.iter().rposition(|leg| {
            leg.call_id == message.call_id
                && Some(leg.local_tag.as_str()) == local
                && (leg.remote_tag.is_none() || leg.remote_tag.as_deref() == remote)
        })
    }

    fn plain_response(&mut self, cx: &mut Context<'_>, message: &Message, status: u16) {
        let tag = cx.random.token();
        let response = message.response(status, &tag, self.name);
        self.transactions.respond(cx.now_us, response, cx.out);
    }

    fn request(&mut self, cx: &mut Context<'_>, message: Message) {
        match message.method {
            Method::Invite if message.to_tag.is_none() => self.invited(cx, message),
            Method::Cancel => {
                self.plain_response(cx, &message, 200);
                let leg = self
                    .legs
                    .iter()
                    .rposition(|leg| leg.state == State::Incoming && leg.invite.branch() == message.branch());
                if let Some(leg) = leg {
                    self.reject(cx, leg, 487);
                    cx.events.push(Event::Cancelled(leg));
                }
            }
            Method::Ack => {
                if let Some(leg) = self.leg_of(&message) {
                    self.legs[leg].accepted = None;
                }
            }
            Method::Register => self.plain_response(cx, &message, 405),
            _ => match self.leg_of(&message).filter(|&leg| self.legs[leg].state == State::Up) {
                Some(leg) => self.inside_request(cx, leg, message),
                // Both hung up at once.
                None if message.method == Method::Bye && self.leg_of(&message).is_some() => {
                    self.plain_response(cx, &message, 200);
                }
                None => self.plain_response(cx, &message, 481),
            },
        }
    }

    fn invited(&mut self, cx: &mut Context<'_>, message: Message) {
        if self.challenges && message.credentials.is_none() {
            let tag = cx.random.token();
            let mut response = message.response(407, &tag, self.name);
            response.challenge = Some(cx.random.token());
            return self.transactions.respond(cx.now_us, response, cx.out);
        }
        if self.device.is_none() {
            let response = message.response(100, "", self.name);
            self.transactions.respond(cx.now_us, response, cx.out);
        }
        let leg = self.legs.len();
        let replaced = message.replaces.clone();
        let target = message.contacts.first().map(|contact| contact.uri.clone()).unwrap_or_default();
        self.legs.push(Leg {
            call_id: message.call_id.clone(),
            side: Side::Called,
            state: State::Incoming,
            plan: message.subject.unwrap_or_default(),
            local_uri: message.to.clone(),
            local_tag: cx.random.token(),
            remote_uri: message.from.clone(),
            remote_tag: Some(message.from_tag.clone()),
            remote_target: target,
            routes: message.record_routes.clone(),
            cseq: 300,
            session: cx.random.next() % 1_000_000,
            version: 1,
            on_hold: false,
            old_hold: false,
            other_holds: false,
            delayed: false,
            offered: Direction::SendRecv,
            accepted: None,
            last_ack: None,
            reinvite: None,
            asked: None,
            progressed: false,
            cancel_wanted: false,
            cancel_sent: false,
            session_s: None,
            refreshed_us: 0,
            by_update: true,
            invite: message,
        });
        if let Some((call_id, to_tag, from_tag)) = replaced {
            let old = self.legs.iter().position(|leg| {
                leg.state == State::Up
                    && leg.call_id == call_id
                    && leg.local_tag == to_tag
                    && leg.remote_tag.as_deref() == Some(&from_tag)
            });
            match old {
                Some(old) => {
                    self.answer(cx, leg);
                    self.bye(cx, old);
                    cx.events.push(Event::Ended(old));
                }
                None => self.reject(cx, leg, 481),
            }
            return;
        }
        cx.events.push(Event::Incoming(leg));
    }

    fn inside_request(&mut self, cx: &mut Context<'_>, leg: usize, message: Message) {
        match message.method {
            Method::Bye => {
                self.plain_response(cx, &message, 200);
                self.legs[leg].state = State::Over;
                self.legs[leg].accepted = None;
                cx.events.push(Event::Ended(leg));
            }
            Method::Invite => {
                let known = &mut self.legs[leg];
                if known.reinvite.is_some() || known.asked.is_some() || known.accepted.is_some() {
                    return self.plain_response(cx, &message, 491);
                }
                if let Some(contact) = message.contacts.first() {
                    known.remote_target.clone_from(&contact.uri);
                }
                let offer = message.sdp.as_ref().map_or(Direction::SendRecv, |sdp| sdp.direction);
                known.asked = Some(message);
                match self.device {
                    Some(_) => self.answer_reinvite(cx, leg, 200, None),
                    None => cx.events.push(Event::Reinvite(leg, offer)),
                }
            }
            Method::Update => {
                let known = &mut self.legs[leg];
                let mut response = message.response(200, &known.local_tag, self.name);
                response.session_expires_s = message.session_expires_s;
                known.session_s = message.session_expires_s;
                known.refreshed_us = cx.now_us;
                response.contacts = self.contact_value();
                self.watch_session(cx, leg);
                self.transactions.respond(cx.now_us, response, cx.out);
            }
            Method::Refer => {
                self.plain_response(cx, &message, 202);
                let target = message.refer_to.clone().unwrap_or_default();
                let (uri, replaces) = match target.split_once("?Replaces=") {
                    Some((uri, replaces)) => (uri.to_owned(), parse_replaces(replaces)),
                    None => (target, None),
                };
                cx.events.push(Event::Refer(leg, uri, replaces));
            }
            Method::Notify => {
                self.plain_response(cx, &message, 200);
                cx.events.push(Event::Told(leg, message.fragment.unwrap_or(200)));
            }
            Method::Register | Method::Ack | Method::Cancel => {}
        }
    }

    fn response(&mut self, cx: &mut Context<'_>, message: &Message) {
        let status = message.status().unwrap_or_default();
        match message.method {
            Method::Register => self.registered(message, cx),
            Method::Invite => {
                let reinvited = self.legs.iter().position(|leg| {
                    leg.call_id == message.call_id
                        && leg.reinvite.as_ref().is_some_and(|ours| ours.cseq == message.cseq)
                        && leg.local_tag == message.from_tag
                });
                match reinvited {
                    Some(leg) => self.reinvited(cx, leg, status, message),
                    None => self.invite_answered(cx, status, message),
                }
            }
            Method::Update if matches!(status, 408 | 481) => {
                if let Some(leg) = self.leg_of(message) {
                    self.bye(cx, leg);
                    cx.events.push(Event::Ended(leg));
                }
            }
            Method::Update if status == 200 => {
                if let Some(leg) = self.leg_of(message) {
                    self.legs[leg].refreshed_us = cx.now_us;
                    self.watch_session(cx, leg);
                }
            }
            _ => {}
        }
    }

    fn reinvited(&mut self, cx: &mut Context<'_>, leg: usize, status: u16, message: &Message) {
        if status < 200 {
            return;
        }
        self.legs[leg].reinvite = None;
        let answer = message.sdp.as_ref().map_or(Direction::SendRecv, |sdp| sdp.direction);
        if status < 300 {
            let known = &mut self.legs[leg];
            known.other_holds = matches!(answer, Direction::SendOnly | Direction::Inactive | Direction::Zero);
            if let Some(interval_s) = message.session_expires_s {
                known.session_s = Some(interval_s);
                known.refreshed_us = cx.now_us;
                self.watch_session(cx, leg);
            }
            self.acknowledge(cx, leg, message.cseq, None);
        } else if matches!(status, 408 | 481) {
            self.bye(cx, leg);
            cx.events.push(Event::Ended(leg));
            return;
        }
        cx.events.push(Event::Reinvited(leg, status, answer));
    }

    fn acknowledge(&mut self, cx: &mut Context<'_>, leg: usize, cseq: u32, answer: Option<Direction>) {
        let mut ack = self.inside(cx, leg, Method::Ack);
        ack.cseq = cseq;
        ack.sdp = answer.map(|direction| self.describe(leg, direction, true));
        let to = self.hop(&self.legs[leg]);
        self.legs[leg].last_ack = Some((ack.clone(), to));
        cx.out.push(Out::Send { to, message: ack });
    }

    fn invite_answered(&mut self, cx: &mut Context<'_>, status: u16, message: &Message) {
        let Some(leg) = self.legs.iter().rposition(|leg| {
            leg.call_id == message.call_id
                && leg.local_tag == message.from_tag
                && leg.state == State::Calling
                && leg.invite.cseq == message.cseq
        }) else {
            return;
        };
        match status {
            100..=199 => {
                self.legs[leg].progressed = true;
                if self.legs[leg].cancel_wanted {
                    self.cancel(cx, leg);
                }
                if status > 100 {
                    cx.events.push(Event::Progress(leg, status));
                }
            }
            200..=299 => self.up(cx, leg, message),
            401 | 407 => {
                let Some(nonce) = &message.challenge else { return };
                self.nonce = Some((nonce.clone(), 0));
                let mut invite = self.legs[leg].invite.clone();
                if invite.credentials.is_some() && message.challenge.is_none() {
                    return;
                }
                invite.cseq += 1;
                invite.vias = vec![self.via(cx.random, invite.vias.first().is_some_and(|via| via.tcp))];
                let invite = self.with_credentials(invite);
                self.legs[leg].cseq = invite.cseq;
                self.legs[leg].invite = invite.clone();
                let to = self.outbound.or_else(|| address_of(invite.uri())).unwrap_or(self.address);
                self.transactions.request(cx.now_us, invite, to, cx.out);
            }
            _ => {
                self.legs[leg].state = State::Over;
                cx.events.push(Event::Failed(leg, status));
            }
        }
    }

    fn up(&mut self, cx: &mut Context<'_>, leg: usize, message: &Message) {
        let known = &mut self.legs[leg];
        known.state = State::Up;
        known.remote_tag.clone_from(&message.to_tag);
        known.routes = message.record_routes.iter().rev().cloned().collect();
        if let Some(contact) = message.contacts.first() {
            known.remote_target.clone_from(&contact.uri);
        }
        known.session_s = message.session_expires_s;
        known.refreshed_us = cx.now_us;
        let delayed = known.delayed;
        let cancelled = std::mem::take(&mut known.cancel_wanted);
        let (call_id, tag) = (known.call_id.clone(), known.called_tag());
        if delayed {
            cx.out.push(Out::Truth(Happening::Acknowledged { call_id, tag }));
        }
        self.acknowledge(cx, leg, message.cseq, delayed.then_some(Direction::SendRecv));
        self.watch_session(cx, leg);
        if cancelled {
            self.bye(cx, leg);
        } else {
            cx.events.push(Event::Answered(leg));
        }
    }

    /// A 2xx once more, or a second phone's (RFC 3261 section 13.2.2.4): that one is let go.
    fn stray(&mut self, cx: &mut Context<'_>, message: &Message) {
        if message.method != Method::Invite || !message.status().is_some_and(|it| (200..300).contains(&it)) {
            return;
        }
        let same = |leg: &&Leg| {
            leg.call_id == message.call_id && leg.local_tag == message.from_tag && leg.side == Side::Caller
        };
        if let Some(leg) = self.leg_of(message).map(|leg| &self.legs[leg]) {
            if let Some((ack, to)) = &leg.last_ack {
                cx.out.push(Out::Send { to: *to, message: ack.clone() });
            }
            return;
        }
        let Some(first) = self.legs.iter().find(same) else { return };
        let second = Leg {
            state: State::Calling,
            remote_tag: None,
            routes: Vec::new(),
            accepted: None,
            last_ack: None,
            reinvite: None,
            asked: None,
            session_s: None,
            cancel_wanted: true,
            cancel_sent: false,
            call_id: first.call_id.clone(),
            local_uri: first.local_uri.clone(),
            local_tag: first.local_tag.clone(),
            remote_uri: first.remote_uri.clone(),
            remote_target: first.remote_target.clone(),
            invite: first.invite.clone(),
            ..*first
        };
        self.legs.push(second);
        self.up(cx, self.legs.len() - 1, message);
    }
}

fn parse_replaces(text: &str) -> Option<(String, String, String)> {
    let mut parts = text.split("%3B");
    let call_id = parts.next()?.replace("%40", "@");
    let to_tag = parts.next()?.strip_prefix("to-tag%3D")?.to_owned();
    let from_tag = parts.next()?.strip_prefix("from-tag%3D")?.to_owned();
    Some((call_id, to_tag, from_tag))
}
