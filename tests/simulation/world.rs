//! The phones' own world: a PBX, phones, the network between them, and time. It knows nothing of who listens.
//! In: a seed and a manner. Out: all messages that were sent, and the truth. Knows nothing of mirrors, taps.
//! All that is sent passes the mirror's switch; what the network loses, it loses after it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use offhook::base::Random;

use super::message::Message;
use super::pbx::{Manner, Pbx};
use super::people::{Act, Call};
use super::transactions::{Out, Wake};
use super::truth::{Device, Truth};
use super::ua::{Agent, Context, Event};
use crate::support::ladder::{Carrier, START_US};
use crate::support::wire::WireMessage;

pub const SECOND_US: u64 = 1_000_000;
/// A packet of somebody's sound.
pub const SOUND: [u8; 32] = [0x80; 32];

/// The users; the last of them never registers.
pub const USERS: [&str; 7] = ["alice", "bob", "carol", "dave", "erin", "frank", "guest"];
/// Whose each phone is: two have two.
const OWNERS: [usize; 9] = [0, 0, 1, 1, 2, 3, 4, 5, 6];
/// The phone of who never registers.
pub const GUEST: Device = 8;

pub fn aor(user: usize) -> String {
    format!("sip:{}@example.com", USERS[user])
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Proxy,
    B2bua,
}

/// What kind of world it is.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub shape: Shape,
    pub manner: Manner,
    /// Of a thousand UDP messages the network loses so many, and phones send them again.
    pub lost_per_mille: u64,
    /// Some phones speak TCP.
    pub some_tcp: bool,
    /// Power fails, cables are pulled.
    pub accidents: bool,
    /// Mean time between two attempts at a call.
    pub between_calls_us: u64,
    /// Until then people call.
    pub calls_until_us: u64,
    pub end_us: u64,
    /// Of the sound of each call in each direction there is a packet in so long.
    pub sound_every_us: Option<u64>,
    /// After so long a dialog without a sign of life is no longer believed (`dialog_cap_s`).
    pub cap_s: u32,
}

pub struct Phone {
    pub agent: Agent,
    pub user: usize,
    pub alive: bool,
    /// Counts its lives: what was planned in an earlier one is not done.
    pub life: u32,
    /// It wants to be registered.
    pub present: bool,
    pub asks_s: u32,
    pub refusals: u32,
}

pub(super) enum Happens {
    Arrives { to: SocketAddr, from: SocketAddr, message: Box<Message> },
    PhoneWakes { device: Device, life: u32, wake: Wake },
    PbxWakes(Wake),
    Person { device: Device, life: u32, act: Act },
    Truth(super::truth::Happening),
    Tick,
    Sound,
}

pub struct World {
    pub setting: Setting,
    pub now_us: u64,
    pub random: Random,
    pub phones: Vec<Phone>,
    pub calls: Vec<Call>,
    pub truth: Truth,
    /// Messages as they were sent, in order.
    pub sent: Vec<WireMessage>,
    /// Nobody else has an accident before.
    pub calm_until_us: u64,
    pbx: Pbx,
    pub pbx_address: SocketAddr,
    device_at: BTreeMap<SocketAddr, Device>,
    queue: BTreeMap<(u64, u64), Happens>,
    queued: u64,
    /// Where who sends from that address takes the sound of a call.
    sound_at: BTreeMap<(String, IpAddr), SocketAddr>,
    /// Nothing overtakes on one way.
    ways: BTreeMap<(SocketAddr, SocketAddr), u64>,
}

fn address(last: u8, port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)), port)
}

