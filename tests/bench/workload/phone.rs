//! The phones of the site: who they are, and what their maker lets them say.
//! In: a phone's number. Out: its name, address, habits; the counters that it keeps. Knows nothing of calls.

use std::net::{Ipv4Addr, SocketAddrV4};

use offhook::base::Random;

/// Where the proxy, which is the registrar too, listens.
pub const PROXY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 5060);

const NAMES: [&str; 12] =
    ["alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "mallory", "peggy"];

/// What the phones of one maker have in common.
pub struct Model {
    /// `User-Agent`.
    pub agent: &'static str,
    /// `Allow`.
    pub allow: &'static str,
    /// `Supported`.
    pub supported: &'static str,
    /// Further lines of an INVITE.
    pub extra: &'static str,
    /// Payload types with their mappings, the best first.
    pub codecs: &'static [(&'static str, &'static str)],
    /// How Call-IDs are made.
    pub call_id: CallIdForm,
}

/// How Call-IDs are made.
pub enum CallIdForm {
    /// `3848276298220188511@10.0.0.7`
    NumberAtAddress,
    /// `9f1c23ab-5d0e-4f7a-8c11-0d4e7f2a9b10`
    Uuid,
    /// `a1b2c3d4e5f60718`
    Token,
}

const PCMU: (&str, &str) = ("0", "PCMU/8000");
const PCMA: (&str, &str) = ("8", "PCMA/8000");
const G722: (&str, &str) = ("9", "G722/8000");
const G729: (&str, &str) = ("18", "G729/8000");
const OPUS: (&str, &str) = ("111", "opus/48000/2");
const EVENTS: (&str, &str) = ("101", "telephone-event/8000");

/// In turn.
const MODELS: [Model; 4] = [
    Model {
        agent: "Exampletel 300/2.4.1",
        allow: "INVITE, ACK, CANCEL, BYE, OPTIONS, PRACK, UPDATE, INFO, REFER, NOTIFY, SUBSCRIBE, MESSAGE",
        supported: "replaces, timer, 100rel",
        extra: "Session-Expires: 1800\r\nMin-SE: 90\r\n",
        codecs: &[PCMU, PCMA, G722, G729, EVENTS],
        call_id: CallIdForm::NumberAtAddress,
    },
    Model {
        agent: "Sample Phone SP-54G 66.85.0.15 00:00:5e:00:53:1f",
        allow: "INVITE, INFO, PRACK, ACK, BYE, CANCEL, OPTIONS, NOTIFY, REGISTER, SUBSCRIBE, REFER, PUBLISH, UPDATE, MESSAGE",
        supported: "replaces",
        extra: "Allow-Events: talk,hold,conference,refer,check-sync\r\n",
        codecs: &[G722, PCMU, PCMA, EVENTS],
        call_id: CallIdForm::NumberAtAddress,
    },
    Model {
        agent: "softphone/5.2.0 (example; build 1187)",
        allow: "PRACK, INVITE, ACK, BYE, CANCEL, UPDATE, INFO, SUBSCRIBE, NOTIFY, REFER, MESSAGE, OPTIONS",
        supported: "replaces, 100rel, timer, norefersub, outbound, path",
        extra: "Session-Expires: 1800;refresher=uac\r\nMin-SE: 90\r\n",
        codecs: &[OPUS, PCMA, PCMU, EVENTS],
        call_id: CallIdForm::Uuid,
    },
    Model {
        agent: "Beispielfon/10.1.137",
        allow: "INVITE, ACK, CANCEL, BYE, REFER, OPTIONS, NOTIFY, SUBSCRIBE, PRACK, MESSAGE, INFO, UPDATE",
        supported: "timer, 100rel, replaces, from-change",
        extra: "P-Early-Media: supported\r\nAllow-Events: talk, hold, refer, call-info\r\n",
        codecs: &[PCMA, G722, PCMU, G729, EVENTS],
        call_id: CallIdForm::Token,
    },
];

/// One phone.
pub struct Phone {
    /// `alice100017`
    pub name: String,
    /// `Alice 100017`
    pub display_name: String,
    /// Where it listens.
    pub address: SocketAddrV4,
    /// Who made it.
    pub model: &'static Model,
    /// The Call-ID of its registrations.
    pub registration: u64,
}

/// All of them.
pub struct Phones {
    users: u64,
    seed: u64,
    /// Without a common divisor with the number of users: so each has its turn, but neighbours do not follow each other.
    step: u64,
    registered: Vec<u16>,
    free_from_us: Vec<u64>,
}

impl Phones {
    /// So many.
    pub fn new(users: u32, seed: u64) -> Self {
        let count = users as usize;
        let users = u64::from(users.max(1));
        let step = (users * 5 / 8..).find(|&step| step > 0 && divisor(step, users) == 1).unwrap_or(1);
        Self { users, seed, step, registered: vec![0; count], free_from_us: vec![0; count] }
    }

    /// The phone whose turn is the `nth`.
    pub fn nth(&self, nth: u64) -> u32 {
        u32::try_from(nth * self.step % self.users).unwrap_or_default()
    }

    /// What it is.
    pub fn get(&self, index: u32) -> Phone {
        let number = 100_000 + index;
        let name = NAMES[index as usize % NAMES.len()];
        let (first, rest) = name.split_at(1);
        Phone {
            name: format!("{name}{number}"),
            display_name: format!("{}{rest} {number}", first.to_uppercase()),
            address: address(index),
            model: &MODELS[index as usize / NAMES.len() % MODELS.len()],
            registration: Random::new(self.seed ^ u64::from(index) << 20).next(),
        }
    }

    /// Counts its REGISTERs, for CSeq.
    pub fn next_registration(&mut self, index: u32) -> u16 {
        let count = &mut self.registered[index as usize];
        *count = count.wrapping_add(1);
        *count
    }

    /// It is in no call.
    pub fn is_free(&self, index: u32, at_us: u64) -> bool {
        self.free_from_us[index as usize] <= at_us
    }

    /// It is in a call till then.
    pub fn occupy(&mut self, index: u32, until_us: u64) {
        self.free_from_us[index as usize] = until_us;
    }
}

/// Where a phone listens. Private addresses, since the ranges for documentation and for benchmarks are smaller than a site of
/// a million phones.
pub fn address(index: u32) -> SocketAddrV4 {
    SocketAddrV4::new(Ipv4Addr::from(0x0a00_0001 + index), 5060)
}

fn divisor(one: u64, other: u64) -> u64 {
    if other == 0 { one } else { divisor(other, one % other) }
}
