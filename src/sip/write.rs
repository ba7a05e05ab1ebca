//! Messages to send.
//! In: a method or a status, header fields, a body. Out: bytes. Knows nothing of transactions, sockets, presence.
//! rsip's types are used here and nowhere else: it writes IPv6 hosts without brackets, `tel:` as `tel://`, bodies
//! lossily and reasons without blanks, all of which this module keeps away from the wire.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

pub use rsip::{Header, Method as RequestMethod};

use crate::sip::{HeaderName, NameAddr, SipMessage, Via};

/// Why a message was not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// A line break or another control character in a header field would begin another one.
    #[error("the header field {0} would contain a control character")]
    ControlCharacter(String),
    /// The Request-URI is empty, has no scheme, or holds a character that no URI may hold.
    #[error("the Request-URI is not a URI")]
    RequestUri,
}

/// A header field by its name, for those that rsip does not know (SIP-ETag, SIP-If-Match, …).
pub fn header(name: &str, value: impl Into<String>) -> Header {
    Header::Other(name.to_owned(), value.into())
}

/// A Via value (RFC 3261 section 20.42) that asks for `rport` (RFC 3581).
/// `transport` is `UDP`, `TCP`, …; `sent_by` is written with brackets if it is IPv6. Its port is left out if it is 0:
/// over a connection that is not open yet the answer comes back by that connection (section 18.2.2).
pub fn via(transport: &str, sent_by: SocketAddr, branch: &str) -> Header {
    let sent_by = match (sent_by.port(), sent_by.ip()) {
        (0, IpAddr::V4(ip)) => ip.to_string(),
        (0, IpAddr::V6(ip)) => format!("[{ip}]"),
        _ => sent_by.to_string(),
    };
    Header::Via(format!("SIP/2.0/{transport} {sent_by};rport;branch={branch}").into())
}

/// `<uri>` with a tag, for From and To.
pub fn tagged(uri: &str, tag: Option<&str>) -> String {
    let uri = uri_text(uri);
    match tag {
        Some(tag) => format!("<{uri}>;tag={tag}"),
        None => format!("<{uri}>"),
    }
}

/// A quoted-string (RFC 3261 section 25.1) of this text.
pub fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        if matches!(character, '"' | '\\') {
            out.push('\\');
        }
        out.push(character);
    }
    out.push('"');
    out
}

/// The URI with what no URI may hold escaped (RFC 3986 section 2.1): bytes above 127, blanks, `<`, `>`, `"`.
/// Control characters stay: they are refused when the message is written.
pub fn uri_text(uri: &str) -> Cow<'_, str> {
    let needs_escape = |byte: u8| byte >= 0x7f || matches!(byte, b' ' | b'<' | b'>' | b'"');
    if !uri.bytes().any(needs_escape) {
        return Cow::Borrowed(uri);
    }
    let mut out = String::with_capacity(uri.len() + 8);
    for byte in uri.bytes() {
        if needs_escape(byte) {
            // Writing into a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        } else {
            out.push(char::from(byte));
        }
    }
    Cow::Owned(out)
}

/// A request with its Content-Length computed and its body byte for byte.
///
/// # Errors
/// [`WriteError`] when the Request-URI is none, or a header field holds a control character.
pub fn request(
    method: RequestMethod,
    uri: &str,
    headers: Vec<Header>,
    body: &[u8],
) -> Result<Vec<u8>, WriteError> {
    let request = rsip::Request {
        method,
        uri: rsip_uri(uri).ok_or(WriteError::RequestUri)?,
        version: rsip::Version::V2,
        headers: checked(headers, body)?,
        body: Vec::new(),
    };
    Ok(with_body(request.to_string(), body))
}

/// A response with our reason phrase, its Content-Length computed and its body byte for byte.
///
/// # Errors
/// [`WriteError::ControlCharacter`] when a header field holds one.
pub fn response(status: u16, headers: Vec<Header>, body: &[u8]) -> Result<Vec<u8>, WriteError> {
    let response = rsip::Response {
        status_code: rsip::StatusCode::Other(status, reason_phrase(status).to_owned()),
        version: rsip::Version::V2,
        headers: checked(headers, body)?,
        body: Vec::new(),
    };
    Ok(with_body(response.to_string(), body))
}

