//! The session that a recalled phone is offered: audio in G.711, and silence from us.
//! In: where our media is, the phone's session descriptions. Out: ours, where the phone wants its media. Knows nothing
//! of messages, RTP.
//! RFC 8866, RFC 3264; the audio formats 0 and 8 of RFC 3551.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use crate::sip::Direction;

/// Media lines that are answered; a description with more is not acceptable.
const MAX_MEDIA: usize = 16;
/// Lines that are looked at.
const MAX_LINES: usize = 1_024;
/// PCMU and PCMA.
const FORMATS: [(u8, &str); 2] = [(0, "PCMU"), (8, "PCMA")];

/// Where to send silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sink {
    pub(super) remote: SocketAddr,
    pub(super) payload_type: u8,
}

/// Our end of the session: its name, and how often it was described.
#[derive(Debug)]
pub(super) struct Session {
    id: u64,
    version: u32,
    media: SocketAddr,
}

impl Session {
    /// The session with this number, whose media comes to this address.
    pub(super) const fn new(id: u64, media: SocketAddr) -> Self {
        // RFC 8866 section 5.2 has numbers; some read them into signed ones.
        Self { id: id >> 2, version: 0, media }
    }

    /// Our offer.
    pub(super) fn offer(&mut self) -> String {
        let mut text = self.head("0 0");
        self.push_audio(&mut text, "RTP/AVP", &FORMATS, Direction::SendRecv);
        text
    }

    /// Our answer, and where silence goes then; `None` if the offer has no audio that we can take.
    pub(super) fn answer(&mut self, offer: &[u8]) -> Option<(String, Option<Sink>)> {
        let offer = Description::read(offer)?;
        let taken = offer.media.iter().position(|media| media.payload_type().is_some())?;
        let mut text = self.head(offer.time);
        let mut sink = None;
        for (place, media) in offer.media.iter().enumerate() {
            match media.payload_type().filter(|_| place == taken) {
                Some(payload_type) => {
                    let format = FORMATS.into_iter().find(|(number, _)| *number == payload_type)?;
                    sink = offer.sink(media, self.media.ip());
                    self.push_audio(&mut text, media.protocol, &[format], mirrored(media.direction));
                }
                // RFC 3264 section 6: refused, at its place, with a format that was offered.
                None => {
                    let format = media.formats.split(' ').find(|format| !format.is_empty())?;
                    let _ = write!(text, "m={} 0 {} {format}\r\n", media.kind, media.protocol);
                }
            }
        }
        Some((text, sink))
    }

    /// Where silence goes, after this answer to our offer.
    pub(super) fn sink_of_answer(&self, answer: &[u8]) -> Option<Sink> {
        let answer = Description::read(answer)?;
        let audio = answer.media.first().filter(|media| media.payload_type().is_some())?;
        answer.sink(audio, self.media.ip())
    }

    /// The lines of the session; each description is a new version (RFC 3264 section 8).
    fn head(&mut self, time: &str) -> String {
        self.version = self.version.saturating_add(1);
        let ip = self.media.ip();
        let family = if ip.is_ipv4() { "IP4" } else { "IP6" };
        format!(
            "v=0\r\no=- {} {} IN {family} {ip}\r\ns=offhook\r\nc=IN {family} {ip}\r\nt={time}\r\n",
            self.id, self.version
        )
    }

    fn push_audio(&self, text: &mut String, protocol: &str, formats: &[(u8, &str)], direction: Direction) {
        // Writing into a String cannot fail.
        let _ = write!(text, "m=audio {} {protocol}", self.media.port());
        for (number, _) in formats {
            let _ = write!(text, " {number}");
        }
        text.push_str("\r\n");
        for (number, name) in formats {
            let _ = write!(text, "a=rtpmap:{number} {name}/8000\r\n");
        }
        let direction = match direction {
            Direction::SendRecv => "sendrecv",
            Direction::SendOnly => "sendonly",
            Direction::RecvOnly => "recvonly",
            Direction::Inactive => "inactive",
        };
        let _ = write!(text, "a={direction}\r\n");
    }
}

const fn mirrored(direction: Direction) -> Direction {
    match direction {
        Direction::SendOnly => Direction::RecvOnly,
        Direction::RecvOnly => Direction::SendOnly,
        same => same,
    }
}

