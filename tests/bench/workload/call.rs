//! What happens in one registration and in one call, from its first message to its last.
//! In: who, when, and chance. Out: messages with their times. Knows nothing of what else happens.
//! RFC 3261; RFC 3311 (UPDATE) and RFC 4028 for refreshes; RFC 5359 section 2.1 for hold.

use std::ops::Range;

use offhook::base::Random;

use super::message::{Body, Dialog, Leg, Proof, Side, Transaction, Writer, call_id};
use super::phone::Phones;
use super::{Hop, Media, Sent, Talk, below, between};

const SECOND_US: u64 = 1_000_000;
/// From one host to the next.
const ON_THE_WAY_US: Range<u64> = 300..1_500;
/// Until a program answers.
const MACHINE_US: Range<u64> = 400..4_000;
const RINGS_US: Range<u64> = 100_000..400_000;
const PICKED_UP_US: Range<u64> = 2 * SECOND_US..20 * SECOND_US;
const TALKS_US: Range<u64> = 10 * SECOND_US..300 * SECOND_US;
const HELD_US: Range<u64> = 5 * SECOND_US..40 * SECOND_US;
const GIVES_UP_US: Range<u64> = 5 * SECOND_US..25 * SECOND_US;

/// Writes what happens.
pub struct Script<'a> {
    at_us: u64,
    phones: &'a mut Phones,
    writer: &'a mut Writer,
    random: &'a mut Random,
    sent: Vec<Sent>,
}

impl<'a> Script<'a> {
    /// Begins at that time.
    pub fn new(at_us: u64, phones: &'a mut Phones, writer: &'a mut Writer, random: &'a mut Random) -> Self {
        Self { at_us, phones, writer, random, sent: Vec::new() }
    }

    /// What was sent.
    pub fn end(self) -> Vec<Sent> {
        self.sent
    }

    fn wait(&mut self, range: Range<u64>) {
        self.at_us += between(self.random, range);
    }

    fn send(&mut self, hop: Hop, bytes: Vec<u8>) {
        self.sent.push(Sent { at_us: self.at_us, hop, bytes, talk: None });
    }

    /// A REGISTER and its 200; every second is challenged first.
    pub fn register(&mut self, index: u32) {
        let phone = self.phones.get(index);
        let nonce = self.random.next();
        if self.random.next().is_multiple_of(2) {
            let (cseq, branch) = (u32::from(self.phones.next_registration(index)), self.random.next());
            let request = self.writer.register(&phone, cseq, branch, &Proof::Without);
            self.send(Hop::FromPhone(index), request);
            self.wait(MACHINE_US);
            let response = self.writer.register_challenged(&phone, cseq, branch, nonce);
            self.send(Hop::ToPhone(index), response);
            self.wait(MACHINE_US);
        }
        let (cseq, branch) = (u32::from(self.phones.next_registration(index)), self.random.next());
        let request = self.writer.register(&phone, cseq, branch, &Proof::Answer(nonce));
        self.send(Hop::FromPhone(index), request);
        self.wait(MACHINE_US);
        let response = self.writer.registered(&phone, cseq, branch);
        self.send(Hop::ToPhone(index), response);
    }

    /// A call, as calls go.
    pub fn call(&mut self, caller: u32, callee: u32) {
        let mut call = Call::new(self, caller, callee);
        if call.script.random.next().is_multiple_of(2) {
            call.challenged();
        }
        let invite = call.invited();
        match below(call.script.random, 100) {
            0..8 => call.refused(&invite, "486 Busy Here"),
            8..11 => call.refused(&invite, "603 Decline"),
            11..14 => {
                call.rings(&invite);
                call.script.wait(GIVES_UP_US);
                call.refused(&invite, "480 Temporarily Unavailable");
            }
            14..23 => {
                call.rings(&invite);
                call.script.wait(GIVES_UP_US);
                call.cancelled(&invite);
            }
            _ => {
                call.rings(&invite);
                call.script.wait(PICKED_UP_US);
                call.answered(&invite);
                call.talks();
            }
        }
        let until_us = call.script.at_us;
        self.phones.occupy(caller, until_us);
        self.phones.occupy(callee, until_us);
    }

