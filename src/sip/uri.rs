//! URIs: sip, sips, tel, and others as opaque text.
//! In: the text of a URI. Out: `Uri`, borrowed. Knows nothing of fields and messages.
//! RFC 3261 section 19.1, RFC 3966, RFC 5118.

use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use memchr::memrchr;

use super::Params;
use super::lex::{find, port, split_around, split_once, table, trim};

/// What a URI begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// RFC 3261.
    Sip,
    /// RFC 3261, over TLS.
    Sips,
    /// RFC 3966.
    Tel,
    /// Any other.
    Other,
}

/// A URI whose parts are borrowed from its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    /// What it begins with.
    pub scheme: Scheme,
    /// The user, escapes as written; the number of a `tel:` URI. Never empty.
    pub user: Option<&'a [u8]>,
    /// The password that some still write behind the user.
    pub password: Option<&'a [u8]>,
    /// The host as written, an IPv6 address in its brackets. Empty for `tel:` and other schemes.
    pub host: &'a [u8],
    /// The port, if one is written.
    pub port: Option<u16>,
    /// The parameters.
    pub params: Params<'a>,
    /// What stands behind the `?`.
    pub headers: &'a [u8],
    /// The whole text.
    pub text: &'a [u8],
}

/// Parameters that make two URIs differ when only one has them (RFC 3261 section 19.1.4).
const DECISIVE_PARAMS: [&[u8]; 5] = [b"transport", b"user", b"ttl", b"method", b"maddr"];

/// Further parameters and headers that a comparison looks at; so many come with hostile URIs only.
const COMPARED_PARAMS: usize = 32;

