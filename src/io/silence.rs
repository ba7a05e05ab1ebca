//! Silence, for a phone that was rung and picked up: RTP that says nothing, as phones hang up where nothing comes.
//! In: to whom, in which payload type. Out: packets, every 20 ms. What comes in is left to the system to throw away.
//! Knows nothing of SIP.
//! RFC 3550 section 5.1; payload types 0 and 8 of RFC 3551 section 6.
#![expect(clippy::disallowed_types, reason = "this is where a socket lives")]

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::base::{Random, Timestamp};
use crate::redial::{AskId, MediaCommand};

/// Between two packets.
const PACKET: Duration = Duration::from_millis(20);
/// Samples at 8 kHz in a packet, one byte each.
const SAMPLES: u32 = 160;
/// Of a clock that stood still no more is made up for than this.
const LATEST: Duration = Duration::from_millis(200);
/// PCMA of RFC 3551; all else is taken for PCMU.
const PCMA: u8 = 8;
/// How silence sounds: zero in A-law, and in µ-law.
const PCMA_SILENCE: u8 = 0xd5;
const PCMU_SILENCE: u8 = 0xff;

/// One stream of silence.
struct Stream {
    remote: SocketAddr,
    payload_type: u8,
    sequence: u16,
    timestamp: u32,
    source: u32,
    next_at: Timestamp,
    begun: bool,
}

impl Stream {
    /// The fixed header: version 2, no padding, no extension, no contributing sources; the marker begins a talkspurt.
    fn packet(&mut self) -> Vec<u8> {
        let marker = if self.begun { 0 } else { 0x80 };
        self.begun = true;
        let mut packet = Vec::with_capacity(12 + SAMPLES as usize);
        packet.extend([0x80, marker | (self.payload_type & 0x7f)]);
        packet.extend(self.sequence.to_be_bytes());
        packet.extend(self.timestamp.to_be_bytes());
        packet.extend(self.source.to_be_bytes());
        let silence = if self.payload_type == PCMA { PCMA_SILENCE } else { PCMU_SILENCE };
        packet.resize(packet.len() + SAMPLES as usize, silence);
        self.sequence = self.sequence.wrapping_add(1);
        self.timestamp = self.timestamp.wrapping_add(SAMPLES);
        packet
    }
}

/// All streams. After each `handle…`, drain [`Self::poll_packet`].
pub struct Silence {
    streams: BTreeMap<AskId, Stream>,
    packets: VecDeque<(SocketAddr, Vec<u8>)>,
    random: Random,
}

impl Silence {
    /// Nobody hears any yet.
    pub fn new(seed: u64) -> Self {
        Self { streams: BTreeMap::new(), packets: VecDeque::new(), random: Random::new(seed) }
    }

    /// Begins or ends a stream; there are never more than there are askings.
    pub fn handle(&mut self, now: Timestamp, command: MediaCommand) {
        match command {
            MediaCommand::Start { id, remote, payload_type } => {
                let [sequence, timestamp, source] = [(); 3].map(|()| self.random.next());
                let stream = Stream {
                    remote,
                    payload_type,
                    sequence: sequence as u16,
                    timestamp: timestamp as u32,
                    source: source as u32,
                    next_at: now,
                    begun: false,
                };
                self.streams.insert(id, stream);
            }
            MediaCommand::Stop { id } => {
                self.streams.remove(&id);
            }
        }
    }

    /// Makes the packets that are due.
    pub fn handle_timeout(&mut self, now: Timestamp) {
        for stream in self.streams.values_mut() {
            if now.since(stream.next_at) > LATEST {
                stream.next_at = now;
            }
            while stream.next_at <= now {
                stream.next_at = stream.next_at.after(PACKET);
                self.packets.push_back((stream.remote, stream.packet()));
            }
        }
    }

    /// When the next packet is due.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.streams.values().map(|stream| stream.next_at).min()
    }

    /// The next packet, and where it goes.
    pub fn poll_packet(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.packets.pop_front()
    }
}

/// The sockets that silence leaves from, one for each kind of address. They are never read: what phones send there waits
/// in the system's small buffer until the end, and all that does not fit is dropped by it.
pub struct SilenceSockets {
    v4: Option<UdpSocket>,
    v6: Option<UdpSocket>,
}