impl World {
    pub fn new(seed: u64, setting: Setting) -> Self {
        let mut random = Random::new(seed ^ 0x5eed);
        let pbx_address = address(1, 5_060);
        let users = USERS.iter().map(|user| (*user).to_owned()).collect();
        let pbx = match setting.shape {
            Shape::Proxy => Pbx::proxy(pbx_address, users, setting.manner),
            Shape::B2bua => Pbx::b2bua(pbx_address, users, setting.manner),
        };
        let mut device_at = BTreeMap::new();
        let phones: Vec<Phone> = OWNERS
            .iter()
            .enumerate()
            .map(|(device, &user)| {
                let at = address(11 + device as u8, 5_060);
                device_at.insert(at, device);
                let tcp = setting.some_tcp && random.next().is_multiple_of(4);
                let mut agent = Agent::new(at, tcp, USERS[user], Some(device));
                agent.outbound = Some(pbx_address);
                let asks_s = [120, 300, 3_600][random.next() as usize % 3];
                Phone { agent, user, alive: true, life: 0, present: false, asks_s, refusals: 0 }
            })
            .collect();
        let truth = Truth::new(OWNERS.to_vec(), USERS.len());
        let mut world = Self {
            setting,
            now_us: 0,
            random,
            phones,
            calls: Vec::new(),
            truth,
            sent: Vec::new(),
            calm_until_us: 0,
            pbx,
            pbx_address,
            device_at,
            queue: BTreeMap::new(),
            queued: 0,
            sound_at: BTreeMap::new(),
            ways: BTreeMap::new(),
        };
        for device in 0..world.phones.len() {
            if device != GUEST {
                let at_us = world.random.next() % (20 * SECOND_US);
                world.plan(at_us, device, Act::Arrive);
            }
            world.plan_life(device);
        }
        world.later(0, Happens::Tick);
        if setting.sound_every_us.is_some() {
            world.later(0, Happens::Sound);
        }
        world
    }

    pub(super) fn later(&mut self, delay_us: u64, happens: Happens) {
        self.at(self.now_us + delay_us, happens);
    }

    pub(super) fn at(&mut self, at_us: u64, happens: Happens) {
        self.queued += 1;
        self.queue.insert((at_us.max(self.now_us), self.queued), happens);
    }

    /// Somebody will do this then, unless the phone's power fails before.
    pub fn plan(&mut self, delay_us: u64, device: Device, act: Act) {
        let life = self.phones[device].life;
        self.later(delay_us, Happens::Person { device, life, act });
    }

