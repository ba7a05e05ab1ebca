//! What the values of header fields say.
//! In: a value's bytes, folds included. Out: borrowed views. Knows nothing of messages.
//! RFC 3261 section 20 and section 25.1.

use std::net::IpAddr;

use super::lex::{
    closing_quote, exact_u32, find, find_outside_quotes, is_name, is_space, is_token, port, seconds,
    split_around, split_once, trim, trim_end, trim_start, unquote,
};
use super::uri::host_ip;
use super::{Method, Params};

/// Number and method of a transaction within its Call-ID (RFC 3261 section 8.1.1.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CSeq {
    /// The number. Above 2^31 it breaks a rule for senders and is believed all the same.
    pub number: u32,
    /// The method.
    pub method: Method,
}

/// What a CSeq value says, and its method as written; `None` if broken or if the number needs more than 32 bits.
pub(super) fn cseq(value: &[u8]) -> Option<(CSeq, &[u8])> {
    let end = value.iter().position(|&byte| is_space(byte))?;
    let (number, text) = value.split_at_checked(end)?;
    let text = trim(text.strip_prefix(b" ").unwrap_or(text));
    let method = Method::of(text);
    let is_method = method != Method::Other || (!text.is_empty() && text.iter().all(|&byte| is_token(byte)));
    is_method.then_some((CSeq { number: exact_u32(number)?, method }, text))
}

/// A URI with the name it is shown by and the parameters of the field: the value of From, To, Contact,
/// Route and their like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameAddr<'a> {
    /// The display name without its quotes, escapes as written.
    pub display: Option<&'a [u8]>,
    /// The URI without angle brackets, as written.
    pub uri: &'a [u8],
    /// The field's parameters, not the URI's.
    pub params: Params<'a>,
}

impl<'a> NameAddr<'a> {
    /// Reads `"Name" <uri>;params`, `Name <uri>` and, where all parameters belong to the field
    /// (RFC 3261 section 20.10), `uri;params`. `None` when a quote or an angle bracket is not closed,
    /// or when there is no URI.
    #[inline(always)]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let value = trim(value);
        let (display, rest) = match value.first()? {
            b'"' => {
                let close = closing_quote(value, 0)?;
                let rest = trim_start(value.get(close + 1..)?);
                (value.get(1..close), rest.strip_prefix(b"<")?)
            }
            b'<' => (None, value.get(1..)?),
            _ => match find([b'<'], value).filter(|&open| !is_bare_uri(value, open)) {
                Some(open) => {
                    let (display, rest) = split_around(value, open);
                    (Some(trim(display)), rest)
                }
                None => return Self::parse_bare(value),
            },
        };
        let (uri, params) = split_once(rest, b'>')?;
        let uri = trim(uri);
        (!uri.is_empty()).then_some(Self {
            display: display.filter(|display| !display.is_empty()),
            uri,
            params: Params::new(params),
        })
    }

    fn parse_bare(value: &'a [u8]) -> Option<Self> {
        let end = find([b';'], value).unwrap_or(value.len());
        let (uri, params) = value.split_at_checked(end)?;
        let uri = trim_end(uri);
        if uri.is_empty() || find([b'>'], uri).is_some() {
            return None;
        }
        Some(Self { display: None, uri, params: Params::new(params) })
    }

    /// The tag (RFC 3261 section 19.3); an empty one counts as none.
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.value(b"tag")
    }
}

/// A `<` at `open` belongs to a quoted parameter, not to the URI, if the value begins with a URI that
/// has parameters: `sip:alice@example.com;x="<"`.
fn is_bare_uri(value: &[u8], open: usize) -> bool {
    let before = value.get(..open).unwrap_or(b"");
    let begins_with_scheme = [&b"sip:"[..], b"sips:", b"tel:"]
        .iter()
        .any(|scheme| before.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    begins_with_scheme && find([b';'], before).is_some()
}

/// One value of a Contact field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contact<'a> {
    /// `Contact: *`: all bindings (RFC 3261 section 10.2.2). The address is empty then.
    pub star: bool,
    /// The address. Of a value that cannot be read, all of it stands as the URI.
    pub addr: NameAddr<'a>,
}

