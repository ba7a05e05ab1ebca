//! Session descriptions: which media, held or not, in which codec.
//! In: the text of a description. Out: `Sdp`. Knows nothing of messages.
//! RFC 8866, RFC 3264; a lenient scan of the lines that matter.

use std::borrow::Cow;
use std::net::IpAddr;

use smallvec::SmallVec;

use super::lex::{LineEnds, split_once, trim};

/// Media sections that are kept; further ones are not looked at.
const MAX_MEDIA: usize = 16;
/// Lines that are looked at.
const MAX_LINES: usize = 2_048;
/// Formats of one section among which the codec is sought.
const MAX_FORMATS: usize = 64;
/// Bytes of a name that is kept; a longer codec counts as unknown, a longer kind of media is cut.
const MAX_NAME_BYTES: usize = 32;

/// Which way media flows, as the sender of the description sees it (RFC 3264 section 5.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Both ways; also when nothing is said.
    #[default]
    SendRecv,
    /// From the sender only.
    SendOnly,
    /// To the sender only.
    RecvOnly,
    /// Neither way.
    Inactive,
}

/// One media section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdpMedia {
    /// `audio`, `video`, … in lower case.
    pub kind: Cow<'static, str>,
    /// The port; 0 means refused or switched off.
    pub port: u16,
    /// The address at which its sender takes the media, where it is given as digits: a name is none.
    pub address: Option<IpAddr>,
    /// The section's own direction, else the session's.
    pub direction: Direction,
    /// The connection address is the unspecified one: hold as RFC 2543 had it.
    pub connection_is_zero: bool,
    /// The encoding name of the first format that is neither telephone-event nor comfort noise, as
    /// written in its rtpmap, else from the table of RFC 3551.
    pub codec: Option<Cow<'static, str>>,
    /// The clock rate of that format.
    pub clock_rate_hz: Option<u32>,
    /// Bits per second: `b=TIAS`, else the codec's own rate if it has but one, else `b=AS`.
    pub bit_rate: Option<u32>,
}

/// A session description.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sdp {
    /// Its media sections, in their order: the same place in offer and answer is the same stream.
    pub media: SmallVec<[SdpMedia; 1]>,
}

#[derive(Clone, Copy, Default)]
struct Bandwidth {
    tias: Option<u32>,
    application_specific: Option<u32>,
}

/// An address to which media are sent; `None` is a name, or nothing that can be read.
type Connection = Option<IpAddr>;

/// What applies to the session, or to one section where that says something else.
#[derive(Clone, Copy, Default)]
struct Level {
    direction: Option<Direction>,
    connection: Option<Connection>,
    bandwidth: Bandwidth,
}

struct Section<'a> {
    kind: &'a [u8],
    port: u16,
    formats: &'a [u8],
    level: Level,
    maps: SmallVec<[(&'a [u8], &'a [u8]); 6]>,
}

/// Lines that say something, trimmed.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut begin = 0;
    let lines = LineEnds::new(text).chain([text.len()]).map(move |end| {
        let line = text.get(begin..end).unwrap_or(b"");
        begin = end + 1;
        trim(line.strip_suffix(b"\r").unwrap_or(line))
    });
    lines.filter(|line| !line.is_empty())
}

impl Sdp {
    /// Reads a description; `None` if it has no `v=0` line first or a media line that cannot be read.
    /// Unknown lines are skipped; LF line ends are as good as CRLF.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut lines = lines(text).take(MAX_LINES);
        let [b'v', b'=', version @ ..] = lines.next()? else {
            return None;
        };
        if trim(version) != b"0" {
            return None;
        }
        let (mut session, mut media) = (Level::default(), SmallVec::new());
        let mut section: Option<Section<'_>> = None;
        for line in lines {
            let [kind, b'=', value @ ..] = line else {
                continue;
            };
            let (kind, value) = (*kind, trim(value));
            match &mut section {
                None if kind != b'm' => session.read(kind, value),
                Some(section) if kind != b'm' => {
                    section.level.read(kind, value);
                    section.read_map(kind, value);
                }
                _ => {
                    media.extend(section.take().map(|section| section.finish(session)));
                    if media.len() == MAX_MEDIA {
                        break;
                    }
                    section = Some(Section::new(value)?);
                }
            }
        }
        media.extend(section.map(|section| section.finish(session)));
        Some(Self { media })
    }
}