    /// A call that is answered, and then nothing more.
    pub fn call_that_stays(&mut self, caller: u32, callee: u32) {
        let mut call = Call::new(self, caller, callee);
        let invite = call.invited();
        call.rings(&invite);
        call.script.wait(PICKED_UP_US);
        call.answered(&invite);
    }
}

struct Call<'s, 'a> {
    script: &'s mut Script<'a>,
    dialog: Dialog,
    caller: u32,
    callee: u32,
    id: u64,
    cseq: [u32; 2],
}

impl<'s, 'a> Call<'s, 'a> {
    fn new(script: &'s mut Script<'a>, caller: u32, callee: u32) -> Self {
        let random = &mut *script.random;
        let phones = [script.phones.get(caller), script.phones.get(callee)];
        let id = random.next();
        let call_id = call_id(&phones[0], random);
        let tags = [format!("{:010x}", random.next() >> 24), random.token()];
        let mut port = || 16_384 + 2 * u16::try_from(below(random, 8_192)).unwrap_or_default();
        let ports = [port(), port()];
        let first = 1 + u32::try_from(below(random, 30_000)).unwrap_or_default();
        let [from, to] = phones;
        let dialog = Dialog { caller: from, callee: to, call_id, tags, ports, versions: [0; 2] };
        Self { script, dialog, caller, callee, id, cseq: [first, first / 2] }
    }

    /// Where a request of that side is on this leg; responses go the other way.
    fn hop(&self, by: Side, leg: Leg, is_request: bool) -> Hop {
        let (near, far) = match by {
            Side::Caller => (self.caller, self.callee),
            Side::Callee => (self.callee, self.caller),
        };
        match (leg, is_request) {
            (Leg::First, true) => Hop::FromPhone(near),
            (Leg::First, false) => Hop::ToPhone(near),
            (Leg::Second, true) => Hop::ToPhone(far),
            (Leg::Second, false) => Hop::FromPhone(far),
        }
    }

    fn transaction(&mut self, method: &'static str, by: Side, inside: bool) -> Transaction {
        let cseq = &mut self.cseq[by as usize];
        *cseq += 1;
        Transaction { method, cseq: *cseq, branch: self.script.random.next(), by, inside }
    }

    fn request(&mut self, transaction: &Transaction, method: &str, leg: Leg, proof: &Proof, body: &Body) {
        let bytes = self.script.writer.request(&mut self.dialog, transaction, method, leg, proof, body);
        let hop = self.hop(transaction.by, leg, true);
        self.script.send(hop, bytes);
    }

    fn response(&mut self, transaction: &Transaction, status: &str, leg: Leg, body: &Body) {
        let bytes = self.script.writer.response(&mut self.dialog, transaction, status, leg, body);
        let hop = self.hop(transaction.by, leg, false);
        self.script.send(hop, bytes);
    }

    /// A request on both legs.
    fn requested(&mut self, transaction: &Transaction, proof: &Proof, body: &Body) {
        self.request(transaction, transaction.method, Leg::First, proof, body);
        self.script.wait(ON_THE_WAY_US);
        if transaction.method == "INVITE" {
            self.response(transaction, "100 Trying", Leg::First, &Body::Empty);
        }
        self.request(transaction, transaction.method, Leg::Second, proof, body);
    }

    /// A response on both legs.
    fn responded(&mut self, transaction: &Transaction, status: &str, body: &Body) {
        self.response(transaction, status, Leg::Second, body);
        self.script.wait(ON_THE_WAY_US);
        self.response(transaction, status, Leg::First, body);
    }

    /// The ACK to a 2xx, with a branch of its own.
    fn acknowledged(&mut self, invite: &Transaction) {
        let ack = Transaction { method: "ACK", branch: self.script.random.next(), inside: true, ..*invite };
        self.script.wait(MACHINE_US);
        self.requested(&ack, &Proof::Without, &Body::Empty);
    }

    /// The proxy wants credentials first.
    fn challenged(&mut self) {
        let invite = self.transaction("INVITE", Side::Caller, false);
        self.request(&invite, "INVITE", Leg::First, &Proof::Without, &Body::Session("sendrecv"));
        self.script.wait(MACHINE_US);
        self.response(&invite, "407 Proxy Authentication Required", Leg::First, &Body::Empty);
        self.script.wait(MACHINE_US);
        self.request(&invite, "ACK", Leg::First, &Proof::Without, &Body::Empty);
    }