impl<'a> Contact<'a> {
    pub(super) fn parse(value: &'a [u8]) -> Self {
        let value = trim(value);
        if let [b'*', rest @ ..] = value
            && matches!(trim_start(rest), [] | [b';', ..])
        {
            return Self { star: true, addr: NameAddr::default() };
        }
        Self {
            star: false,
            addr: NameAddr::parse(value).unwrap_or(NameAddr { uri: value, ..NameAddr::default() }),
        }
    }

    /// The `expires` parameter, in seconds, saturating; `None` if absent or no number.
    pub fn expires(&self) -> Option<u32> {
        self.param(b"expires").and_then(seconds)
    }

    /// [`Self::expires`], and the `+sip.instance` and `reg-id` of RFC 5626, in one pass.
    pub fn binding_params(&self) -> (Option<u32>, Option<&'a [u8]>, Option<&'a [u8]>) {
        let [expires, instance, flow] = self.addr.params.values([b"expires", b"+sip.instance", b"reg-id"]);
        (expires.and_then(seconds), instance, flow)
    }

    /// The `q` parameter in thousandths, 0 to 1000; `None` if absent or no `qvalue`.
    pub fn q(&self) -> Option<u16> {
        let text = self.param(b"q")?;
        let (whole, fraction) = split_once(text, b'.').unwrap_or((text, b""));
        if fraction.len() > 3 || !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let thousandths =
            [100, 10, 1].iter().zip(fraction).map(|(weight, digit)| weight * u16::from(digit - b'0')).sum();
        match whole {
            b"0" | b"" if !text.is_empty() => Some(thousandths),
            b"1" if thousandths == 0 => Some(1_000),
            _ => None,
        }
    }

    /// A parameter's value, without quotes; `None` if absent, without value or empty.
    pub fn param(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.addr.params.value(name)
    }
}

/// One value of a Via field (RFC 3261 section 20.42).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// The transport as written.
    pub transport: &'a [u8],
    /// The host of the sent-by as written, an IPv6 address in its brackets.
    pub host: &'a [u8],
    /// The port of the sent-by, if written.
    pub port: Option<u16>,
    /// The branch; an empty one counts as none.
    pub branch: Option<&'a [u8]>,
    /// The address the request really came from, as written: IPv6 with or without brackets.
    pub received: Option<&'a [u8]>,
    /// The port the request really came from (RFC 3581), if the parameter has a value.
    pub rport: Option<u16>,
    /// There is an `rport`, with or without a value: the answer is wanted where the request came from.
    pub asks_rport: bool,
    /// All parameters.
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    /// `None` when there is no protocol, transport or host, or a port that is none.
    pub(super) fn parse(value: &'a [u8]) -> Option<Self> {
        Self::parse_sent_by(value).map(Self::with_params_read)
    }

    /// All before the parameters, which are left for [`Self::with_params_read`].
    pub(super) fn parse_sent_by(value: &'a [u8]) -> Option<Self> {
        let SentBy { transport, host, port, params } = match SentBy::at_a_glance(value) {
            Some(sent_by) => sent_by,
            None => SentBy::parse(value)?,
        };
        Some(Self {
            transport,
            host,
            port,
            branch: None,
            received: None,
            rport: None,
            asks_rport: false,
            params: Params::new(params),
        })
    }

    /// The branch alone.
    pub(super) fn read_branch(&self) -> Option<&'a [u8]> {
        let further = || {
            let mut branches = self.params.iter().filter(|(name, _)| is_name(name, b"branch"));
            branches.find_map(|(_, value)| value.filter(|value| !value.is_empty()))
        };
        self.params.value(b"branch").or_else(further)
    }

    /// With what the parameters say.
    pub(super) fn with_params_read(mut self) -> Self {
        for (name, value) in self.params.iter() {
            let value = value.filter(|value| !value.is_empty());
            if is_name(name, b"branch") {
                self.branch = self.branch.or(value);
            } else if is_name(name, b"received") {
                self.received = self.received.or(value);
            } else if is_name(name, b"rport") {
                self.asks_rport = true;
                self.rport = self.rport.or_else(|| port(value?));
            }
        }
        self
    }

    /// `received` as an address; with or without brackets (RFC 5118 section 4.5).
    pub fn received_ip(&self) -> Option<IpAddr> {
        self.received.and_then(host_ip)
    }

    /// The host of the sent-by as an address, when it is written as one.
    pub fn host_ip(&self) -> Option<IpAddr> {
        host_ip(self.host)
    }
}

