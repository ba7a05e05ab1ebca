//! What people do with their phones: come and go, call, ring, answer, hold, transfer, hang up, pull cables.
//! In: chance, events of their phones. Out: what the phones are to do. Knows nothing of messages, mirrors, taps.

use super::message::Direction;
use super::transactions::T1_US;
use super::truth::{Device, Happening};
use super::ua::{Event, State, Wanted};
use super::world::{GUEST, Happens, SECOND_US, USERS, World, aor};

/// How a called person takes a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Rings, and is taken up.
    Takes,
    /// Is taken up without ringing, as by a headset.
    TakesAtOnce,
    /// Sound comes before it is taken up.
    TakesAfterMusic,
    Busy,
    Declines,
    /// Rings on until the caller gives up.
    Ignores,
}

/// One thing that happens in the middle of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Middle {
    HoldAndResume,
    OldHold,
    /// Both press hold at once.
    BothHold,
    BlindTransfer,
    AttendedTransfer,
}

/// What was meant with one call by whoever made it.
#[derive(Clone, Debug)]
pub struct Call {
    pub answer: Answer,
    pub middle: Option<Middle>,
    /// From the answer to the end.
    pub talk_us: u64,
    pub called_hangs_up: bool,
    /// Both hang up at once.
    pub both_hang_up: bool,
    /// The caller gives up at the very moment at which it is answered.
    pub crosses_us: Option<u64>,
    pub patience_us: u64,
    pub session_s: Option<u32>,
}

#[derive(Clone, Debug)]
pub enum Act {
    Arrive,
    Refresh,
    /// Takes its registration back, and comes again later.
    Leave,
    /// Without a word.
    Vanish,
    Return,
    Ring(usize),
    Music(usize),
    Take(usize),
    Decline(usize),
    GiveUp(usize),
    HangUp(usize),
    Hold(usize, bool),
    Resume(usize),
    Transfer(usize),
    Consult(usize),
    Join(usize, usize),
}

impl World {
    /// What becomes of a phone some time.
    pub fn plan_life(&mut self, device: Device) {
        if device == GUEST {
            return;
        }
        let wait_us = self.between_us(60 * SECOND_US, 600 * SECOND_US);
        let act = match self.random.next() % 3 {
            0 => Act::Leave,
            1 if self.setting.accidents => Act::Vanish,
            _ => return,
        };
        if self.now_us + wait_us < self.setting.calls_until_us {
            self.plan(wait_us, device, act);
        }
    }

    /// Somebody who has nothing to do calls somebody.
    pub fn somebody_calls(&mut self) {
        let device = self.random.next() as usize % self.phones.len();
        let phone = &self.phones[device];
        if !phone.alive || phone.agent.legs.iter().any(super::ua::Leg::is_busy) {
            return;
        }
        // Who is not registered calls seldom; a PBX lets it where it can say who it is.
        if !phone.present && (!self.setting.manner.challenges || !self.chance(30)) {
            return;
        }
        let user = self.phones[device].user;
        let to = match self.random.next() % 12 {
            0 => "sip:team@example.com".to_owned(),
            _ => {
                let other = self.random.next() as usize % USERS.len();
                if other == user {
                    return;
                }
                aor(other)
            }
        };
        let call = self.new_call();
        let wanted = Wanted {
            from: aor(user),
            to,
            uri: None,
            plan: self.calls.len() as u64,
            delayed: self.chance(10),
            session_s: call.session_s,
            by_update: self.chance(50),
            replaces: None,
            direction: Direction::SendRecv,
        };
        self.calls.push(call);
        self.begin(device, &wanted);
    }

    fn begin(&mut self, device: Device, wanted: &Wanted) -> usize {
        let leg = self.with_phone(device, |agent, cx| agent.call(cx, wanted));
        let call = &self.calls[wanted.plan as usize];
        let patience_us = match call.crosses_us {
            Some(at_us) => at_us.saturating_sub(self.now_us),
            None => call.patience_us,
        };
        let jitter_us = if call.crosses_us.is_some() { self.random.next() % 24_000 } else { 0 };
        self.plan(patience_us + jitter_us, device, Act::GiveUp(leg));
        leg
    }

