//! Messages: what is scanned, written anew in one plain form and scanned again reads the same; what our own writer answers
//! to it is a message; and a stream of what is refused stays refused by whoever answers it.

use std::net::SocketAddr;

use offhook::base::{Hop, Limits, Transport};
use offhook::sip::unreadable::refusal;
use offhook::sip::write::{WriteError, response_to, response_to_source, unfolded};
use offhook::sip::{HeaderName, NameAddr, Params, ScanError, Scanner, Sdp, SipMessage, looks_like_sip};

use super::input::Reached;

/// Seen by the corpus.
pub const MUST_REACH: &[&str] = &[
    "request",
    "response",
    "folded",
    "cut header",
    "cut body",
    "session description",
    "several parts",
    "contacts",
    "credentials",
    "challenges",
    "several vias",
    "answered",
    "answered 400",
    "not to be answered",
    "no start line",
    "version",
    "status",
    "missing",
    "contradictory",
    "malformed",
    "method mismatch",
];

/// The fields that are read by name, each before those that may be read in more than one way.
const FIELDS: &[HeaderName] = &[
    HeaderName::Via,
    HeaderName::From,
    HeaderName::To,
    HeaderName::CallId,
    HeaderName::CSeq,
    HeaderName::Contact,
    HeaderName::Expires,
    HeaderName::ContentLength,
    HeaderName::ContentType,
    HeaderName::ContentEncoding,
    HeaderName::Route,
    HeaderName::RecordRoute,
    HeaderName::Authorization,
    HeaderName::ProxyAuthorization,
    HeaderName::WwwAuthenticate,
    HeaderName::ProxyAuthenticate,
    HeaderName::SessionExpires,
    HeaderName::MinExpires,
    HeaderName::RetryAfter,
    HeaderName::Event,
    HeaderName::SubscriptionState,
    HeaderName::PAssertedIdentity,
    HeaderName::UserAgent,
    HeaderName::Require,
    HeaderName::Replaces,
    HeaderName::SipEtag,
    HeaderName::SipIfMatch,
    HeaderName::Accept,
    HeaderName::ReferTo,
];

