//! Messages and media as frames of a capture file: Ethernet, IPv4, UDP or TCP (RFC 791, 768, 9293, 3550), pcap with microseconds.
//! In: who sends what to whom, in the order of time. Out: bytes. Knows nothing of SIP.

use std::collections::HashMap;
use std::io::{self, Write};
use std::net::SocketAddrV4;

use etherparse::PacketBuilder;
use offhook::base::{Random, Transport};

use super::phone::{self, PROXY};
use super::{Hop, Media};

const SNAPSHOT_BYTES: u32 = 262_144;
const ETHERNET: u32 = 1;
const TIME_TO_LIVE: u8 = 64;
const WINDOW: u16 = 64_240;
const LONGEST_SEGMENT: usize = 1_448;
/// So many in a hundred messages are cut in two, wherever it happens.
const CUT_PER_HUNDRED: u64 = 10;
/// 20 ms of G.711.
const PAYLOAD: [u8; 160] = [0xd5; 160];

/// Writes frames.
pub struct Wire<W> {
    out: W,
    transport: Transport,
    random: Random,
    /// By phone: the next sequence numbers of the phone and of the proxy.
    connections: HashMap<u32, [u32; 2]>,
    now_us: u64,
    frames: u64,
    frame: Vec<u8>,
}

enum Flags {
    Syn,
    SynAck,
    Ack,
    Push,
}

impl<W: Write> Wire<W> {
    /// Writes the head of the file.
    ///
    /// # Errors
    /// What the writer says.
    pub fn begin(mut out: W, transport: Transport, seed: u64) -> io::Result<Self> {
        out.write_all(&0xa1b2_c3d4_u32.to_le_bytes())?;
        out.write_all(&2_u16.to_le_bytes())?;
        out.write_all(&4_u16.to_le_bytes())?;
        out.write_all(&[0; 8])?; // time zone and accuracy: always 0
        out.write_all(&SNAPSHOT_BYTES.to_le_bytes())?;
        out.write_all(&ETHERNET.to_le_bytes())?;
        let random = Random::new(!seed);
        let connections = HashMap::new();
        Ok(Self { out, transport, random, connections, now_us: 0, frames: 0, frame: Vec::new() })
    }

    /// Frames so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// All is written.
    ///
    /// # Errors
    /// What the writer says.
    pub fn end(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// A message; gives the bytes of the frames that carry it.
    ///
    /// # Errors
    /// What the writer says.
    pub fn message(&mut self, at_us: u64, hop: Hop, bytes: &[u8]) -> io::Result<u64> {
        self.now_us = self.now_us.max(at_us);
        match self.transport {
            Transport::Udp => {
                let (from, to) = match hop {
                    Hop::FromPhone(phone) => (phone::address(phone), PROXY),
                    Hop::ToPhone(phone) => (PROXY, phone::address(phone)),
                };
                self.udp(from, to, bytes)
            }
            Transport::Tcp | Transport::Tls => self.tcp(hop, bytes),
        }
    }

    /// One RTP packet of that end.
    ///
    /// # Errors
    /// What the writer says.
    pub fn rtp(&mut self, at_us: u64, media: &Media, end: usize, number: u64) -> io::Result<()> {
        self.now_us = self.now_us.max(at_us);
        let mut packet = [0; 12 + PAYLOAD.len()];
        packet[..2].copy_from_slice(&[0x80, 8]); // version 2, PCMA
        packet[2..4].copy_from_slice(&(number as u16).to_be_bytes());
        packet[4..8].copy_from_slice(&((number * 160) as u32).to_be_bytes());
        packet[8..12].copy_from_slice(&((media.call as u32) ^ end as u32).to_be_bytes());
        packet[12..].copy_from_slice(&PAYLOAD);
        let address =
            |end: usize| SocketAddrV4::new(*phone::address(media.phones[end]).ip(), media.ports[end]);
        self.udp(address(end), address(1 - end), &packet).map(drop)
    }

    fn udp(&mut self, from: SocketAddrV4, to: SocketAddrV4, payload: &[u8]) -> io::Result<u64> {
        let packet = PacketBuilder::ethernet2(mac(from), mac(to))
            .ipv4(from.ip().octets(), to.ip().octets(), TIME_TO_LIVE)
            .udp(from.port(), to.port());
        self.frame.clear();
        packet.write(&mut self.frame, payload).map_err(io::Error::other)?;
        self.record()
    }

    fn tcp(&mut self, hop: Hop, message: &[u8]) -> io::Result<u64> {
        let (phone, end) = match hop {
            Hop::FromPhone(phone) => (phone, 0),
            Hop::ToPhone(phone) => (phone, 1),
        };
        if !self.connections.contains_key(&phone) {
            let next = [self.random.next() as u32, self.random.next() as u32];
            self.connections.insert(phone, next);
            for (end, flags) in [(0, Flags::Syn), (1, Flags::SynAck), (0, Flags::Ack)] {
                self.segment(phone, end, flags, &[])?;
            }
        }
        let cut = self.random.next() % 100 < CUT_PER_HUNDRED;
        let longest = if cut {
            1 + self.random.next() as usize % message.len().min(LONGEST_SEGMENT)
        } else {
            LONGEST_SEGMENT
        };
        let (first, rest) = message.split_at(longest.min(message.len()));
        let mut carried = self.segment(phone, end, Flags::Push, first)?;
        for piece in rest.chunks(LONGEST_SEGMENT) {
            carried += self.segment(phone, end, Flags::Push, piece)?;
        }
        self.segment(phone, 1 - end, Flags::Ack, &[])?;
        Ok(carried)
    }

    fn segment(&mut self, phone: u32, end: usize, flags: Flags, payload: &[u8]) -> io::Result<u64> {
        let ends = [phone::address(phone), PROXY];
        let (from, to) = (ends[end], ends[1 - end]);
        let next = self.connections.entry(phone).or_default();
        let (sequence, acknowledged) = (next[end], next[1 - end]);
        let length = match flags {
            Flags::Syn | Flags::SynAck => 1,
            Flags::Ack | Flags::Push => payload.len() as u32,
        };
        next[end] = sequence.wrapping_add(length);
        let packet = PacketBuilder::ethernet2(mac(from), mac(to))
            .ipv4(from.ip().octets(), to.ip().octets(), TIME_TO_LIVE)
            .tcp(from.port(), to.port(), sequence, WINDOW);
        let packet = match flags {
            Flags::Syn => packet.syn(),
            Flags::SynAck => packet.syn().ack(acknowledged),
            Flags::Ack => packet.ack(acknowledged),
            Flags::Push => packet.ack(acknowledged).psh(),
        };
        self.frame.clear();
        packet.write(&mut self.frame, payload).map_err(io::Error::other)?;
        self.now_us += 1;
        self.record()
    }

    fn record(&mut self) -> io::Result<u64> {
        let length = self.frame.len() as u32;
        let mut head = [0; 16];
        let words = [(self.now_us / 1_000_000) as u32, (self.now_us % 1_000_000) as u32, length, length];
        for (place, word) in head.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        self.out.write_all(&head)?;
        self.out.write_all(&self.frame)?;
        self.frames += 1;
        Ok(u64::from(length))
    }
}

/// Of the range for documentation (RFC 7042), with the end of the address: a switch sees a port for each.
fn mac(address: SocketAddrV4) -> [u8; 6] {
    [0, 0, 0x5e, 0, 0x53, address.ip().octets()[3]]
}