impl<'a> Uri<'a> {
    /// Reads a URI without angle brackets. Lenient where nothing is ambiguous: any bytes but white
    /// space, control characters, quotes and angle brackets may stand in the user. `None` for what
    /// is no URI: no scheme, no host, a host of strange characters, a port above 65535.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let text = trim(text);
        let (scheme, rest) = split_once(text, b':')?;
        let mut uri = Self {
            scheme: scheme_of(scheme)?,
            user: None,
            password: None,
            host: b"",
            port: None,
            params: Params::default(),
            headers: b"",
            text,
        };
        match uri.scheme {
            Scheme::Sip | Scheme::Sips => uri.read_sip(rest)?,
            Scheme::Tel => uri.read_tel(rest)?,
            Scheme::Other => {
                if rest.is_empty() || rest.iter().any(|&byte| is_never_in_uri(byte)) {
                    return None;
                }
            }
        }
        Some(uri)
    }

    fn read_sip(&mut self, rest: &'a [u8]) -> Option<()> {
        let rest = match user_end(rest) {
            Some(at) => {
                let (userinfo, rest) = split_around(rest, at);
                self.user = Some(userinfo).filter(|user| !user.is_empty());
                // Nearly all users are of letters and digits.
                if !is_plain(userinfo) {
                    if userinfo.iter().any(|&byte| is_never_in_uri(byte)) {
                        return None;
                    }
                    if let Some((user, password)) = split_once(userinfo, b':') {
                        self.user = Some(user).filter(|user| !user.is_empty());
                        self.password = Some(password);
                    }
                }
                rest
            }
            None => rest,
        };
        let host_end = match rest.first()? {
            b'[' => find([b']'], rest)? + 1,
            _ => host_length(rest),
        };
        let (host, rest) = rest.split_at_checked(host_end)?;
        // White space before the parameters is tolerated: RFC 4475 section 3.1.2.8 shows such a URI.
        self.host = trim(host);
        if !is_host(self.host) {
            return None;
        }
        if rest.is_empty() {
            return Some(());
        }
        let tail = find([b';', b'?'], rest).unwrap_or(rest.len());
        let (port_text, tail) = rest.split_at_checked(tail)?;
        match trim(port_text) {
            [] | [b':'] => {}
            [b':', digits @ ..] => self.port = Some(port(digits)?),
            _ => return None,
        }
        self.read_tail(tail);
        Some(())
    }

    fn read_tel(&mut self, rest: &'a [u8]) -> Option<()> {
        let end = find([b';', b'?'], rest).unwrap_or(rest.len());
        let (number, tail) = rest.split_at_checked(end)?;
        if !number.iter().all(|&byte| is_phone_digit(byte) || is_visual_separator(byte))
            || !number.iter().any(|&byte| is_phone_digit(byte) && byte != b'+')
        {
            return None;
        }
        self.user = Some(number);
        self.read_tail(tail);
        Some(())
    }

    fn read_tail(&mut self, tail: &'a [u8]) {
        if tail.is_empty() {
            return;
        }
        let (params, headers) = split_once(tail, b'?').unwrap_or((tail, b""));
        self.params = Params::new(params);
        self.headers = headers;
    }

    /// RFC 3261 section 19.1.4, to the letter: an explicit port differs from none, even the default
    /// one; an IPv6 address is compared as an address (RFC 5954). Not transitive, as the RFC says.
    pub fn equivalent(&self, other: &Uri<'_>) -> bool {
        if self.text == other.text {
            return true;
        }
        if self.scheme != other.scheme {
            return false;
        }
        match self.scheme {
            Scheme::Other => self.text.eq_ignore_ascii_case(other.text),
            Scheme::Tel => {
                let number = |uri: &Uri<'_>| tel_number(uri.user.unwrap_or(b""));
                number(self) == number(other) && same_tel_params(self.params, other.params)
            }
            Scheme::Sip | Scheme::Sips => {
                same_text(self.user, other.user, Case::Kept)
                    && same_text(self.password, other.password, Case::Kept)
                    && self.port == other.port
                    && same_host(self.host, other.host)
                    && same_params(self.params, other.params)
                    && same_headers(self.headers, other.headers)
            }
        }
    }

    /// Equal for all equivalent URIs, so it can find them in an index: `user@host:port`, the host in
    /// lower case, without parameters. URIs with equal keys need not be equivalent.
    pub fn key(&self) -> String {
        let mut key = String::with_capacity(self.text.len());
        self.push_key(&mut key);
        key
    }

    /// Appends [`Self::key`].
    pub fn push_key(&self, key: &mut String) {
        match self.scheme {
            Scheme::Sip | Scheme::Sips => {
                if let Some(user) = self.user {
                    push_user(key, user);
                    key.push('@');
                }
                push_host(key, self.host);
                if let Some(port) = self.port {
                    key.push(':');
                    let _ = write!(key, "{port}");
                }
            }
            Scheme::Tel => {
                key.push_str("tel:");
                key.push_str(&tel_number(self.user.unwrap_or(b"")));
            }
            Scheme::Other => key.push_str(&String::from_utf8_lossy(self.text).to_ascii_lowercase()),
        }
    }

    /// The host as an IP address, when it is written as one.
    pub fn ip(&self) -> Option<IpAddr> {
        host_ip(self.host)
    }

    /// Where this URI points without asking DNS: the literal address and the port, by default 5060
    /// (5061 for sips). `maddr` and `transport` are not looked at.
    pub fn address(&self) -> Option<SocketAddr> {
        let default_port = match self.scheme {
            Scheme::Sips => 5061,
            _ => 5060,
        };
        Some(SocketAddr::new(self.ip()?, self.port.unwrap_or(default_port)))
    }
}

/// Two URIs name the same (RFC 3261 section 19.1.4); what cannot be read as a URI only equals itself.
pub fn same(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    match (Uri::parse(one.as_bytes()), Uri::parse(other.as_bytes())) {
        (Some(one), Some(other)) => one.equivalent(&other),
        _ => false,
    }
}

/// A URI for people's eyes: trimmed, bytes that are no UTF-8 and control characters replaced.
pub fn display(text: &[u8]) -> String {
    String::from_utf8_lossy(trim(text))
        .chars()
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

/// A host as an IP address, when it is written as one, with or without brackets.
pub fn host_ip(host: &[u8]) -> Option<IpAddr> {
    let (inside, bracketed) = match host {
        [b'[', inside @ .., b']'] => (inside, true),
        _ => (host, false),
    };
    let text = std::str::from_utf8(inside).ok()?;
    // Most hosts are names: told by what no address is made of.
    if !text.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':')) {
        return None;
    }
    match text.parse() {
        Ok(IpAddr::V4(_)) if bracketed => None,
        Ok(address) => Some(address),
        // RFC 5118 section 4.10: the old grammar gave three colons before an embedded IPv4 address.
        Err(_) if text.contains(":::") => {
            text.replacen(":::", "::", 1).parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        }
        Err(_) => None,
    }
}

