//! An hour, or more, of a made-up site's SIP, as a mirror port beside its proxy shows it: as large as asked for, the same bytes for the
//! same seed.
//! In: [`Workload`]. Out: a pcap file, and what is in it. Knows nothing of who reads it.
//!
//! Phones register, half of them challenged; they refresh; they call each other through the proxy, seen on both hops.
//! Starts are spread over the hour, so that many calls are open at once. The mix of messages is the same for any number of
//! users, as long as there are [`MESSAGES_PER_USER`] for each.

mod call;
mod message;
mod phone;
mod wire;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::{self, Write};
use std::ops::Range;

use offhook::base::Random;

use call::Script;
use message::Writer;
use phone::Phones;
use wire::Wire;

/// With so many, each user registers, and every second refreshes.
pub const MESSAGES_PER_USER: u64 = 10;

/// Eight o'clock of 2026-11-22, UTC.
const BEGIN_US: u64 = 1_795_334_400_000_000;
const HOUR_US: u64 = 3_600_000_000;
/// RTP packets for each SIP message: four packets in five are RTP.
pub const RTP_PER_MESSAGE: u64 = 4;
/// Of what begins, so many in a thousand are calls; the rest are registrations.
const CALLS_PER_THOUSAND: u64 = 162;
/// Messages of one beginning, on average: a registration has 3, a call about 18.
const MESSAGES_PER_START: u64 = 5;
/// So often somebody is looked for who is free, before nobody calls.
const TRIES: u32 = 16;

/// What kind of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// SIP over UDP.
    Udp,
    /// The same, and four RTP packets for each SIP message.
    UdpAndRtp,
    /// The same as over UDP; when there are enough messages nothing more begins, and all calls come to their end.
    Ended,
    /// The same as over UDP, over TCP: a connection for each phone, acknowledgements, messages cut over two segments.
    Tcp,
    /// Every user registers, then so many calls begin and stay. Over UDP.
    Open {
        /// Calls that stay.
        dialogs: u64,
    },
}

/// What to write.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// What kind of traffic.
    pub kind: Kind,
    /// Phones that there are, one for each user.
    pub users: u32,
    /// SIP messages of each hour; without meaning for [`Kind::Open`].
    pub messages: u64,
    /// After so many hours' messages it ends wherever it is: the same users, other calls; without meaning for
    /// [`Kind::Open`].
    pub hours: u64,
    /// Another seed, other bytes.
    pub seed: u64,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// All frames.
    pub frames: u64,
    /// SIP messages.
    pub messages: u64,
    /// Bytes of the frames that carry SIP.
    pub sip_bytes: u64,
    /// RTP packets.
    pub rtp: u64,
    /// Users that registered.
    pub registered: u64,
    /// Calls that began.
    pub calls: u64,
    /// Most calls in which people talked at the same time.
    pub most_talking: u64,
}

/// One message on its way over one hop.
struct Sent {
    at_us: u64,
    hop: Hop,
    bytes: Vec<u8>,
    /// What begins or ends with it.
    talk: Option<Talk>,
}

/// Between whom a message passes.
#[derive(Clone, Copy, Debug)]
enum Hop {
    FromPhone(u32),
    ToPhone(u32),
}

#[derive(Clone, Copy)]
enum Talk {
    Begins(Media),
    Ends(u64),
}

/// The two ends of an RTP session.
#[derive(Clone, Copy)]
struct Media {
    call: u64,
    phones: [u32; 2],
    ports: [u16; 2],
}

/// The heap's order: time, then who came first.
struct Due(u64, u64, Sent);

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

impl Workload {
    /// Writes it.
    ///
    /// # Errors
    /// What the writer says.
    pub fn write(self, out: impl Write) -> io::Result<Written> {
        let transport = match self.kind {
            Kind::Tcp => offhook::base::Transport::Tcp,
            _ => offhook::base::Transport::Udp,
        };
        let mut hour = Hour {
            workload: self,
            random: Random::new(self.seed),
            phones: Phones::new(self.users, self.seed),
            writer: Writer::new(transport),
            wire: Wire::begin(out, transport, self.seed)?,
            due: BinaryHeap::new(),
            serial: 0,
            talking: Vec::new(),
            last_us: BEGIN_US,
            registrations: 0,
            written: Written::default(),
        };
        match self.kind {
            Kind::Open { dialogs } => hour.open(dialogs)?,
            Kind::Ended => {
                hour.pass()?;
                hour.pass_before(u64::MAX)?;
            }
            Kind::Udp | Kind::UdpAndRtp | Kind::Tcp => hour.pass()?,
        }
        hour.wire.end()?;
        let registered = hour.registrations.min(u64::from(self.users));
        Ok(Written { registered, frames: hour.wire.frames(), ..hour.written })
    }
}

struct Hour<W> {
    workload: Workload,
    random: Random,
    phones: Phones,
    writer: Writer,
    wire: Wire<W>,
    due: BinaryHeap<Reverse<Due>>,
    serial: u64,
    talking: Vec<Media>,
    last_us: u64,
    /// Registrations begun, refreshes among them.
    registrations: u64,
    written: Written,
}