    fn new_call(&mut self) -> Call {
        let answer = match self.random.next() % 20 {
            0 => Answer::Busy,
            1 => Answer::Declines,
            2 | 3 => Answer::Ignores,
            4 => Answer::TakesAtOnce,
            5 => Answer::TakesAfterMusic,
            _ => Answer::Takes,
        };
        let middle = match self.random.next() % 16 {
            0 | 1 => Some(Middle::HoldAndResume),
            2 => Some(Middle::OldHold),
            3 => Some(Middle::BothHold),
            4 => Some(Middle::BlindTransfer),
            5 => Some(Middle::AttendedTransfer),
            _ => None,
        };
        let session_s = self.chance(20).then_some(90);
        let most_s = if session_s.is_some() { 240 } else { 40 };
        let crosses = self.chance(6);
        let ring_us = self.between_us(SECOND_US, 8 * SECOND_US);
        Call {
            answer: if crosses { Answer::Takes } else { answer },
            middle,
            talk_us: self.between_us(4 * SECOND_US, most_s * SECOND_US),
            called_hangs_up: self.chance(50),
            both_hang_up: self.chance(8),
            crosses_us: crosses.then_some(self.now_us + ring_us),
            patience_us: self.between_us(12 * SECOND_US, 40 * SECOND_US),
            session_s,
        }
    }

    pub fn phone_event(&mut self, device: Device, event: Event) {
        match event {
            Event::Registered(status) => self.registered(device, status),
            Event::Incoming(leg) => self.incoming(device, leg),
            Event::Answered(leg) => {
                let known = &self.phones[device].agent.legs[leg];
                self.talk(device, leg, known.plan as usize, false);
            }
            Event::Refer(leg, uri, replaces) => {
                let call = Call { middle: None, crosses_us: None, ..self.new_call() };
                let wanted = Wanted {
                    from: aor(self.phones[device].user),
                    to: uri,
                    uri: None,
                    plan: self.calls.len() as u64,
                    delayed: false,
                    session_s: None,
                    by_update: true,
                    replaces,
                    direction: Direction::SendRecv,
                };
                self.calls.push(call);
                self.with_phone(device, |agent, cx| agent.notify(cx, leg, 100));
                self.begin(device, &wanted);
            }
            // The transferor leaves as soon as it hears that the other one tries.
            Event::Told(leg, _) => {
                self.plan(SECOND_US / 2, device, Act::HangUp(leg));
            }
            Event::Reinvited(leg, 491, _) => {
                let wait_us = self.between_us(4 * T1_US, 8 * T1_US);
                let again = match self.phones[device].agent.legs[leg].on_hold {
                    true => Act::Hold(leg, false),
                    false => Act::Resume(leg),
                };
                self.plan(wait_us, device, again);
            }
            Event::Progress(..)
            | Event::Failed(..)
            | Event::Ended(_)
            | Event::Cancelled(_)
            | Event::Reinvite(..)
            | Event::Reinvited(..) => {}
        }
    }

    fn registered(&mut self, device: Device, status: u16) {
        let phone = &mut self.phones[device];
        let present = phone.present;
        if status == 401 && phone.refusals < 3 {
            phone.refusals += 1;
            let expires_s = if present { phone.asks_s } else { 0 };
            self.with_phone(device, |agent, cx| agent.register(cx, expires_s, false));
            return;
        }
        phone.refusals = 0;
        if present {
            let granted_s = u64::from(phone.asks_s.min(self.setting.manner.granted_s));
            let wait_us = self.between_us(granted_s * SECOND_US / 2, granted_s * SECOND_US * 9 / 10);
            self.plan(wait_us, device, Act::Refresh);
        }
    }

    fn incoming(&mut self, device: Device, leg: usize) {
        let agent = &self.phones[device].agent;
        let call = self.calls[agent.legs[leg].plan as usize].clone();
        let busy = agent.legs.iter().enumerate().any(|(at, known)| at != leg && known.is_busy());
        let answer = match call.answer {
            _ if busy && self.chance(60) => Answer::Busy,
            // Each of several phones that ring decides for itself.
            Answer::Takes if self.chance(15) => Answer::Ignores,
            answer => answer,
        };
        let soon_us = self.between_us(20_000, 200_000);
        let ring_us = match call.crosses_us {
            Some(at_us) => at_us.saturating_sub(self.now_us),
            None => self.between_us(SECOND_US, 9 * SECOND_US),
        };
        match answer {
            Answer::Busy => self.plan(soon_us, device, Act::Decline(leg)),
            Answer::Declines => {
                self.plan(soon_us, device, Act::Ring(leg));
                self.plan(soon_us + ring_us, device, Act::Decline(leg));
            }
            Answer::Ignores => {
                // A phone does not ring for ever.
                self.plan(soon_us, device, Act::Ring(leg));
                self.plan(soon_us + 60 * SECOND_US, device, Act::Decline(leg));
            }
            Answer::TakesAtOnce => self.plan(soon_us, device, Act::Take(leg)),
            Answer::TakesAfterMusic => {
                self.plan(soon_us, device, Act::Music(leg));
                self.plan(soon_us + ring_us, device, Act::Take(leg));
            }
            Answer::Takes => {
                self.plan(soon_us, device, Act::Ring(leg));
                self.plan(ring_us.max(soon_us + 1), device, Act::Take(leg));
            }
        }
    }