/// The bytes of a message.
pub fn target(data: &[u8]) -> Reached {
    let mut reached = Reached::default();
    let mut scanner = Scanner::new(&Limits::default());
    let message = match scanner.scan(data) {
        Ok(message) => message,
        Err(why) => {
            refused(data, &why, &mut reached);
            return reached;
        }
    };
    see(&message, data, &mut reached);
    let once = rewritten(&message);
    let mut second = Scanner::new(&Limits { message_bytes: usize::MAX, ..Limits::default() });
    let again = match second.scan(&once) {
        Ok(again) => again,
        Err(why) => panic!("what was scanned and written anew is refused: {why}\n{}", text(&once)),
    };
    // A boundary with a fold in it is another one without.
    let folded = message.headers(HeaderName::ContentType).any(|value| value.contains(&b'\n'));
    assert_eq!(view(&again, !folded), view(&message, !folded), "{}", text(&once));
    assert_eq!(text(&rewritten(&again)), text(&once));
    if message.is_request() {
        answers(&message, &mut reached);
    }
    reached
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn hop() -> Hop {
    let address = |last| SocketAddr::from(([192, 0, 2, last], 5060));
    Hop { transport: Transport::Udp, local: address(1), remote: address(7) }
}

fn refused(data: &[u8], why: &ScanError, reached: &mut Reached) {
    reached.note(match why {
        ScanError::Empty => "empty",
        ScanError::TooLong(_) => "too long",
        ScanError::StartLine { .. } => "no start line",
        ScanError::Version { .. } => "version",
        ScanError::Status { .. } => "status",
        ScanError::Missing(_) => "missing",
        ScanError::Contradictory(_) => "contradictory",
        ScanError::Malformed { .. } => "malformed",
        ScanError::MethodMismatch { .. } => "method mismatch",
    });
    assert!(!why.to_string().is_empty());
    match refusal(data, hop(), why, "tag") {
        Some(answer) => {
            reached.note("answered 400");
            assert!(answer.bytes.starts_with(b"SIP/2.0 400 "), "{}", text(&answer.bytes));
            assert_eq!(answer.hop.local, hop().local);
            assert!(looks_like_sip(data));
        }
        None => reached.note("not to be answered"),
    }
}

fn see(message: &SipMessage<'_>, data: &[u8], reached: &mut Reached) {
    reached.note(if message.is_request() { "request" } else { "response" });
    reached.note_if(!message.headers_are_whole(), "cut header");
    reached.note_if(message.headers_are_whole() && !message.body_is_whole(), "cut body");
    reached.note_if(message.sdp().is_some(), "session description");
    let several = message.sdp().is_some_and(|sdp| sdp.len() < message.body().len());
    reached.note_if(several, "several parts");
    reached.note_if(message.contacts().count() > 1, "contacts");
    reached.note_if(message.credentials().count() > 0, "credentials");
    reached.note_if(message.challenges().count() > 0, "challenges");
    reached.note_if(message.via_count() > 1, "several vias");
    reached.note_if(
        FIELDS.iter().any(|&name| message.headers(name).any(|value| value.contains(&b'\n'))),
        "folded",
    );
    assert!(message.body().len() <= data.len());
    assert_eq!(message.vias().count(), message.via_count());
    assert!(!message.call_id().is_empty());
    // Whoever finds messages on the wire must not pass by one that is read here, unless it begins with much that is none.
    let long_line = data.iter().position(|&byte| byte == b'\n').is_none_or(|end| end > 4_096);
    let begins = data.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(0);
    assert!(
        looks_like_sip(data) || long_line || begins >= 64 || message.method_text().len() > 79,
        "not found"
    );
}

/// White space with a line end in it is one blank (RFC 3261 section 7.3.1).
fn plain(value: &[u8]) -> Vec<u8> {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let mut out = Vec::with_capacity(value.len());
    let mut at = 0;
    while let Some(byte) = value.get(at) {
        let end =
            value[at..].iter().position(|byte| !is_space(byte)).map_or(value.len(), |length| at + length);
        if value[at..end].contains(&b'\n') {
            out.push(b' ');
            at = end;
        } else {
            out.push(*byte);
            at += 1;
        }
    }
    let front = out.iter().position(|byte| !is_space(byte)).unwrap_or(out.len());
    let end = out.iter().rposition(|byte| !is_space(byte)).map_or(front, |last| last + 1);
    out[front..end].to_vec()
}

/// The message in one plain form: long names in one order, no folds, the body as long as it is.
fn rewritten(message: &SipMessage<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    match message.status() {
        Some(status) => {
            out.extend(format!("SIP/2.0 {status} ").into_bytes());
            out.extend(message.reason());
        }
        None => {
            out.extend(message.method_text());
            // In brackets: a Request-URI in brackets is read without them, and one within those keeps its own.
            out.extend(b" <");
            out.extend(message.request_uri().unwrap_or_default());
            out.extend(b"> SIP/2.0");
        }
    }
    out.extend(b"\r\n");
    for name in FIELDS {
        for value in message.headers(*name) {
            out.extend(name.text().as_bytes());
            out.extend(b": ");
            out.extend(plain(value));
            out.extend(b"\r\n");
        }
    }
    if message.headers_are_whole() {
        out.extend(b"\r\n");
        out.extend(message.body());
    }
    out
}

/// All that can be asked of a message, without its folds.
fn view(message: &SipMessage<'_>, with_sdp: bool) -> Vec<String> {
    let show = |bytes: &[u8]| String::from_utf8_lossy(&plain(bytes)).into_owned();
    let some = |bytes: Option<&[u8]>| format!("{:?}", bytes.map(show));
    let params = |params: Params<'_>| -> String {
        params.iter().map(|(name, value)| format!(";{}={}", show(name), some(value))).collect()
    };
    let who = |who: NameAddr<'_>| {
        format!("{} <{}>{} {}", some(who.display), show(who.uri), params(who.params), some(who.tag()))
    };
    let mut all = vec![
        format!("{:?} {:?} {}", message.method(), message.status(), show(message.method_text())),
        some(message.request_uri()),
        show(message.reason()),
        show(message.call_id()),
        format!("{:?}", message.cseq()),
        who(message.from()),
        who(message.to()),
        format!("{} {} {}", some(message.from_tag()), some(message.to_tag()), show(message.top_branch())),
        format!("{:?} {:?}", message.expires(), message.session_expires()),
        format!("{:?} {:?}", message.min_expires(), message.retry_after()),
        format!("{} {}", some(message.event()), some(message.event_id())),
        format!("{:?}", message.subscription_state().map(|(state, expires_s)| (show(state), expires_s))),
        format!("{} {:?}", some(message.subscription_end().0), message.subscription_end().1),
        some(message.user_agent()),
        format!("{} {:?}", message.requires_100rel(), message.replaced_call_id()),
        format!("{} {}", message.headers_are_whole(), message.body_is_whole()),
        format!("{:?} {:?}", message.content_length(), message.body()),
    ];
    for via in message.vias() {
        let (transport, host) = (show(via.transport), show(via.host));
        all.push(format!("{transport} {host} {:?} {:?} {}", via.port, via.rport, via.asks_rport));
        all.push(format!("{} {}{}", some(via.branch), some(via.received), params(via.params)));
    }
    for contact in message.contacts() {
        all.push(format!("{} {:?} {:?} {}", contact.star, contact.expires(), contact.q(), who(contact.addr)));
    }
    all.extend(message.asserted().map(who));
    for given in message.credentials() {
        let texts = [given.username, given.realm, given.nonce, given.uri, given.response].map(show);
        let more = [given.opaque, given.algorithm, given.qop, given.cnonce, given.nc].map(some);
        all.push(format!("{} {texts:?} {more:?}", given.proxy));
    }
    for asked in message.challenges() {
        let more = [asked.opaque, asked.algorithm, asked.qop].map(some);
        all.push(format!(
            "{} {} {} {more:?} {}",
            asked.proxy,
            show(asked.realm),
            show(asked.nonce),
            asked.stale
        ));
    }
    if with_sdp {
        all.push(format!("{:?}", message.sdp().map(Sdp::parse)));
    }
    all
}

/// Our own writer's answers can be read, and belong to the request.
fn answers(request: &SipMessage<'_>, reached: &mut Reached) {
    let answers = [
        response_to(request, 200, Some("ours"), Vec::new(), b"body"),
        response_to_source(request, hop().remote, 200, Some("ours"), Vec::new(), b"body"),
    ];
    for answer in answers {
        let bytes = match answer {
            Ok(bytes) => bytes,
            Err(WriteError::ControlCharacter(_)) => continue,
            Err(why) => panic!("{why}"),
        };
        reached.note("answered");
        let mut scanner = Scanner::new(&Limits { message_bytes: usize::MAX, ..Limits::default() });
        let read = match scanner.scan(&bytes) {
            Ok(read) => read,
            Err(why) => panic!("our own answer is refused: {why}\n{}", text(&bytes)),
        };
        assert_eq!(read.status(), Some(200));
        assert_eq!(text(read.call_id()), unfolded(request.call_id()));
        assert_eq!(read.cseq(), request.cseq());
        assert_eq!(read.via_count(), request.via_count(), "{}", text(&bytes));
        assert!(read.to_tag().is_some(), "{}", text(&bytes));
        assert_eq!(read.body(), b"body");
    }
}