    fn invited(&mut self) -> Transaction {
        let proof = Proof::Answer(self.script.random.next());
        let invite = self.transaction("INVITE", Side::Caller, false);
        self.requested(&invite, &proof, &Body::Session("sendrecv"));
        self.script.wait(MACHINE_US);
        invite
    }

    fn rings(&mut self, invite: &Transaction) {
        self.script.wait(RINGS_US);
        self.responded(invite, "180 Ringing", &Body::Empty);
    }

    fn refused(&mut self, invite: &Transaction, status: &str) {
        self.script.wait(RINGS_US);
        self.response(invite, status, Leg::Second, &Body::Empty);
        self.failed(invite, status);
    }

    /// The proxy acknowledges what came, and passes it on.
    fn failed(&mut self, invite: &Transaction, status: &str) {
        self.script.wait(ON_THE_WAY_US);
        self.request(invite, "ACK", Leg::Second, &Proof::Without, &Body::Empty);
        self.response(invite, status, Leg::First, &Body::Empty);
        self.script.wait(MACHINE_US);
        self.request(invite, "ACK", Leg::First, &Proof::Without, &Body::Empty);
    }

    fn cancelled(&mut self, invite: &Transaction) {
        let cancel = Transaction { method: "CANCEL", ..*invite };
        let empty = &Body::Empty;
        self.request(invite, "CANCEL", Leg::First, &Proof::Without, empty);
        self.script.wait(ON_THE_WAY_US);
        self.response(&cancel, "200 canceling", Leg::First, empty);
        self.request(invite, "CANCEL", Leg::Second, &Proof::Without, empty);
        self.script.wait(MACHINE_US);
        self.response(&cancel, "200 OK", Leg::Second, empty);
        let status = "487 Request Terminated";
        self.response(invite, status, Leg::Second, empty);
        self.failed(invite, status);
    }

    fn answered(&mut self, invite: &Transaction) {
        self.response(invite, "200 OK", Leg::Second, &Body::Session("sendrecv"));
        self.script.wait(ON_THE_WAY_US);
        self.response(invite, "200 OK", Leg::First, &Body::Session("sendrecv"));
        let media = Media { call: self.id, phones: [self.caller, self.callee], ports: self.dialog.ports };
        self.marked(Talk::Begins(media));
        self.acknowledged(invite);
    }

    fn marked(&mut self, talk: Talk) {
        if let Some(last) = self.script.sent.last_mut() {
            last.talk = Some(talk);
        }
    }

    fn some_side(&mut self) -> Side {
        if self.script.random.next().is_multiple_of(2) { Side::Caller } else { Side::Callee }
    }

    fn talks(&mut self) {
        self.script.wait(TALKS_US);
        match below(self.script.random, 100) {
            0..8 => {
                let by = self.some_side();
                self.described_anew(by, "sendonly", "recvonly");
                self.script.wait(HELD_US);
                self.described_anew(by, "sendrecv", "sendrecv");
                self.script.wait(TALKS_US);
            }
            8..16 => {
                let update = self.transaction("UPDATE", Side::Caller, true);
                self.requested(&update, &Proof::Without, &Body::Empty);
                self.script.wait(MACHINE_US);
                self.responded(&update, "200 OK", &Body::Empty);
                self.script.wait(TALKS_US);
            }
            _ => {}
        }
        let by = self.some_side();
        let bye = self.transaction("BYE", by, true);
        self.requested(&bye, &Proof::Without, &Body::Empty);
        self.marked(Talk::Ends(self.id));
        self.script.wait(MACHINE_US);
        self.responded(&bye, "200 OK", &Body::Empty);
    }

    /// A re-INVITE: hold, and its end.
    fn described_anew(&mut self, by: Side, offered: &'static str, answered: &'static str) {
        let invite = self.transaction("INVITE", by, true);
        self.dialog.versions[by as usize] += 1;
        self.requested(&invite, &Proof::Without, &Body::Session(offered));
        self.script.wait(MACHINE_US);
        self.dialog.versions[by.other() as usize] += 1;
        self.responded(&invite, "200 OK", &Body::Session(answered));
        self.acknowledged(&invite);
    }
}