    /// The call is up: what will happen in it, and its end.
    fn talk(&mut self, device: Device, leg: usize, call: usize, called: bool) {
        let call = self.calls[call].clone();
        let ours = call.called_hangs_up == called;
        let jitter_us = self.random.next() % 12_000;
        let end_us = match (call.both_hang_up, ours) {
            (true, _) => call.talk_us + jitter_us,
            (false, true) => call.talk_us,
            (false, false) => call.talk_us + 5 * SECOND_US,
        };
        self.plan(end_us, device, Act::HangUp(leg));
        let middle_us = self.between_us(SECOND_US, (call.talk_us / 2).max(SECOND_US + 1));
        let resume_us = middle_us + self.random.next() % (call.talk_us / 2).max(1);
        match call.middle {
            Some(Middle::HoldAndResume | Middle::OldHold) if ours => {
                self.plan(middle_us, device, Act::Hold(leg, call.middle == Some(Middle::OldHold)));
                self.plan(resume_us, device, Act::Resume(leg));
            }
            Some(Middle::BothHold) => {
                self.plan(call.talk_us / 4 + jitter_us, device, Act::Hold(leg, false));
                self.plan(call.talk_us / 4 + jitter_us + resume_us, device, Act::Resume(leg));
            }
            Some(Middle::BlindTransfer) if ours => self.plan(middle_us, device, Act::Transfer(leg)),
            Some(Middle::AttendedTransfer) if ours => {
                self.plan(middle_us, device, Act::Hold(leg, false));
                self.plan(middle_us + SECOND_US / 2, device, Act::Consult(leg));
            }
            _ => {}
        }
    }

    fn somebody_else(&mut self, device: Device, leg: usize) -> String {
        loop {
            let user = self.random.next() as usize % (USERS.len() - 1);
            let known = &self.phones[device].agent.legs[leg];
            if user != self.phones[device].user && known.remote_uri != aor(user) {
                return aor(user);
            }
        }
    }

    pub fn act(&mut self, device: Device, act: Act) {
        match act {
            Act::Arrive => {
                self.phones[device].present = true;
                self.act(device, Act::Refresh);
            }
            Act::Refresh => {
                let phone = &self.phones[device];
                if phone.alive && phone.present {
                    let asks_s = phone.asks_s;
                    self.with_phone(device, |agent, cx| agent.register(cx, asks_s, false));
                }
            }
            Act::Leave => {
                self.phones[device].present = false;
                let star = self.chance(20);
                self.with_phone(device, |agent, cx| agent.register(cx, 0, star));
                let wait_us = self.between_us(10 * SECOND_US, 200 * SECOND_US);
                self.plan(wait_us, device, Act::Arrive);
                self.plan_life(device);
            }
            Act::Vanish => self.vanish(device),
            Act::Return => self.come_back(device),
            Act::Ring(leg) => self.with_phone(device, |agent, cx| agent.ring(cx, leg)),
            Act::Music(leg) => self.with_phone(device, |agent, cx| agent.progress(cx, leg)),
            Act::Take(leg) => {
                let known = &self.phones[device].agent.legs[leg];
                if known.state == State::Incoming {
                    let call = known.plan as usize;
                    self.with_phone(device, |agent, cx| agent.answer(cx, leg));
                    self.talk(device, leg, call, true);
                }
            }
            Act::Decline(leg) => {
                let status = if self.chance(50) { 486 } else { 603 };
                self.with_phone(device, |agent, cx| agent.reject(cx, leg, status));
            }
            Act::GiveUp(leg) => self.with_phone(device, |agent, cx| agent.cancel(cx, leg)),
            Act::HangUp(leg) => self.with_phone(device, |agent, cx| agent.bye(cx, leg)),
            Act::Hold(leg, old) => self.hold(device, leg, true, old),
            Act::Resume(leg) => {
                let old = self.phones[device].agent.legs[leg].old_hold;
                self.hold(device, leg, false, old);
            }
            Act::Transfer(leg) => {
                let target = self.somebody_else(device, leg);
                self.with_phone(device, |agent, cx| agent.refer(cx, leg, &target, None));
            }
            Act::Consult(leg) => self.consult(device, leg),
            Act::Join(first, second) => self.join(device, first, second),
        }
    }