/// The response to a request: Via, From, To, Call-ID, CSeq and Record-Route copied (RFC 3261 section 8.2.6), then
/// `more`. `to_tag` is added to a To that has none, or an empty one; 100 has no tag.
///
/// # Errors
/// [`WriteError::ControlCharacter`] when a header field holds one; folds in copied fields are unfolded first.
pub fn response_to(
    request: &SipMessage<'_>,
    status: u16,
    to_tag: Option<&str>,
    more: Vec<Header>,
    body: &[u8],
) -> Result<Vec<u8>, WriteError> {
    response_with_vias(request, None, status, to_tag, more, body)
}

/// The same, and the first Via says where the request came from (RFC 3261 section 18.2.1, RFC 3581 section 4).
///
/// # Errors
/// Those of [`response_to`].
pub fn response_to_source(
    request: &SipMessage<'_>,
    source: SocketAddr,
    status: u16,
    to_tag: Option<&str>,
    more: Vec<Header>,
    body: &[u8],
) -> Result<Vec<u8>, WriteError> {
    response_with_vias(request, Some(source), status, to_tag, more, body)
}

/// A Via as it came, with `received` where its host is not the address that the request came from, and with `rport`
/// where it asks for that.
pub(super) fn via_from(via: Via<'_>, source: SocketAddr) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut out = format!("SIP/2.0/{} {}", text(via.transport), text(via.host));
    // Writing into a String cannot fail.
    if let Some(port) = via.port {
        let _ = write!(out, ":{port}");
    }
    for (name, value) in via.params.iter() {
        if name.eq_ignore_ascii_case(b"received") || name.eq_ignore_ascii_case(b"rport") {
            continue;
        }
        let _ = write!(out, ";{}", text(name));
        if let Some(value) = value {
            let bare = value.iter().all(|byte| byte.is_ascii_graphic() && !b"\"(),;<=>?@{}\\".contains(byte));
            let value = text(value);
            let _ = if bare { write!(out, "={value}") } else { write!(out, "=\"{value}\"") };
        }
    }
    if via.asks_rport || via.host_ip() != Some(source.ip()) {
        let _ = write!(out, ";received={}", source.ip());
    }
    if via.asks_rport {
        let _ = write!(out, ";rport={}", source.port());
    }
    out
}

fn response_with_vias(
    request: &SipMessage<'_>,
    source: Option<SocketAddr>,
    status: u16,
    to_tag: Option<&str>,
    more: Vec<Header>,
    body: &[u8],
) -> Result<Vec<u8>, WriteError> {
    let mut headers = Vec::with_capacity(8 + more.len());
    if let Some(source) = source {
        headers.push(header("Via", via_from(request.top_via(), source)));
        for via in request.values(HeaderName::Via).skip(1) {
            headers.push(header("Via", unfolded(via)));
        }
    }
    for (name, title) in [
        (HeaderName::Via, "Via"),
        (HeaderName::RecordRoute, "Record-Route"),
        (HeaderName::From, "From"),
        (HeaderName::To, "To"),
        (HeaderName::CallId, "Call-ID"),
        (HeaderName::CSeq, "CSeq"),
    ] {
        let written = name == HeaderName::Via && source.is_some();
        for value in request.headers(name).filter(|_| !written) {
            let value = match (name, request.to_tag(), to_tag) {
                (HeaderName::To, None, Some(tag)) => with_tag(value, tag),
                _ => unfolded(value),
            };
            headers.push(header(title, value));
        }
    }
    headers.extend(more);
    response(status, headers, body)
}