impl Level {
    fn read(&mut self, kind: u8, value: &[u8]) {
        match kind {
            b'c' => {
                // Of several connection lines in a section (layered multicast) the first counts.
                let address = value.rsplit(|&byte| byte == b' ').next().unwrap_or(b"");
                let address = split_once(address, b'/').map_or(address, |(before, _)| before);
                self.connection.get_or_insert_with(|| literal(address));
            }
            b'b' => {
                let Some((modifier, number)) = split_once(value, b':') else {
                    return;
                };
                let number = super::lex::seconds(trim(number));
                match trim(modifier) {
                    b"TIAS" => self.bandwidth.tias = number,
                    b"AS" => self.bandwidth.application_specific = number,
                    _ => {}
                }
            }
            b'a' => {
                let direction = match value {
                    b"sendrecv" => Direction::SendRecv,
                    b"sendonly" => Direction::SendOnly,
                    b"recvonly" => Direction::RecvOnly,
                    b"inactive" => Direction::Inactive,
                    _ => return,
                };
                self.direction = Some(direction);
            }
            _ => {}
        }
    }
}

/// The address that these digits are.
fn literal(address: &[u8]) -> Connection {
    std::str::from_utf8(address).ok()?.parse().ok()
}

impl<'a> Section<'a> {
    /// `audio 49170/2 RTP/AVP 0 8 101`
    fn new(value: &'a [u8]) -> Option<Self> {
        let (kind, rest) = split_once(value, b' ')?;
        let (port, rest) = split_once(super::lex::trim_start(rest), b' ')?;
        let (_protocol, formats) = split_once(super::lex::trim_start(rest), b' ').unwrap_or((rest, b""));
        let port = split_once(port, b'/').map_or(port, |(before, _)| before);
        let (port, level) = (super::lex::port(port)?, Level::default());
        Some(Self { kind, port, formats, level, maps: SmallVec::new() })
    }

    /// `a=rtpmap:96 opus/48000/2`
    fn read_map(&mut self, kind: u8, value: &'a [u8]) {
        if kind == b'a'
            && let Some(map) = value.strip_prefix(b"rtpmap:")
            && let Some((format, encoding)) = split_once(trim(map), b' ')
            && self.maps.len() < MAX_FORMATS
        {
            self.maps.push((format, trim(encoding)));
        }
    }

    fn finish(self, session: Level) -> SdpMedia {
        let (codec, clock_rate_hz) = self.codec().unzip();
        let clock_rate_hz = clock_rate_hz.flatten();
        let codec = codec.filter(|name| name.len() <= MAX_NAME_BYTES);
        let bandwidth = self.level.bandwidth;
        let bit_rate = bandwidth
            .tias
            .or_else(|| codec.as_deref().and_then(fixed_bit_rate))
            .or(bandwidth.application_specific.map(|kilobits| kilobits.saturating_mul(1_000)));
        let address = self.level.connection.or(session.connection).flatten();
        SdpMedia {
            kind: kind_of_media(self.kind),
            port: self.port,
            direction: self.level.direction.or(session.direction).unwrap_or_default(),
            address,
            connection_is_zero: address.is_some_and(|address| address.is_unspecified()),
            codec,
            clock_rate_hz,
            bit_rate,
        }
    }

    /// Name and clock rate of the first format that carries the media itself.
    fn codec(&self) -> Option<(Cow<'static, str>, Option<u32>)> {
        self.formats
            .split(|&byte| byte == b' ')
            .filter(|format| !format.is_empty())
            .take(MAX_FORMATS)
            .find_map(|format| {
                let (name, clock_rate_hz) = self.encoding(format)?;
                let is_aside = ASIDES.iter().any(|aside| name.eq_ignore_ascii_case(aside.as_bytes()));
                (!is_aside).then(|| (codec_name(name), clock_rate_hz))
            })
    }