    fn hold(&mut self, device: Device, leg: usize, on: bool, old: bool) {
        let known = &mut self.phones[device].agent.legs[leg];
        if known.state != State::Up {
            return;
        }
        (known.on_hold, known.old_hold) = (on, old);
        if !self.with_phone(device, |agent, cx| agent.reinvite(cx, leg, None)) {
            // Another re-INVITE is under way.
            let wait_us = self.between_us(SECOND_US / 5, SECOND_US);
            let again = if on { Act::Hold(leg, old) } else { Act::Resume(leg) };
            self.plan(wait_us, device, again);
        }
    }

    fn consult(&mut self, device: Device, leg: usize) {
        if self.phones[device].agent.legs[leg].state != State::Up {
            return;
        }
        let to = self.somebody_else(device, leg);
        let call = Call {
            answer: Answer::Takes,
            middle: None,
            crosses_us: None,
            both_hang_up: false,
            talk_us: 60 * SECOND_US,
            ..self.new_call()
        };
        let wanted = Wanted {
            from: aor(self.phones[device].user),
            to,
            uri: None,
            plan: self.calls.len() as u64,
            delayed: false,
            session_s: None,
            by_update: true,
            replaces: None,
            direction: Direction::SendRecv,
        };
        self.calls.push(call);
        let second = self.begin(device, &wanted);
        let wait_us = self.between_us(11 * SECOND_US, 16 * SECOND_US);
        self.plan(wait_us, device, Act::Join(leg, second));
    }

    fn join(&mut self, device: Device, first: usize, second: usize) {
        let legs = &self.phones[device].agent.legs;
        let other = &legs[second];
        if other.state != State::Up || legs[first].state != State::Up {
            return;
        }
        let replaces =
            (other.call_id.clone(), other.remote_tag.clone().unwrap_or_default(), other.local_tag.clone());
        let target = other.remote_uri.clone();
        self.with_phone(device, |agent, cx| agent.refer(cx, first, &target, Some(replaces)));
    }

    // ---- accidents

    /// Power fails. Calls are left as they are: whoever is at the other end hangs up, or the session timer, or in
    /// the end the longest time that a call is believed.
    fn vanish(&mut self, device: Device) {
        let legs = || self.phones[device].agent.legs.iter();
        let halfway = legs().any(|leg| matches!(leg.state, State::Calling | State::Incoming));
        let talking = legs().any(|leg| leg.state == State::Up);
        if halfway || (talking && self.now_us < self.calm_until_us) {
            let wait_us = self.between_us(SECOND_US, 20 * SECOND_US);
            return self.plan(wait_us, device, Act::Vanish);
        }
        if talking {
            // Nobody else's power fails while somebody is still to hang up on this one.
            self.calm_until_us = self.now_us + 330 * SECOND_US;
        }
        let lapses: Vec<(u64, Happening)> = legs()
            .filter(|leg| leg.state == State::Up)
            .map(|leg| {
                let after_s = leg.session_s.map_or(self.setting.cap_s, |interval_s| interval_s + 32);
                let (call_id, tag) = (leg.call_id.clone(), leg.called_tag());
                (leg.refreshed_us + u64::from(after_s) * SECOND_US, Happening::Ended { call_id, tag })
            })
            .collect();
        for (at_us, happening) in lapses {
            self.at(at_us, Happens::Truth(happening));
        }
        let phone = &mut self.phones[device];
        phone.alive = false;
        phone.present = false;
        phone.life += 1;
        phone.agent.forget();
        let wait_us = self.between_us(5 * SECOND_US, 400 * SECOND_US);
        self.plan(wait_us, device, Act::Return);
    }

    fn come_back(&mut self, device: Device) {
        self.phones[device].alive = true;
        if self.chance(40) {
            self.move_phone(device);
        }
        if self.chance(50) {
            self.phones[device].agent.register_call_id.clear();
            self.phones[device].agent.register_cseq = 0;
        }
        self.act(device, Act::Arrive);
        self.plan_life(device);
    }
}