impl<W: Write> Hour<W> {
    fn pass(&mut self) -> io::Result<()> {
        let starts = (self.workload.messages / MESSAGES_PER_START).max(1);
        let interval_us = HOUR_US / starts;
        let mut next_us = BEGIN_US;
        while self.written.messages < self.workload.messages * self.workload.hours {
            while self.due.peek().is_none_or(|due| due.0.0 >= next_us) {
                let is_call = below(&mut self.random, 1_000) < CALLS_PER_THOUSAND;
                if !(is_call && self.call(next_us)) {
                    self.register(next_us);
                }
                next_us += between(&mut self.random, interval_us / 2..interval_us * 3 / 2 + 1);
            }
            self.pass_next()?;
        }
        Ok(())
    }

    /// Everybody registers in the first half of the hour, and calls in the second.
    fn open(&mut self, dialogs: u64) -> io::Result<()> {
        let users = u64::from(self.workload.users);
        for number in 0..users {
            self.pass_before(BEGIN_US + HOUR_US / 2 * number / users)?;
            self.register(BEGIN_US + HOUR_US / 2 * number / users);
        }
        for number in 0..dialogs {
            let at_us = BEGIN_US + HOUR_US / 2 + HOUR_US / 2 * number / dialogs;
            self.pass_before(at_us)?;
            let caller = self.phones.nth(number % users);
            let callee = self.phones.nth((number + 1 + number / users) % users);
            let mut script = Script::new(at_us, &mut self.phones, &mut self.writer, &mut self.random);
            script.call_that_stays(caller, callee);
            let sent = script.end();
            self.written.calls += 1;
            self.push(sent);
        }
        self.pass_before(u64::MAX)
    }

    fn register(&mut self, at_us: u64) {
        let user = self.phones.nth(self.registrations % u64::from(self.workload.users));
        self.registrations += 1;
        let mut script = Script::new(at_us, &mut self.phones, &mut self.writer, &mut self.random);
        script.register(user);
        let sent = script.end();
        self.push(sent);
    }

    /// Somebody who has registered and is free calls somebody who has registered. Nobody does if nobody is found.
    fn call(&mut self, at_us: u64) -> bool {
        // Whoever registers last may not have been accepted yet.
        let known = self.registrations.min(u64::from(self.workload.users)).saturating_sub(8);
        if known < 2 {
            return false;
        }
        let mut free = || {
            (0..TRIES)
                .map(|_| self.phones.nth(below(&mut self.random, known)))
                .find(|&phone| self.phones.is_free(phone, at_us))
        };
        let (Some(caller), Some(callee)) = (free(), free()) else { return false };
        if caller == callee {
            return false;
        }
        self.written.calls += 1;
        let mut script = Script::new(at_us, &mut self.phones, &mut self.writer, &mut self.random);
        script.call(caller, callee);
        let sent = script.end();
        self.push(sent);
        true
    }

    fn push(&mut self, sent: Vec<Sent>) {
        for one in sent {
            self.serial += 1;
            self.due.push(Reverse(Due(one.at_us, self.serial, one)));
        }
    }

    fn pass_before(&mut self, at_us: u64) -> io::Result<()> {
        while self.due.peek().is_some_and(|due| due.0.0 < at_us) {
            self.pass_next()?;
        }
        Ok(())
    }

    fn pass_next(&mut self) -> io::Result<()> {
        let Some(Reverse(Due(at_us, _, sent))) = self.due.pop() else { return Ok(()) };
        if self.workload.kind == Kind::UdpAndRtp {
            self.rtp_until(at_us)?;
        }
        self.last_us = at_us;
        self.written.messages += 1;
        self.written.sip_bytes += self.wire.message(at_us, sent.hop, &sent.bytes)?;
        match sent.talk {
            Some(Talk::Begins(media)) => self.talking.push(media),
            Some(Talk::Ends(call)) => self.talking.retain(|media| media.call != call),
            None => {}
        }
        self.written.most_talking = self.written.most_talking.max(self.talking.len() as u64);
        Ok(())
    }

    /// What is talked between the last message and this one. What was left out while nobody talked is made up for.
    fn rtp_until(&mut self, at_us: u64) -> io::Result<()> {
        if self.talking.is_empty() {
            return Ok(());
        }
        let wanted = (RTP_PER_MESSAGE * (self.written.messages + 1)).saturating_sub(self.written.rtp);
        for number in 0..wanted {
            let turn = self.written.rtp;
            let media = self.talking[(turn / 2 % self.talking.len() as u64) as usize];
            let between_us = (at_us - self.last_us) * (number + 1) / (wanted + 1);
            self.wire.rtp(self.last_us + between_us, &media, (turn % 2) as usize, turn)?;
            self.written.rtp += 1;
        }
        Ok(())
    }
}

/// A number below `bound`.
fn below(random: &mut Random, bound: u64) -> u64 {
    random.next() % bound
}

/// A number in the range.
fn between(random: &mut Random, range: Range<u64>) -> u64 {
    range.start + below(random, range.end - range.start)
}
