//! What passes the tap's two interfaces, with the kernel's time: causes on the mirror port, PUBLISH requests of both rivals.
//! In: frames. Out: for each cause how long until each rival's PUBLISH. Knows nothing of why anybody publishes.
//! Kamailio's PUBLISH is seen on the mirror, as it leaves the PBX; offhook's as it leaves the tap.

use std::collections::BTreeMap;
use std::time::Duration;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use memchr::memmem;

use crate::ear::Hears;
use crate::speech::user;
use crate::testbed::truth::Lives;
use crate::testbed::{PBX, TAP};
use crate::wire;

/// Who publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rival {
    /// From inside.
    Kamailio,
    /// From the mirror port.
    Offhook,
}

/// What they publish of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The 200 to an INVITE, until both ends' dialogs are confirmed.
    Answered,
    /// A BYE, until they are terminated.
    HungUp,
    /// A REGISTER with credentials of one who was away, until it is open.
    Came,
}

/// A PUBLISH: of whom, of which dialog (none: of presence) in which state.
type Published = (Rival, String, Option<String>, String);

/// When things were first seen, in seconds since the epoch.
#[derive(Default)]
pub struct Heard {
    /// By Call-ID: who calls, who is called, when.
    answered: BTreeMap<String, (String, String, f64)>,
    hung_up: BTreeMap<String, f64>,
    registered: BTreeMap<String, Vec<f64>>,
    published: BTreeMap<Published, Vec<f64>>,
    /// PUBLISH requests of each, repetitions not counted.
    requests: BTreeMap<(Rival, String), u64>,
    /// Messages over TCP that have not come whole: since when, and the bytes.
    streams: BTreeMap<(String, u16, u16), (f64, Vec<u8>)>,
}

impl Hears for Heard {
    fn frame(&mut self, at_s: f64, bytes: &[u8]) {
        let Ok(packet) = LaxSlicedPacket::from_ethernet(bytes) else { return };
        let Some(LaxNetSlice::Ipv4(ip)) = &packet.net else { return };
        let from = ip.header().source_addr().to_string();
        match &packet.transport {
            Some(TransportSlice::Udp(udp)) => self.message(at_s, &from, udp.payload()),
            Some(TransportSlice::Tcp(tcp)) => {
                self.segment(at_s, (from, tcp.source_port(), tcp.destination_port()), tcp.payload());
            }
            _ => {}
        }
    }

    fn add(&mut self, other: Self) {
        self.answered.extend(other.answered);
        self.hung_up.extend(other.hung_up);
        self.registered.extend(other.registered);
        self.published.extend(other.published);
        self.requests.extend(other.requests);
    }
}

impl Heard {
    /// What is too long for a datagram goes over TCP, and may need two segments: it counts from the first.
    fn segment(&mut self, at_s: f64, flow: (String, u16, u16), bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let (began_s, held) = self.streams.entry(flow.clone()).or_insert_with(|| (at_s, Vec::new()));
        if held.is_empty() {
            *began_s = at_s;
        }
        held.extend_from_slice(bytes);
        let (began_s, mut held) = (*began_s, std::mem::take(held));
        while let Some(head) = memmem::find(&held, b"\r\n\r\n") {
            let length = wire::field(&held, b"Content-Length: ").unwrap_or_default();
            let length: usize = String::from_utf8_lossy(length).parse().unwrap_or(0);
            let end = head + 4 + length;
            if held.len() < end {
                break;
            }
            let rest = held.split_off(end);
            self.message(began_s, &flow.0, &held);
            held = rest;
        }
        self.streams.insert(flow, (if held.is_empty() { at_s } else { began_s }, held));
    }