/// What of a phone's description has to be known to answer it.
struct Description<'a> {
    connection: Option<&'a str>,
    time: &'a str,
    media: Vec<Media<'a>>,
}

struct Media<'a> {
    kind: &'a str,
    port: u16,
    protocol: &'a str,
    formats: &'a str,
    connection: Option<&'a str>,
    direction: Direction,
}

impl<'a> Description<'a> {
    /// `None` for what cannot be read, and for what could not stand in an answer.
    fn read(text: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut lines = text.split('\n').map(str::trim_ascii).filter(|line| !line.is_empty()).take(MAX_LINES);
        let (mut connection, mut time, mut direction) = (None, "0 0", Direction::default());
        let mut media: Vec<Media<'a>> = Vec::new();
        lines.next().filter(|line| *line == "v=0")?;
        for line in lines {
            let Some((name, value)) = line.split_once('=').filter(|_| !line.chars().any(char::is_control))
            else {
                continue;
            };
            if name == "m" {
                if media.len() >= MAX_MEDIA {
                    return None;
                }
                media.push(Media::read(value, direction)?);
                continue;
            }
            match (name, media.last_mut()) {
                ("c", Some(media)) => media.connection = media.connection.or(Some(value)),
                ("c", None) => connection = Some(value),
                ("t", None) => time = value,
                ("a", media) => {
                    if let Some(said) = direction_of(value) {
                        *media.map_or(&mut direction, |media| &mut media.direction) = said;
                    }
                }
                _ => {}
            }
        }
        Some(Self { connection, time, media })
    }

    /// Where this media goes, if its sender wants any, and to an address that one can send to.
    fn sink(&self, media: &Media<'_>, ours: IpAddr) -> Option<Sink> {
        let wants = matches!(media.direction, Direction::SendRecv | Direction::RecvOnly);
        let connection = media.connection.or(self.connection)?;
        let ip: IpAddr = connection.rsplit(' ').next()?.parse().ok()?;
        let sane = match ip {
            IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
            IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
        };
        let payload_type = media.payload_type()?;
        (wants && sane && ip.is_ipv4() == ours.is_ipv4())
            .then(|| Sink { remote: SocketAddr::new(ip, media.port), payload_type })
    }
}

impl<'a> Media<'a> {
    /// `audio 49170 RTP/AVP 0 8`; a number of ports behind the port says nothing of use.
    fn read(value: &'a str, direction: Direction) -> Option<Self> {
        let (kind, rest) = value.split_once(' ')?;
        let (port, rest) = rest.trim_ascii_start().split_once(' ')?;
        let (protocol, formats) = rest.trim_ascii_start().split_once(' ')?;
        let port = port.split_once('/').map_or(port, |(port, _)| port).parse().ok()?;
        let formats = formats.trim_ascii();
        let stands = |text: &str| !text.is_empty() && text.is_ascii();
        (stands(kind) && stands(protocol) && stands(formats)).then_some(Self {
            kind,
            port,
            protocol,
            formats,
            connection: None,
            direction,
        })
    }

    /// The first of its formats that is ours, if it is audio that we can take part in.
    fn payload_type(&self) -> Option<u8> {
        let is_audio = self.kind == "audio" && matches!(self.protocol, "RTP/AVP" | "RTP/AVPF");
        if self.port == 0 || !is_audio {
            return None;
        }
        let mut formats = self.formats.split(' ').filter_map(|format| format.parse().ok());
        formats.find(|format: &u8| FORMATS.iter().any(|(number, _)| number == format))
    }
}