/// A Via value before its parameters, and the text of these.
#[derive(Debug, PartialEq)]
struct SentBy<'a> {
    transport: &'a [u8],
    host: &'a [u8],
    port: Option<u16>,
    params: &'a [u8],
}

impl<'a> SentBy<'a> {
    /// As nearly all are written: `SIP/2.0/UDP host:port;…`, without white space or quotes before the parameters.
    #[inline(always)]
    fn at_a_glance(value: &'a [u8]) -> Option<Self> {
        let (transport, rest) = value.strip_prefix(b"SIP/2.0/")?.split_at_checked(3)?;
        let rest = rest.strip_prefix(b" ")?;
        let host_end = find([b':', b';', b'"', b' ', b'\t', b'\r', b'\n'], rest)?;
        let (host, rest) = rest.split_at_checked(host_end)?;
        let (port, params) = match rest.strip_prefix(b":") {
            Some(rest) => {
                let (digits, params) = rest.split_at_checked(find([b';'], rest)?)?;
                (Some(port(digits)?), params)
            }
            None => (None, rest),
        };
        let is_plain = matches!(transport, b"UDP" | b"TCP" | b"TLS")
            && host.first().is_some_and(|first| *first != b'[')
            && params.first() == Some(&b';');
        is_plain.then_some(Self { transport, host, port, params })
    }

    /// As any are written.
    fn parse(value: &'a [u8]) -> Option<Self> {
        // Nearly all begin so; others have white space around the slashes.
        let rest = match value.strip_prefix(b"SIP/2.0/") {
            Some(rest) => rest,
            None => {
                let (_protocol, rest) = split_once(value, b'/')?;
                split_once(rest, b'/')?.1
            }
        };
        let rest = trim_start(rest);
        let end = rest.iter().position(|&byte| !is_token(byte))?;
        let (transport, rest) = rest.split_at_checked(end)?;
        let params_at = match find([b';', b'"'], rest) {
            Some(at) if rest.get(at) == Some(&b';') => at,
            Some(_) => find_outside_quotes(rest, b';', false).unwrap_or(rest.len()),
            None => rest.len(),
        };
        let (sent_by, params) = rest.split_at_checked(params_at)?;
        let sent_by = trim(sent_by);
        let host_end = match sent_by.first()? {
            b'[' => find([b']'], sent_by)? + 1,
            _ => find([b':', b' ', b'\t', b'\r', b'\n'], sent_by).unwrap_or(sent_by.len()),
        };
        let (host, port_text) = sent_by.split_at_checked(host_end)?;
        let port = match trim_start(port_text) {
            [] => None,
            [b':', digits @ ..] => match trim_start(digits) {
                [] => None,
                digits => Some(port(digits)?),
            },
            // A comment, as RFC 2543 had them.
            [b'(', ..] => None,
            _ => return None,
        };
        if transport.is_empty() || host.is_empty() {
            return None;
        }
        Some(Self { transport, host, port, params })
    }
}

/// What somebody answered a digest challenge with (RFC 3261 section 20.7). Quotes are taken off,
/// escapes inside left; what is absent is empty or `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Credentials<'a> {
    /// From Proxy-Authorization rather than Authorization.
    pub proxy: bool,
    /// `username`.
    pub username: &'a [u8],
    /// `realm`.
    pub realm: &'a [u8],
    /// `nonce`.
    pub nonce: &'a [u8],
    /// `uri`.
    pub uri: &'a [u8],
    /// `response`.
    pub response: &'a [u8],
    /// `opaque`.
    pub opaque: Option<&'a [u8]>,
    /// `algorithm`.
    pub algorithm: Option<&'a [u8]>,
    /// `qop`.
    pub qop: Option<&'a [u8]>,
    /// `cnonce`.
    pub cnonce: Option<&'a [u8]>,
    /// `nc`.
    pub nc: Option<&'a [u8]>,
}