impl SilenceSockets {
    /// At any free ports; `own`: at this address of ours, if there are several of its kind.
    ///
    /// # Errors
    /// There is none at all.
    pub fn open(own: Option<IpAddr>) -> io::Result<Self> {
        let open = |any: IpAddr| {
            let own = own.filter(|own| own.is_ipv4() == any.is_ipv4()).unwrap_or(any);
            let socket = UdpSocket::bind(SocketAddr::new(own, 0))?;
            socket.set_nonblocking(true)?;
            Ok::<_, io::Error>(socket)
        };
        let (v4, v6) = (open(Ipv4Addr::UNSPECIFIED.into()), open(Ipv6Addr::UNSPECIFIED.into()));
        match (v4, v6) {
            (Err(error), Err(_)) => Err(error),
            (v4, v6) => Ok(Self { v4: v4.ok(), v6: v6.ok() }),
        }
    }

    /// Where media arrives that is sent to this address of ours.
    pub fn local_for(&self, own: IpAddr) -> Option<SocketAddr> {
        let port = self.socket(own)?.local_addr().ok()?.port();
        Some(SocketAddr::new(own, port))
    }

    /// Sends a packet; one that cannot be sent is missed by nobody.
    pub fn send(&self, remote: SocketAddr, packet: &[u8]) {
        let _ = self.socket(remote.ip()).map(|socket| socket.send_to(packet, remote));
    }

    fn socket(&self, address: IpAddr) -> Option<&UdpSocket> {
        if address.is_ipv4() { self.v4.as_ref() } else { self.v6.as_ref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_secs(1).after(Duration::from_millis(ms))
    }

    fn packets(silence: &mut Silence, ms: u64) -> Vec<Vec<u8>> {
        silence.handle_timeout(at(ms));
        std::iter::from_fn(|| silence.poll_packet()).map(|(_, packet)| packet).collect()
    }

    fn start(id: u64, payload_type: u8) -> MediaCommand {
        MediaCommand::Start { id: AskId(id), remote: "192.0.2.11:4000".parse().unwrap(), payload_type }
    }

    #[test]
    fn a_packet_of_silence_is_sent_every_20_ms_until_it_is_stopped() {
        let mut silence = Silence::new(1);
        assert_eq!(silence.poll_timeout(), None);
        silence.handle(at(0), start(1, 0));
        let first = packets(&mut silence, 0);
        assert_eq!(silence.poll_timeout(), Some(at(20)));
        let more = packets(&mut silence, 40);
        assert_eq!((first.len(), more.len()), (1, 2));
        let (first, next) = (&first[0], &more[0]);
        assert_eq!(
            (first.len(), first[0], first[1], next[1]),
            (172, 0x80, 0x80, 0),
            "marked at the beginning"
        );
        let number = |packet: &[u8]| u16::from_be_bytes([packet[2], packet[3]]);
        let time = |packet: &[u8]| u32::from_be_bytes([packet[4], packet[5], packet[6], packet[7]]);
        assert_eq!(number(next), number(first).wrapping_add(1));
        assert_eq!(time(next), time(first).wrapping_add(160));
        assert_eq!(first[8..12], next[8..12], "one source");
        assert!(first[12..].iter().all(|&byte| byte == 0xff));
        silence.handle(at(41), MediaCommand::Stop { id: AskId(1) });
        assert!(packets(&mut silence, 1_000).is_empty());
        assert_eq!(silence.poll_timeout(), None);
    }

    #[test]
    fn a_law_has_another_silence_and_a_late_clock_makes_no_flood() {
        let mut silence = Silence::new(1);
        silence.handle(at(0), start(1, 8));
        assert!(packets(&mut silence, 0)[0][12..].iter().all(|&byte| byte == 0xd5));
        assert_eq!(packets(&mut silence, 60_000).len(), 1);
    }

    #[test]
    fn silence_arrives_and_what_comes_back_does_no_harm() {
        let sockets = SilenceSockets::open(None).unwrap();
        let ours = sockets.local_for(Ipv4Addr::LOCALHOST.into()).unwrap();
        let phone = UdpSocket::bind("127.0.0.1:0").unwrap();
        phone.send_to(&[0x80; 172], ours).unwrap();
        sockets.send(phone.local_addr().unwrap(), &[0x80; 172]);
        let (length, from) = phone.recv_from(&mut [0; 200]).unwrap();
        assert_eq!((length, from), (172, ours));
    }
}