fn scheme_of(text: &[u8]) -> Option<Scheme> {
    if text == b"sip" || text.eq_ignore_ascii_case(b"sip") {
        return Some(Scheme::Sip);
    }
    if text.eq_ignore_ascii_case(b"sips") {
        return Some(Scheme::Sips);
    }
    if text.eq_ignore_ascii_case(b"tel") {
        return Some(Scheme::Tel);
    }
    let is_scheme = text.first().is_some_and(u8::is_ascii_alphabetic)
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'));
    is_scheme.then_some(Scheme::Other)
}

/// Where the `@` is that ends the user. The grammar allows but one; of several, as in a user that is
/// a mail address, the last counts that stands before the host's end.
fn user_end(text: &[u8]) -> Option<usize> {
    let first = find([b'@'], text)?;
    let rest = text.get(first + 1..)?;
    let host = rest.get(..host_length(rest))?;
    let last = find([b'@'], host).and_then(|_| memrchr(b'@', host));
    Some(last.map_or(first, |last| first + 1 + last))
}

/// How long the host is that stands here, with what white space is behind it.
fn host_length(text: &[u8]) -> usize {
    find([b':', b';', b'?'], text).unwrap_or(text.len())
}

const fn is_never_in_uri(byte: u8) -> bool {
    byte <= b' ' || matches!(byte, 0x7f | b'<' | b'>' | b'"')
}

/// Names, IPv4 addresses, IPv6 addresses in brackets. The underscore is seen in the wild.
fn is_host(host: &[u8]) -> bool {
    match host {
        [b'[', inside @ .., b']'] => {
            find([b':'], inside).is_some()
                && inside.iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'))
        }
        _ => {
            const OF_NAMES: [bool; 256] = table(b"-._", true);
            host.iter().all(|&byte| OF_NAMES[usize::from(byte)]) && host.iter().any(u8::is_ascii_alphanumeric)
        }
    }
}

const fn is_phone_digit(byte: u8) -> bool {
    byte.is_ascii_hexdigit() || matches!(byte, b'+' | b'*' | b'#')
}

const fn is_visual_separator(byte: u8) -> bool {
    matches!(byte, b'-' | b'.' | b'(' | b')')
}

const fn is_unreserved(byte: u8) -> bool {
    const UNRESERVED: [bool; 256] = table(b"-_.!~*'()", true);
    UNRESERVED[byte as usize]
}

/// Nothing is to be escaped, unescaped or split.
pub(super) fn is_plain(user: &[u8]) -> bool {
    user.iter().all(|&byte| is_unreserved(byte))
}

const fn is_reserved(byte: u8) -> bool {
    matches!(byte, b';' | b'/' | b'?' | b':' | b'@' | b'&' | b'=' | b'+' | b'$' | b',')
}

/// A byte of a text with escapes: reserved characters differ from their escapes, all others do not
/// (RFC 3261 section 19.1.4).
#[derive(Clone, Copy, PartialEq, Eq)]
struct Unescaped {
    byte: u8,
    escaped_reserved: bool,
}

fn unescape(mut text: &[u8]) -> impl Iterator<Item = Unescaped> {
    std::iter::from_fn(move || {
        let (&byte, rest) = text.split_first()?;
        if let (b'%', [high, low, rest @ ..]) = (byte, rest)
            && let (Some(high), Some(low)) = (hex_value(*high), hex_value(*low))
        {
            text = rest;
            let byte = high * 16 + low;
            return Some(Unescaped { byte, escaped_reserved: is_reserved(byte) });
        }
        text = rest;
        Some(Unescaped { byte, escaped_reserved: false })
    })
}