/// A digest challenge (RFC 3261 section 20.44). Quotes are taken off, escapes inside left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Challenge<'a> {
    /// From Proxy-Authenticate rather than WWW-Authenticate.
    pub proxy: bool,
    /// `realm`.
    pub realm: &'a [u8],
    /// `nonce`.
    pub nonce: &'a [u8],
    /// `opaque`.
    pub opaque: Option<&'a [u8]>,
    /// `algorithm`.
    pub algorithm: Option<&'a [u8]>,
    /// `qop`: a list as written, such as `auth,auth-int`.
    pub qop: Option<&'a [u8]>,
    /// `stale=true`: the password was right, the nonce too old.
    pub stale: bool,
}

/// The digest schemes in the value of an authentication field, each with its parameters. One field
/// should hold one scheme, yet RFC 7235 allows lists: a comma, then `Scheme name=value`, begins the next.
#[derive(Clone, Debug)]
pub(super) struct DigestSchemes<'a> {
    rest: &'a [u8],
    /// Those of the scheme before: skipped when the next one is asked for.
    params: Option<AuthParams<'a>>,
}

impl<'a> DigestSchemes<'a> {
    pub(super) const fn new(value: &'a [u8]) -> Self {
        Self { rest: value, params: None }
    }
}

impl<'a> Iterator for DigestSchemes<'a> {
    type Item = AuthParams<'a>;

    fn next(&mut self) -> Option<AuthParams<'a>> {
        loop {
            if let Some(mut before) = self.params.take() {
                while before.element().is_some() {}
                self.rest = before.rest;
            }
            let text = trim_start(self.rest);
            let end = text.iter().position(|&byte| !is_token(byte))?;
            let (scheme, rest) = text.split_at_checked(end)?;
            let params = AuthParams { rest, is_first: true };
            self.params = Some(params.clone());
            if scheme.eq_ignore_ascii_case(b"Digest") {
                return Some(params);
            }
        }
    }
}

/// `Digest realm`: a token, white space and more before the `=`.
fn begins_scheme(parameter: &[u8]) -> bool {
    let name = split_once(parameter, b'=').map_or(parameter, |(name, _)| name);
    let name = trim(name);
    name.iter().position(|&byte| is_space(byte)).is_some_and(|space| {
        name.get(..space).is_some_and(|scheme| scheme.iter().all(|&byte| is_token(byte)))
    })
}

/// `name=value` pairs between commas, up to where the next scheme begins.
#[derive(Clone, Debug)]
pub(super) struct AuthParams<'a> {
    rest: &'a [u8],
    /// None was read yet: the first cannot be the next scheme.
    is_first: bool,
}

impl<'a> AuthParams<'a> {
    /// Username and realm of a value that begins with them as nearly all do.
    pub(super) fn user_in_front(value: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        let quoted = |text: &'a [u8]| {
            let (inside, rest) = text.split_at_checked(find([b'"', b'\\'], text)?)?;
            Some((inside, rest.strip_prefix(b"\"")?))
        };
        let (username, rest) = quoted(value.strip_prefix(b"Digest username=\"")?)?;
        let (realm, rest) = quoted(rest.strip_prefix(b", realm=\"")?)?;
        matches!(rest.first(), None | Some(b',')).then_some((username, realm))
    }

    /// Username and realm, which stand in front where nobody means to confuse.
    pub(super) fn user(self) -> (&'a [u8], &'a [u8]) {
        let (mut username, mut realm) = (None, None);
        for (name, value) in self {
            if name.eq_ignore_ascii_case(b"username") {
                username = Some(value);
            } else if name.eq_ignore_ascii_case(b"realm") {
                realm = Some(value);
            }
            if username.is_some() && realm.is_some() {
                break;
            }
        }
        (username.unwrap_or_default(), realm.unwrap_or_default())
    }

    fn element(&mut self) -> Option<&'a [u8]> {
        if self.rest.is_empty() {
            return None;
        }
        let (parameter, rest) = match find_outside_quotes(self.rest, b',', false) {
            Some(at) => split_around(self.rest, at),
            None => (self.rest, &b""[..]),
        };
        if !std::mem::take(&mut self.is_first) && begins_scheme(parameter) {
            return None;
        }
        self.rest = rest;
        Some(parameter)
    }
}