    fn encoding(&self, format: &[u8]) -> Option<(&'a [u8], Option<u32>)> {
        if let Some((_, encoding)) = self.maps.iter().find(|(mapped, _)| *mapped == format) {
            let mut parts = encoding.split(|&byte| byte == b'/').map(trim);
            let name = parts.next().filter(|name| !name.is_empty())?;
            return Some((name, parts.next().and_then(super::lex::exact_u32)));
        }
        let payload_type = super::lex::exact_u32(format)?;
        STATIC_PAYLOAD_TYPES
            .iter()
            .find(|(number, _, _)| *number == payload_type)
            .map(|(_, name, clock_rate_hz)| (name.as_bytes(), Some(*clock_rate_hz)))
    }
}

/// Formats beside the media itself.
const ASIDES: [&str; 4] = ["telephone-event", "CN", "tone", "red"];

/// The kind in lower case; those of RFC 8866 section 5.14 are not copied.
fn kind_of_media(kind: &[u8]) -> Cow<'static, str> {
    let is = |known: &&str| kind.eq_ignore_ascii_case(known.as_bytes());
    match ["audio", "video", "text", "application", "message"].into_iter().find(is) {
        Some(known) => Cow::Borrowed(known),
        None => Cow::Owned(lossy(kind.get(..MAX_NAME_BYTES).unwrap_or(kind)).to_ascii_lowercase()),
    }
}

/// The name as written; those of RFC 3551 are not copied.
fn codec_name(name: &[u8]) -> Cow<'static, str> {
    match STATIC_PAYLOAD_TYPES.iter().find(|(_, known, _)| known.as_bytes() == name) {
        Some((_, known, _)) => Cow::Borrowed(known),
        None => Cow::Owned(lossy(name)),
    }
}

fn lossy(text: &[u8]) -> String {
    let kept = text.get(..MAX_NAME_BYTES + 1).unwrap_or(text);
    String::from_utf8_lossy(kept).into_owned()
}

/// RFC 3551 tables 4 and 5. G722 says 8000 by an old mistake that section 4.5.2 keeps.
const STATIC_PAYLOAD_TYPES: [(u32, &str, u32); 24] = [
    (0, "PCMU", 8_000),
    (3, "GSM", 8_000),
    (4, "G723", 8_000),
    (5, "DVI4", 8_000),
    (6, "DVI4", 16_000),
    (7, "LPC", 8_000),
    (8, "PCMA", 8_000),
    (9, "G722", 8_000),
    (10, "L16", 44_100),
    (11, "L16", 44_100),
    (12, "QCELP", 8_000),
    (13, "CN", 8_000),
    (14, "MPA", 90_000),
    (15, "G728", 8_000),
    (16, "DVI4", 11_025),
    (17, "DVI4", 22_050),
    (18, "G729", 8_000),
    (25, "CelB", 90_000),
    (26, "JPEG", 90_000),
    (28, "nv", 90_000),
    (31, "H261", 90_000),
    (32, "MPV", 90_000),
    (33, "MP2T", 90_000),
    (34, "H263", 90_000),
];

/// Bits per second of codecs that have but one rate (RFC 3551 section 4.5).
fn fixed_bit_rate(codec: &str) -> Option<u32> {
    const RATES: [(&str, u32); 12] = [
        ("PCMU", 64_000),
        ("PCMA", 64_000),
        ("G722", 64_000),
        ("G729", 8_000),
        ("G728", 16_000),
        ("GSM", 13_000),
        ("LPC", 5_600),
        ("G726-16", 16_000),
        ("G726-24", 24_000),
        ("G726-32", 32_000),
        ("G726-40", 40_000),
        ("GSM-EFR", 12_200),
    ];
    RATES.iter().find(|(name, _)| name.eq_ignore_ascii_case(codec)).map(|(_, rate)| *rate)
}
