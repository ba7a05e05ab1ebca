//! What scripted phones of the benches say: requests, responses, credentials; and what they find in what they hear.
//! In: messages, words. Out: messages, words. Knows nothing of sockets, time, what a phone is in the middle of.
//! RFC 3261 sections 8, 20, 22, over UDP; RFC 7616.

use std::net::SocketAddr;

use offhook::base::Random;
use offhook::sip::SipMessage;
use offhook::sip::digest::{DigestChallenge, DigestSession, DigestUser};

use crate::wire;

/// A request of the phone at this address: method and Request-URI, its header fields but for those that all have, the type of
/// its body and the body; an empty one has no type.
pub fn request(
    address: SocketAddr,
    (method, uri): (&str, &str),
    branch: &str,
    head: &str,
    (content_type, body): (&str, &str),
) -> Vec<u8> {
    let content = if body.is_empty() { String::new() } else { format!("Content-Type: {content_type}\r\n") };
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {address};branch={branch};rport\r\nMax-Forwards: 70\r\n{head}\
         User-Agent: Exampletel 300\r\n{content}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The header field with which a user of the testbed, whose password is "secret", answers a challenge.
pub fn credentials(
    message: &SipMessage<'_>,
    user: &str,
    (method, uri): (&str, &str),
    random: &mut Random,
) -> Option<String> {
    let challenge = DigestChallenge::strongest(message.challenges())?;
    let user = DigestUser { user: user.to_owned(), password: "secret".to_owned() };
    let mut session = DigestSession::new(challenge, random.token());
    let name = session.header_name();
    Some(format!("{name}: {}\r\n", session.answer(&user, method, uri)))
}

/// The response to a request, with To as it is here.
pub fn response(request: &[u8], status: &str, to: &str, more: &str, body: &str) -> Vec<u8> {
    let mut out = format!("SIP/2.0 {status}\r\n").into_bytes();
    wire::copy(request, &[b"Via: ", b"Record-Route: ", b"From: ", b"Call-ID: ", b"CSeq: "], &mut out);
    out.extend(format!("To: {to}\r\n{more}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes());
    out
}

/// The value of the first header field whose line begins so.
pub fn text(message: &[u8], name: &[u8]) -> String {
    String::from_utf8_lossy(wire::field(message, name).unwrap_or_default()).into_owned()
}

/// All of a name, in their order.
pub fn fields(message: &[u8], name: &[u8]) -> Vec<String> {
    let mut lines = Vec::new();
    wire::copy(message, &[name], &mut lines);
    let lines = String::from_utf8_lossy(&lines).into_owned();
    lines.lines().filter_map(|line| line.get(name.len()..)).map(|value| value.trim().to_owned()).collect()
}

/// `<sip:bob@192.0.2.12:5060>;expires=30` → what is in the brackets.
pub fn uri_of(value: &str) -> String {
    value.split(['<', '>']).nth(1).unwrap_or(value).to_owned()
}

/// The user of the first `sip:` URI in a text.
pub fn user(text: &str) -> String {
    let rest = text.split("sip:").nth(1).unwrap_or_default();
    rest.split(['@', ';', '>', ' ']).next().unwrap_or_default().to_owned()
}