impl<'a> Iterator for AuthParams<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let parameter = self.element()?;
            if let Some((name, value)) = split_once(parameter, b'=') {
                return Some((trim(name), unquote(trim(value))));
            }
        }
    }
}

impl<'a> Credentials<'a> {
    pub(super) fn read(params: AuthParams<'a>, proxy: bool) -> Self {
        let mut read = Self { proxy, ..Self::default() };
        for (name, value) in params {
            match lower::<10>(name).as_slice() {
                b"username" => read.username = value,
                b"realm" => read.realm = value,
                b"nonce" => read.nonce = value,
                b"uri" => read.uri = value,
                b"response" => read.response = value,
                b"opaque" => read.opaque = Some(value),
                b"algorithm" => read.algorithm = Some(value),
                b"qop" => read.qop = Some(value),
                b"cnonce" => read.cnonce = Some(value),
                b"nc" => read.nc = Some(value),
                _ => {}
            }
        }
        read
    }
}

impl<'a> Challenge<'a> {
    pub(super) fn read(params: AuthParams<'a>, proxy: bool) -> Self {
        let mut read = Self { proxy, ..Self::default() };
        for (name, value) in params {
            match lower::<10>(name).as_slice() {
                b"realm" => read.realm = value,
                b"nonce" => read.nonce = value,
                b"opaque" => read.opaque = Some(value),
                b"algorithm" => read.algorithm = Some(value),
                b"qop" => read.qop = Some(value),
                b"stale" => read.stale = value.eq_ignore_ascii_case(b"true"),
                _ => {}
            }
        }
        read
    }
}

/// A short name in lower case; longer ones become empty.
struct Lower<const N: usize> {
    bytes: [u8; N],
    length: usize,
}

impl<const N: usize> Lower<N> {
    fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(b"")
    }
}

fn lower<const N: usize>(name: &[u8]) -> Lower<N> {
    let mut bytes = [0; N];
    let mut length = 0;
    if let Some(place) = bytes.get_mut(..name.len()) {
        place.copy_from_slice(name);
        place.make_ascii_lowercase();
        length = name.len();
    }
    Lower { bytes, length }
}

#[cfg(test)]
mod tests {
    use super::super::lex::jumbled;
    use super::*;

    #[test]
    fn a_via_is_at_a_glance_what_it_is_when_looked_at() {
        let pieces = [
            "SIP/2.0/",
            "UDP",
            " ",
            "192.0.2.1",
            ":",
            "5060",
            ";",
            "branch=z9hG4bK1",
            ";",
            "rport",
            " ",
            "\r\n ",
            "\t",
            "TCP",
            "TLS",
            "TLS-SCTP",
            "/",
            "[2001:db8::1]",
            "[",
            "\"",
            "a;b",
            "\\\"",
            ",",
            "(x)",
            "99999",
            "",
        ];
        let mut seen = 0;
        for text in jumbled(&pieces) {
            if let Some(glance) = SentBy::at_a_glance(&text) {
                assert_eq!(Some(glance), SentBy::parse(&text), "{}", text.escape_ascii());
                seen += 1;
            }
        }
        assert!(seen > 1_000, "{seen}");
    }

    #[test]
    fn a_digest_user_in_front_is_the_one_that_is_found_anywhere() {
        let pieces = [
            "Digest ",
            "username=\"",
            "alice",
            "\", ",
            "realm=\"",
            "example.com",
            "\"",
            ", nonce=\"1\"",
            " ",
            "\\",
            ",",
            "\r\n ",
            "digest ",
            "Basic x",
            "username=bob",
            "uri=\"sip:a,b\"",
            "realm=",
            "x",
            "=",
        ];
        let mut seen = 0;
        for text in jumbled(&pieces) {
            if let Some(user) = AuthParams::user_in_front(&text) {
                let found = DigestSchemes::new(&text).next().map(AuthParams::user);
                assert_eq!(Some(user), found, "{}", text.escape_ascii());
                seen += 1;
            }
        }
        assert!(seen > 1_000, "{seen}");
    }
}