/// A To without a tag, with this one. It goes first: behind a quote that is not closed nobody would read it; and an empty
/// one that it came with (RFC 3261 section 25.1 knows none) is left out.
fn with_tag(to: &[u8], tag: &str) -> String {
    let params = NameAddr::parse(to).map(|to| to.params).unwrap_or_default();
    let who = to.strip_suffix(params.text()).unwrap_or(to);
    format!("{};tag={tag}{}", unfolded(who), unfolded(&params.without(b"tag")))
}

/// One line of a header field that may be folded (RFC 3261 section 7.3.1); what is not UTF-8 is replaced.
pub fn unfolded(value: &[u8]) -> String {
    String::from_utf8_lossy(value)
        .split(['\r', '\n'])
        // Other white space is none here (RFC 3261 section 25.1): what it makes of the field is not hidden.
        .map(|part| part.trim_matches([' ', '\t']))
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn checked(mut headers: Vec<Header>, body: &[u8]) -> Result<rsip::Headers, WriteError> {
    headers.retain(|header| !matches!(header, Header::ContentLength(_)));
    headers.push(Header::ContentLength(body.len().to_string().into()));
    for header in &headers {
        let line = header.to_string();
        if line.chars().any(|c| c.is_control() && c != '\t') {
            let name: String = line.chars().take_while(|&c| c != ':' && !c.is_control()).collect();
            return Err(WriteError::ControlCharacter(name));
        }
    }
    Ok(headers.into())
}

/// rsip would write the body lossily, so it gets none and the bytes are appended.
fn with_body(head: String, body: &[u8]) -> Vec<u8> {
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// The URI in rsip's type so that rsip writes it exactly as it is. Hosts go in as domains (rsip forgets the
/// brackets of an IPv6 address), and so does all of a URI that is not `sip:` or `sips:` (rsip adds `//`).
fn rsip_uri(uri: &str) -> Option<rsip::Uri> {
    if uri.chars().any(char::is_control) {
        return None;
    }
    let uri = uri_text(uri);
    let (scheme, rest) = uri.split_once(':')?;
    if scheme.is_empty() || rest.is_empty() {
        return None;
    }
    let host =
        |text: &str| rsip::HostWithPort { host: rsip::Host::Domain(text.to_owned().into()), port: None };
    let (scheme, auth, host_with_port) = match scheme {
        "sip" | "sips" => {
            let known = if scheme == "sip" { rsip::Scheme::Sip } else { rsip::Scheme::Sips };
            match rest.rsplit_once('@') {
                Some((user, at)) => {
                    let auth = rsip::Auth { user: user.to_owned(), password: None };
                    (Some(known), Some(auth), host(at))
                }
                None => (Some(known), None, host(rest)),
            }
        }
        _ => (None, None, host(&uri)),
    };
    Some(rsip::Uri { scheme, auth, host_with_port, params: Vec::new(), headers: Vec::new() })
}

/// The reason phrase of a status (RFC 3261 section 21, 3903, 4028, 4412, 5626, 6665).
pub const fn reason_phrase(status: u16) -> &'static str {
    match status {
        100 => "Trying",
        180 => "Ringing",
        181 => "Call Is Being Forwarded",
        182 => "Queued",
        183 => "Session Progress",
        199 => "Early Dialog Terminated",
        200 => "OK",
        202 => "Accepted",
        204 => "No Notification",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Moved Temporarily",
        305 => "Use Proxy",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        410 => "Gone",
        412 => "Conditional Request Failed",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Unsupported URI Scheme",
        420 => "Bad Extension",
        421 => "Extension Required",
        422 => "Session Interval Too Small",
        423 => "Interval Too Brief",
        480 => "Temporarily Unavailable",
        481 => "Call/Transaction Does Not Exist",
        482 => "Loop Detected",
        483 => "Too Many Hops",
        484 => "Address Incomplete",
        485 => "Ambiguous",
        486 => "Busy Here",
        487 => "Request Terminated",
        488 => "Not Acceptable Here",
        489 => "Bad Event",
        491 => "Request Pending",
        493 => "Undecipherable",
        500 => "Server Internal Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Server Time-out",
        505 => "Version Not Supported",
        513 => "Message Too Large",
        600 => "Busy Everywhere",
        603 => "Decline",
        604 => "Does Not Exist Anywhere",
        606 => "Not Acceptable",
        _ => match status / 100 {
            1 => "Progress",
            2 => "OK",
            3 => "Redirection",
            4 => "Request Failure",
            5 => "Server Failure",
            _ => "Global Failure",
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Limits;
    use crate::sip::{Method, Scanner};

    fn fields(aor: &str) -> Vec<Header> {
        vec![
            via("UDP", "[2001:db8::5]:5060".parse().unwrap(), "z9hG4bKone"),
            Header::From(tagged(aor, Some("a1")).into()),
            Header::To(tagged(aor, None).into()),
            Header::CallId("call-1".to_owned().into()),
            Header::CSeq("7 PUBLISH".to_owned().into()),
            Header::Event("presence".to_owned().into()),
        ]
    }

    #[test]
    fn a_control_character_beside_a_fold_is_not_trimmed_away() {
        assert_eq!(unfolded(b"a \r\n\tb"), "a b");
        assert_eq!(unfolded("\u{c}a\r\n \u{a0}".as_bytes()), "\u{c}a \u{a0}");
    }

    #[test]
    fn what_is_written_is_read_again() {
        let body = b"\x00\xff<presence/>\r\n";
        for uri in [
            "sip:alice@example.com",
            "sip:alice@[2001:db8::7]",
            "sips:bob;phone-context=x@example.com",
            "tel:+15550100",
            "sip:example.com",
        ] {
            let bytes = request(RequestMethod::Publish, uri, fields(uri), body).unwrap();
            let start = format!("PUBLISH {uri} SIP/2.0\r\n");
            assert!(bytes.starts_with(start.as_bytes()), "{uri}");
            let mut scanner = Scanner::new(&Limits::default());
            let message = scanner.scan(&bytes).unwrap();
            assert_eq!(message.method(), Some(Method::Publish));
            assert_eq!(message.request_uri(), Some(uri.as_bytes()));
            assert_eq!(message.from().uri, uri.as_bytes());
            assert_eq!(message.from_tag(), Some(&b"a1"[..]));
            assert_eq!(message.to_tag(), None);
            assert_eq!(message.call_id(), b"call-1");
            assert_eq!(message.cseq().number, 7);
            assert_eq!(message.top_branch(), b"z9hG4bKone");
            assert_eq!(message.event(), Some(&b"presence"[..]));
            assert_eq!(message.body(), body);
        }
    }

    #[test]
    fn a_line_break_is_refused_wherever_it_stands() {
        let evil = "sip:alice@example.com\r\nX-Evil: 1";
        assert_eq!(request(RequestMethod::Publish, evil, Vec::new(), b""), Err(WriteError::RequestUri));
        assert_eq!(
            request(RequestMethod::Publish, "sip:alice@example.com", fields(evil), b""),
            Err(WriteError::ControlCharacter("From".to_owned()))
        );
        for character in ["\r", "\n", "\0", "\u{7f}"] {
            let name = header("X-Name", format!("a{character}b"));
            assert!(response(200, vec![name], b"").is_err());
        }
    }

    #[test]
    fn what_is_no_uri_is_refused_or_escaped() {
        for text in ["", "alice", ":x", "sip:"] {
            assert_eq!(
                request(RequestMethod::Publish, text, Vec::new(), b""),
                Err(WriteError::RequestUri),
                "{text}"
            );
        }
        assert_eq!(uri_text("sip:a b>é@example.com"), "sip:a%20b%3E%C3%A9@example.com");
    }

    #[test]
    fn a_response_copies_what_the_request_says_of_the_transaction() {
        let bytes =
            request(RequestMethod::Publish, "sip:presence@192.0.2.9", fields("sip:alice@example.com"), b"")
                .unwrap();
        let mut scanner = Scanner::new(&Limits::default());
        let message = scanner.scan(&bytes).unwrap();
        let answer = response_to(&message, 412, Some("t2"), Vec::new(), b"").unwrap();
        let text = String::from_utf8(answer.clone()).unwrap();
        assert!(text.starts_with("SIP/2.0 412 Conditional Request Failed\r\n"));
        assert!(text.contains("\r\nContent-Length: 0\r\n"));
        let mut scanner = Scanner::new(&Limits::default());
        let answer = scanner.scan(&answer).unwrap();
        assert_eq!(answer.status(), Some(412));
        assert_eq!(answer.to_tag(), Some(&b"t2"[..]));
        assert_eq!(answer.top_branch(), b"z9hG4bKone");
    }

    #[test]
    fn a_to_that_has_no_tag_or_an_empty_one_is_answered_with_ours() {
        let cases = [
            ("<sip:bob@example.com>", "<sip:bob@example.com>;tag=ours"),
            ("sip:bob@example.com;tag=", "sip:bob@example.com;tag=ours"),
            (
                "<sip:bob@example.com>;Tag = ;x=\"a;tag=b\";tag",
                "<sip:bob@example.com>;tag=ours;x=\"a;tag=b\"",
            ),
            ("<sip:bob@example.com>;x=\"a", "<sip:bob@example.com>;tag=ours;x=\"a"),
            ("<sip:bob@example.com;tag=>;\r\n y", "<sip:bob@example.com;tag=>;tag=ours; y"),
            ("<sip:bob@example.com>;x;tag=theirs", "<sip:bob@example.com>;x;tag=theirs"),
        ];
        for (to, expected) in cases {
            let bytes = format!(
                "OPTIONS sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa\r\n\
                 From: <sip:alice@example.com>;tag=a\r\nTo: {to}\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\n\r\n"
            );
            let mut scanner = Scanner::new(&Limits::default());
            let request = scanner.scan(bytes.as_bytes()).unwrap();
            let answer = response_to(&request, 200, Some("ours"), Vec::new(), b"").unwrap();
            let answer = String::from_utf8(answer).unwrap();
            assert_eq!(answer.lines().find_map(|line| line.strip_prefix("To: ")), Some(expected), "{to}");
        }
    }

    #[test]
    fn the_first_via_of_a_response_says_where_the_request_came_from() {
        let source = "192.0.2.77:40123".parse().unwrap();
        let cases = [
            (
                "SIP/2.0/UDP 10.0.0.1:5060;rport;branch=z9hG4bKa, SIP/2.0/UDP proxy.example.com;branch=z9hG4bKb",
                "Via: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKa;received=192.0.2.77;rport=40123\r\nVia: SIP/2.0/UDP proxy.example.com;branch=z9hG4bKb\r\n",
            ),
            (
                "SIP/2.0/TCP phone.example.com;received=10.9.9.9;branch=z9hG4bKa;x=\"a b\"",
                "Via: SIP/2.0/TCP phone.example.com;branch=z9hG4bKa;x=\"a b\";received=192.0.2.77\r\n",
            ),
            ("SIP/2.0/UDP 192.0.2.77;branch=z9hG4bKa", "Via: SIP/2.0/UDP 192.0.2.77;branch=z9hG4bKa\r\n"),
        ];
        for (via, expected) in cases {
            let mut headers = fields("sip:alice@example.com");
            headers[0] = header("Via", via);
            let bytes = request(RequestMethod::Publish, "sip:alice@example.com", headers, b"").unwrap();
            let mut scanner = Scanner::new(&Limits::default());
            let message = scanner.scan(&bytes).unwrap();
            let answer = response_to_source(&message, source, 200, Some("t"), Vec::new(), b"").unwrap();
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.contains(expected), "{answer}");
            assert_eq!(answer.matches("Via:").count(), via.matches("SIP/2.0/").count());
        }
    }

    #[test]
    fn quotes_are_escaped() {
        assert_eq!(quoted(r#"a"b\c"#), r#""a\"b\\c""#);
    }
}