    fn message(&mut self, at_s: f64, from: &str, message: &[u8]) {
        let text = |name: &[u8]| {
            String::from_utf8_lossy(wire::field(message, name).unwrap_or_default()).into_owned()
        };
        let call_id = text(b"Call-ID: ");
        if message.starts_with(b"SIP/2.0 200 ") && text(b"CSeq: ").ends_with(" INVITE") {
            let ends = (user(&text(b"From: ")), user(&text(b"To: ")), at_s);
            self.answered.entry(call_id).or_insert(ends);
        } else if message.starts_with(b"BYE ") {
            self.hung_up.entry(call_id).or_insert(at_s);
        } else if message.starts_with(b"REGISTER ") && !text(b"Authorization: ").is_empty() {
            self.registered.entry(user(&text(b"To: "))).or_default().push(at_s);
        } else if message.starts_with(b"PUBLISH ") {
            let rival = match from {
                PBX => Rival::Kamailio,
                TAP => Rival::Offhook,
                _ => return,
            };
            let times = self.requests.entry((rival, format!("{call_id} {}", text(b"CSeq: ")))).or_default();
            *times += 1;
            if *times == 1 {
                let line = message.split(|&byte| byte == b'\r').next().unwrap_or_default();
                let whom = user(&String::from_utf8_lossy(line));
                self.publish(at_s, rival, &whom, &text(b"Event: "), wire::body(message));
            }
        }
    }

    fn publish(&mut self, at_s: f64, rival: Rival, whom: &str, event: &str, body: &[u8]) {
        let body = String::from_utf8_lossy(body);
        let mut said = Vec::new();
        if event == "presence" {
            let basic = body.split("<basic>").nth(1).and_then(|rest| rest.split('<').next());
            said.extend(basic.map(|basic| (None, basic.to_owned())));
        } else {
            for dialog in body.split("<dialog ").skip(1) {
                let call_id = dialog.split("call-id=\"").nth(1).and_then(|rest| rest.split('"').next());
                let state = dialog.split("<state").nth(1).and_then(|rest| rest.split(['>', '<']).nth(1));
                if let (Some(call_id), Some(state)) = (call_id, state) {
                    said.push((Some(call_id.to_owned()), state.to_ascii_lowercase()));
                }
            }
        }
        for (dialog, state) in said {
            self.published.entry((rival, whom.to_owned(), dialog, state)).or_default().push(at_s);
        }
    }

    /// How many requests one sent.
    pub fn requests(&self, of: Rival) -> usize {
        self.requests.keys().filter(|(rival, _)| *rival == of).count()
    }

    /// From each cause until that time to the first PUBLISH that tells it, where there is one within two seconds.
    pub fn delays(&self, rival: Rival, cause: Cause, truth: &Lives, until_s: f64) -> Vec<Duration> {
        let first = |user: &str, dialog: Option<&String>, state: &str, since_s: f64| {
            let times = self.published.get(&(rival, user.to_owned(), dialog.cloned(), state.to_owned()))?;
            if since_s > until_s {
                return None;
            }
            let at_s = times.iter().copied().find(|&at_s| at_s >= since_s)?;
            (at_s - since_s < 2.0).then(|| Duration::from_secs_f64(at_s - since_s))
        };
        let mut delays = Vec::new();
        match cause {
            Cause::Answered | Cause::HungUp => {
                for (call_id, (caller, called, answered_s)) in &self.answered {
                    let (since_s, state) = match (cause, self.hung_up.get(call_id)) {
                        (Cause::Answered, _) => (*answered_s, "confirmed"),
                        (_, Some(at_s)) => (*at_s, "terminated"),
                        (_, None) => continue,
                    };
                    for user in [caller, called] {
                        delays.extend(first(user, Some(call_id), state, since_s));
                    }
                }
            }
            Cause::Came => {
                for (user, life) in truth {
                    let mut was_here = false;
                    for moment in life {
                        let comes = moment.status.online && !was_here;
                        was_here = moment.status.online;
                        let asked = self.registered.get(user).map_or(&[][..], Vec::as_slice).iter();
                        let asked_s = asked.copied().rfind(|&at_s| at_s <= moment.at_s);
                        if let Some(asked_s) = asked_s.filter(|_| comes) {
                            delays.extend(first(user, None, "open", asked_s));
                        }
                    }
                }
            }
        }
        delays
    }
}