    pub fn between_us(&mut self, least_us: u64, most_us: u64) -> u64 {
        least_us + self.random.next() % (most_us - least_us + 1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.random.next() % 100 < percent
    }

    /// Lets everything happen.
    pub fn run(&mut self) {
        while let Some((&key, _)) = self.queue.first_key_value() {
            if key.0 > self.setting.end_us {
                break;
            }
            self.now_us = key.0;
            if let Some(happens) = self.queue.remove(&key) {
                self.happen(happens);
            }
        }
    }

    fn happen(&mut self, happens: Happens) {
        match happens {
            Happens::Tick => {
                self.somebody_calls();
                if self.now_us < self.setting.calls_until_us {
                    let mean_us = self.setting.between_calls_us;
                    let wait_us = self.between_us(mean_us / 4, mean_us * 7 / 4);
                    self.later(wait_us, Happens::Tick);
                }
            }
            Happens::Sound => self.sound(),
            Happens::Truth(happening) => self.truth.happen(self.now_us, happening),
            Happens::Person { device, life, act } => {
                if self.phones[device].life == life {
                    self.act(device, act);
                }
            }
            Happens::PhoneWakes { device, life, wake } => {
                if self.phones[device].life == life && self.phones[device].alive {
                    self.with_phone(device, |agent, cx| agent.wake(cx, &wake));
                }
            }
            Happens::PbxWakes(wake) => {
                self.with_pbx(|pbx, cx, device_at| pbx.wake(cx, &wake, device_at));
            }
            Happens::Arrives { to, from, mut message } => {
                if message.is_request()
                    && let Some(via) = message.vias.first_mut()
                {
                    via.seen_from = Some(from);
                }
                if to == self.pbx_address {
                    self.with_pbx(|pbx, cx, device_at| pbx.handle(cx, *message, from, device_at));
                } else if let Some(&device) = self.device_at.get(&to)
                    && self.phones[device].alive
                    && self.phones[device].agent.address == to
                {
                    self.with_phone(device, |agent, cx| agent.handle(cx, *message, from));
                }
            }
        }
    }

    /// A phone does something; what comes of it happens.
    pub fn with_phone<T>(
        &mut self,
        device: Device,
        act: impl FnOnce(&mut Agent, &mut Context<'_>) -> T,
    ) -> T {
        let (mut out, mut events) = (Vec::new(), Vec::new());
        let phone = &mut self.phones[device];
        let mut cx =
            Context { now_us: self.now_us, random: &mut self.random, out: &mut out, events: &mut events };
        let result = act(&mut phone.agent, &mut cx);
        let (from, life) = (phone.agent.address, phone.life);
        for out in out {
            match out {
                Out::Send { to, message } => self.send(from, to, message),
                Out::Wake { at_us, wake } => self.at(at_us, Happens::PhoneWakes { device, life, wake }),
                Out::Truth(happening) => self.truth.happen(self.now_us, happening),
            }
        }
        for event in events {
            self.phone_event(device, event);
        }
        result
    }

    fn with_pbx(&mut self, act: impl FnOnce(&mut Pbx, &mut Context<'_>, &BTreeMap<SocketAddr, Device>)) {
        let (mut out, mut events): (Vec<Out>, Vec<Event>) = (Vec::new(), Vec::new());
        let mut cx =
            Context { now_us: self.now_us, random: &mut self.random, out: &mut out, events: &mut events };
        act(&mut self.pbx, &mut cx, &self.device_at);
        for out in out {
            match out {
                Out::Send { to, message } => self.send(self.pbx_address, to, message),
                Out::Wake { at_us, wake } => self.at(at_us, Happens::PbxWakes(wake)),
                Out::Truth(happening) => self.truth.happen(self.now_us, happening),
            }
        }
    }

    /// Whoever speaks in a call sends a packet of it.
    fn sound(&mut self) {
        let alive = self.phones.iter().filter(|phone| phone.alive).map(|phone| &phone.agent);
        let mut packets = Vec::new();
        for agent in alive.chain(self.pbx.agent()) {
            let own = agent.address.ip();
            for leg in agent.legs.iter().filter(|leg| leg.speaks()) {
                let mut ends =
                    self.sound_at.range((leg.call_id.clone(), IpAddr::V4(Ipv4Addr::UNSPECIFIED))..);
                let mut ends = ends.by_ref().take_while(|((call_id, _), _)| *call_id == leg.call_id);
                let to = ends.find_map(|((_, ip), &at)| (*ip != own).then_some(at));
                let from = self.sound_at.get(&(leg.call_id.clone(), own)).copied();
                packets.extend(from.zip(to));
            }
        }
        for (from, to) in packets {
            let at_us = START_US + self.now_us;
            self.sent.push(WireMessage::new(at_us, from, to, Carrier::Udp, SOUND.to_vec()));
        }
        if let Some(every_us) = self.setting.sound_every_us {
            self.later(every_us, Happens::Sound);
        }
    }

    /// A phone comes back at another port.
    pub fn move_phone(&mut self, device: Device) {
        let old = self.phones[device].agent.address;
        let new = SocketAddr::new(old.ip(), old.port() + 2);
        self.phones[device].agent.address = new;
        self.device_at.insert(new, device);
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, message: Message) {
        let tcp = message.vias.first().is_some_and(|via| via.tcp);
        if let Some(sdp) = message.sdp.as_ref().filter(|_| self.setting.sound_every_us.is_some()) {
            self.sound_at.insert((message.call_id.clone(), sdp.address.ip()), sdp.media_address());
        }
        let carrier = if tcp { Carrier::Tcp } else { Carrier::Udp };
        self.sent.push(WireMessage::new(START_US + self.now_us, from, to, carrier, message.bytes()));
        if !tcp && self.random.next() % 1_000 < self.setting.lost_per_mille {
            return;
        }
        let latency_us = 1_000 + self.random.next() % 7_000;
        let arrives_us = self.ways.entry((from, to)).or_default();
        *arrives_us = (*arrives_us + 1).max(self.now_us + latency_us);
        let at_us = *arrives_us;
        self.at(at_us, Happens::Arrives { to, from, message: Box::new(message) });
    }
}