fn direction_of(attribute: &str) -> Option<Direction> {
    match attribute {
        "sendrecv" => Some(Direction::SendRecv),
        "sendonly" => Some(Direction::SendOnly),
        "recvonly" => Some(Direction::RecvOnly),
        "inactive" => Some(Direction::Inactive),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Sdp;

    fn session() -> Session {
        Session::new(4_000, "192.0.2.5:40000".parse().unwrap())
    }

    fn offer(more: &str) -> String {
        format!("v=0\r\no=alice 1 1 IN IP4 192.0.2.7\r\ns=-\r\nc=IN IP4 192.0.2.7\r\nt=5 6\r\n{more}")
    }

    #[test]
    fn the_offer_is_audio_both_ways() {
        assert_eq!(
            session().offer(),
            "v=0\r\no=- 1000 1 IN IP4 192.0.2.5\r\ns=offhook\r\nc=IN IP4 192.0.2.5\r\nt=0 0\r\n\
             m=audio 40000 RTP/AVP 0 8\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\na=sendrecv\r\n"
        );
        let mut six = Session::new(4, "[2001:db8::5]:40000".parse().unwrap());
        assert!(six.offer().contains("\r\nc=IN IP6 2001:db8::5\r\n"));
    }

    #[test]
    fn a_hold_is_answered_in_its_mirror_and_everything_but_the_first_audio_is_refused() {
        let mut session = session();
        session.offer();
        let text = offer(
            "m=video 5000 RTP/AVP 31 34\r\nm=audio 4000 RTP/SAVP 0\r\nm=audio 6000 RTP/AVP 9 8 0\r\na=sendonly\r\n\
             m=audio 7000 RTP/AVP 0\r\n",
        );
        let (answer, sink) = session.answer(text.as_bytes()).unwrap();
        assert_eq!(
            answer,
            "v=0\r\no=- 1000 2 IN IP4 192.0.2.5\r\ns=offhook\r\nc=IN IP4 192.0.2.5\r\nt=5 6\r\n\
             m=video 0 RTP/AVP 31\r\nm=audio 0 RTP/SAVP 0\r\nm=audio 40000 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\n\
             a=recvonly\r\nm=audio 0 RTP/AVP 0\r\n"
        );
        assert_eq!(sink, None, "who holds hears nothing");
        let read = Sdp::parse(answer.as_bytes()).unwrap();
        assert_eq!(read.media.iter().map(|media| media.port).collect::<Vec<_>>(), [0, 0, 40_000, 0]);
        assert_eq!(read.media[2].direction, Direction::RecvOnly);
    }

    #[test]
    fn directions_of_the_session_count_where_the_media_says_none() {
        for (said, answered) in
            [("sendonly", "recvonly"), ("recvonly", "sendonly"), ("inactive", "inactive"), ("x", "sendrecv")]
        {
            let text = offer(&format!("a={said}\r\nm=audio 6000 RTP/AVP 0\r\n"));
            let (answer, sink) = session().answer(text.as_bytes()).unwrap();
            assert!(answer.ends_with(&format!("a={answered}\r\n")), "{answer}");
            assert_eq!(sink.is_some(), matches!(answered, "sendrecv" | "sendonly"));
        }
    }

    #[test]
    fn what_has_no_audio_for_us_is_not_answered() {
        let many = "m=audio 6000 RTP/AVP 0\r\n".repeat(MAX_MEDIA + 1);
        for more in ["", "m=audio 6000 RTP/AVP 9 101\r\n", "m=audio 0 RTP/AVP 0\r\n", "m=audio\r\n", &many] {
            assert_eq!(session().answer(offer(more).as_bytes()), None, "{more}");
        }
        assert_eq!(session().answer(b"\xff"), None);
        assert_eq!(session().answer(b""), None);
    }

    #[test]
    fn silence_goes_only_to_an_address_that_one_can_send_to() {
        for (connection, port, wanted) in [
            ("IN IP4 192.0.2.7", 6_000, true),
            ("IN IP4 0.0.0.0", 6_000, false),
            ("IN IP4 224.0.0.1/127", 6_000, false),
            ("IN IP4 224.0.0.1", 6_000, false),
            ("IN IP4 255.255.255.255", 6_000, false),
            ("IN IP4 phone.example.com", 6_000, false),
            ("IN IP6 2001:db8::7", 6_000, false),
            ("IN IP4 192.0.2.7", 0, false),
        ] {
            let text = format!("v=0\r\nc={connection}\r\nm=audio {port} RTP/AVP 8 0\r\n");
            let sink = Sink { remote: "192.0.2.7:6000".parse().unwrap(), payload_type: 8 };
            assert_eq!(session().sink_of_answer(text.as_bytes()), wanted.then_some(sink), "{text}");
        }
        let own = "v=0\r\nc=IN IP4 0.0.0.0\r\nm=audio 6000 RTP/AVP 0\r\nc=IN IP4 192.0.2.8\r\n";
        let sink = Sink { remote: "192.0.2.8:6000".parse().unwrap(), payload_type: 0 };
        assert_eq!(session().sink_of_answer(own.as_bytes()), Some(sink));
    }
}