/// A user for people's eyes: without escapes; bytes that are no UTF-8 are replaced.
pub fn unescaped(user: &str) -> String {
    let bytes: Vec<u8> = unescape(user.as_bytes()).map(|unescaped| unescaped.byte).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The value of a header of the URI in a field such as Refer-To, unescaped (RFC 3261 section 19.1.1). `name` is in lower
/// case.
pub(super) fn header(field: &[u8], name: &[u8]) -> Option<Vec<u8>> {
    let uri = field.split(|&byte| byte == b'>').next()?;
    let headers = uri.split(|&byte| byte == b'?').nth(1)?;
    headers.split(|&byte| byte == b'&').find_map(|header| {
        let (this, value) = header.split_at_checked(name.len())?;
        let value = value.strip_prefix(b"=").filter(|_| this.eq_ignore_ascii_case(name))?;
        Some(unescape(value).map(|unescaped| unescaped.byte).collect())
    })
}

const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

/// The user in its one spelling: needless escapes decoded, the others in upper-case hex.
pub(super) fn push_user(out: &mut String, user: &[u8]) {
    if is_plain(user)
        && let Ok(plain) = std::str::from_utf8(user)
    {
        return out.push_str(plain);
    }
    const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    for Unescaped { byte, escaped_reserved } in unescape(user) {
        let plain =
            is_unreserved(byte) || (is_reserved(byte) && !escaped_reserved && !matches!(byte, b'@' | b':'));
        if plain {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
    }
}

/// The host in lower case, an IPv6 address in brackets as RFC 5952 writes it.
pub(super) fn push_host(out: &mut String, host: &[u8]) {
    // A name in lower case has but one spelling, and an IPv4 address: the text itself.
    if is_in_small_letters(host)
        && let Ok(text) = std::str::from_utf8(host)
    {
        return out.push_str(text);
    }
    let v6 = find([b':'], host).and_then(|_| host_ip(host));
    if let Some(IpAddr::V6(address)) = v6 {
        // Writing to a String does not fail.
        let _ = write!(out, "[{address}]");
    } else if host.is_ascii()
        && let Ok(text) = std::str::from_utf8(host)
    {
        let begin = out.len();
        out.push_str(text);
        if let Some(pushed) = out.get_mut(begin..) {
            pushed.make_ascii_lowercase();
        }
    } else {
        out.extend(host.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
    }
}

/// Whether it has nothing but what names and IPv4 addresses in lower case are made of.
pub(super) fn is_in_small_letters(host: &[u8]) -> bool {
    const SMALL: [bool; 256] = table(b"-._abcdefghijklmnopqrstuvwxyz0123456789", false);
    host.iter().all(|&byte| SMALL[usize::from(byte)])
}

/// The number without visual separators, in lower case (RFC 3966 section 5.1.1 and section 4).
pub(super) fn tel_number(number: &[u8]) -> String {
    number
        .iter()
        .filter(|&&byte| !is_visual_separator(byte))
        .map(|byte| char::from(byte.to_ascii_lowercase()))
        .collect()
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Case {
    Kept,
    Ignored,
}

fn same_text(one: Option<&[u8]>, other: Option<&[u8]>, case: Case) -> bool {
    let spelled = |text| {
        unescape(text).map(move |unescaped| match case {
            Case::Kept => unescaped,
            Case::Ignored => Unescaped { byte: unescaped.byte.to_ascii_lowercase(), ..unescaped },
        })
    };
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => one == other || spelled(one).eq(spelled(other)),
        _ => false,
    }
}

fn same_host(one: &[u8], other: &[u8]) -> bool {
    if one.eq_ignore_ascii_case(other) {
        return true;
    }
    one.first() == Some(&b'[') && host_ip(one).is_some_and(|ip| host_ip(other) == Some(ip))
}

fn same_params(one: Params<'_>, other: Params<'_>) -> bool {
    let same_value = |one: Option<&[u8]>, other: Option<&[u8]>| same_text(one, other, Case::Ignored);
    let decisive = DECISIVE_PARAMS.iter().all(|name| match (one.get(name), other.get(name)) {
        (None, None) => true,
        (Some(one), Some(other)) => same_value(one, other),
        _ => false,
    });
    decisive
        && one
            .iter()
            .take(COMPARED_PARAMS)
            .all(|(name, value)| other.get(name).is_none_or(|theirs| same_value(value, theirs)))
}

/// RFC 3966 section 4: the same parameters with the same values, in any order.
fn same_tel_params(one: Params<'_>, other: Params<'_>) -> bool {
    let within = |one: Params<'_>, other: Params<'_>| {
        one.iter().take(COMPARED_PARAMS).all(|(name, value)| {
            other.get(name).is_some_and(|theirs| same_text(value, theirs, Case::Ignored))
        })
    };
    within(one, other) && within(other, one)
}

/// Headers count always: each must be in both, in any order.
fn same_headers(one: &[u8], other: &[u8]) -> bool {
    fn pairs(text: &[u8]) -> impl Iterator<Item = &[u8]> {
        text.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).take(COMPARED_PARAMS)
    }
    let within = |one, other| {
        pairs(one).all(|pair| pairs(other).any(|theirs| same_text(Some(pair), Some(theirs), Case::Ignored)))
    };
    within(one, other) && within(other, one)
}
