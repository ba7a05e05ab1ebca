//! What a cut message lacks, taken from the request that it belongs to.
//! In: requests that were read; messages that end within their header fields. Out: such a message with all fields that
//! every message has. Knows nothing of calls, frames.
//! RFC 3261: a response has its request's From, To, Call-ID and CSeq (section 8.2.6.2) and is found by the branch (section
//! 17.1.3); a proxy leaves these fields alone and puts its own Via in front (section 16.6).

use std::collections::VecDeque;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap};
use memchr::memrchr;

use super::lex::{Values, digits};
use super::unreadable::fields;
use super::{HeaderName, Method, SipMessage, Via};
use crate::base::Limits;

/// Requests that are remembered, each for as long as so many others follow: a phone rings for a minute.
const MOST_REQUESTS: usize = 100_000;
/// A request whose From, To and Call-ID are longer together is not remembered.
const MOST_BYTES: usize = 1_024;
/// Fields that are looked at.
const MOST_FIELDS: usize = 512;
/// RFC 3261 section 8.1.1.7: a branch that begins so is unique.
const MAGIC_COOKIE: &[u8] = b"z9hG4bK";

/// Completes cut messages. It remembers requests only once it was asked for one: captures that are cut are cut from
/// their first frames on, and all others cost nothing.
#[derive(Debug, Default)]
pub struct CutMessages {
    most: usize,
    phase: Phase,
    /// By the branch of the first Via.
    requests: HashMap<u64, Request>,
    order: VecDeque<u64>,
    hasher: DefaultHashBuilder,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// No message was cut as yet.
    #[default]
    Idle,
    Remembering,
}

/// A request's fields, as written.
#[derive(Debug)]
struct Request {
    method: Box<[u8]>,
    from: Box<[u8]>,
    to: Box<[u8]>,
    call_id: Box<[u8]>,
    number: u32,
    /// A CANCEL with the same branch passed.
    cancelled: bool,
}

impl CutMessages {
    /// One that remembers no more than the limits say.
    pub fn new(limits: &Limits) -> Self {
        Self { most: limits.pending_transactions.min(MOST_REQUESTS), ..Self::default() }
    }

    /// A message was read.
    pub fn read(&mut self, message: &SipMessage<'_>) {
        if self.phase == Phase::Idle || !message.is_request() {
            return;
        }
        let branch = message.top_branch();
        if !is_unique(branch) {
            return;
        }
        let key = self.hasher.hash_one(branch);
        if let Some(known) = self.requests.get_mut(&key) {
            known.cancelled |= message.cseq().method == Method::Cancel;
            return;
        }
        // It has the branch of its INVITE, whose answers come to it.
        if message.cseq().method == Method::Cancel {
            return;
        }
        let value = |name| message.header(name).unwrap_or_default();
        let (from, to, call_id) = (value(HeaderName::From), value(HeaderName::To), message.call_id());
        if from.len() + to.len() + call_id.len() > MOST_BYTES {
            return;
        }
        while self.order.len() >= self.most {
            let Some(oldest) = self.order.pop_front() else { return };
            self.requests.remove(&oldest);
        }
        let request = Request {
            method: message.method_text().into(),
            from: from.into(),
            to: to.into(),
            call_id: call_id.into(),
            number: message.cseq().number,
            cancelled: false,
        };
        self.requests.insert(key, request);
        self.order.push_back(key);
    }

    /// A message that was cut. Gives it with what it lacks, where its request tells; it still has no empty line.
    pub fn complete(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        self.phase = Phase::Remembering;
        let bytes = bytes.get(..=memrchr(b'\n', bytes)?)?;
        let fields: Vec<(HeaderName, &[u8])> = fields(bytes).take(MOST_FIELDS).collect();
        let all = |wanted| fields.iter().filter(move |(name, _)| *name == wanted).map(|(_, value)| *value);
        let lacks = |wanted| all(wanted).next().is_none();
        let lacking = [HeaderName::From, HeaderName::To, HeaderName::CallId, HeaderName::CSeq]
            .map(|name| (name, lacks(name)));
        if lacking.iter().all(|(_, lacks)| !lacks) {
            return None;
        }
        let start = Start::of(bytes)?;
        let mut vias = all(HeaderName::Via).flat_map(Values::new);
        let via = match start {
            Start::Response(_) => vias.next(),
            Start::Request(_) => vias.nth(1),
        };
        let branch = Via::parse(via?)?.branch.filter(|branch| is_unique(branch))?;
        let request = self.requests.get(&self.hasher.hash_one(branch))?;
        if !lacks(HeaderName::CallId) && all(HeaderName::CallId).next() != Some(&*request.call_id) {
            return None;
        }
        let tells_cseq = match start {
            Start::Request(method) => {
                if method != &*request.method {
                    return None;
                }
                true
            }
            // To the INVITE or to the CANCEL? Only an INVITE is answered so.
            Start::Response(status) => !request.cancelled || matches!(status, 101..=199 | 487),
        };
        if lacks(HeaderName::CSeq) && !tells_cseq {
            return None;
        }
        let mut completed = bytes.to_vec();
        for (name, _) in lacking.into_iter().filter(|(_, lacks)| *lacks) {
            completed.extend_from_slice(name.text().as_bytes());
            completed.extend_from_slice(b": ");
            match name {
                HeaderName::From => completed.extend_from_slice(&request.from),
                HeaderName::To => completed.extend_from_slice(&request.to),
                HeaderName::CallId => completed.extend_from_slice(&request.call_id),
                _ => {
                    completed.extend_from_slice(request.number.to_string().as_bytes());
                    completed.push(b' ');
                    completed.extend_from_slice(&request.method);
                }
            }
            completed.extend_from_slice(b"\r\n");
        }
        Some(completed)
    }
}

/// What a start line says of what kind the message is.
#[derive(Clone, Copy)]
enum Start<'a> {
    Request(&'a [u8]),
    Response(u64),
}

impl<'a> Start<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let mut words = bytes.split(|&byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n'));
        let first = words.next()?;
        if first.eq_ignore_ascii_case(b"SIP/2.0") {
            Some(Self::Response(digits(words.next()?)?))
        } else {
            Some(Self::Request(first))
        }
    }
}

fn is_unique(branch: &[u8]) -> bool {
    branch.len() > MAGIC_COOKIE.len()
        && branch.get(..MAGIC_COOKIE.len()).is_some_and(|start| start.eq_ignore_ascii_case(MAGIC_COOKIE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::Scanner;

    const VIAS: &str =
        "Via: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKb\r\nVia: SIP/2.0/UDP 192.0.2.11;branch=z9hG4bKa\r\n";

    /// What a capture remembers that has shown this request, after one that was cut.
    fn after(method: &str) -> CutMessages {
        let limits = Limits::default();
        let mut cut = CutMessages::new(&limits);
        assert_eq!(cut.complete(b"SIP/2.0 100 Trying\r\n"), None);
        let text = format!(
            "{method} sip:bob@192.0.2.12 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.11;branch=z9hG4bKa\r\n\
             From: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: c\r\nCSeq: 7 {method}\r\n\r\n"
        );
        cut.read(&Scanner::new(&limits).scan(text.as_bytes()).expect("a message"));
        cut
    }

    fn completed(cut: &mut CutMessages, text: &str) -> Option<String> {
        cut.complete(text.as_bytes()).map(|bytes| String::from_utf8(bytes).expect("text"))
    }

    #[test]
    fn a_request_on_its_next_hop_is_known_by_its_second_via() {
        let mut cut = after("INVITE");
        let text = format!(
            "INVITE sip:bob@192.0.2.12 SIP/2.0\r\n{VIAS}From: <sip:alice@example.com>;tag=1\r\nTo: <si"
        );
        let whole = completed(&mut cut, &text).expect("its request is known");
        assert!(
            whole.ends_with(";tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: c\r\nCSeq: 7 INVITE\r\n"),
            "{whole}"
        );
        assert_eq!(completed(&mut cut, &text.replace("INVITE", "BYE")), None);
        assert_eq!(completed(&mut cut, &text.replace("z9hG4bKa", "z9hG4bKc")), None);
    }

    #[test]
    fn a_response_is_known_by_its_first_via_and_lacks_no_more_than_it_did() {
        let mut cut = after("INVITE");
        let via = VIAS.split_inclusive('\n').next_back().expect("a Via");
        let text = format!("SIP/2.0 200 OK\r\n{via}To: <sip:bob@example.com>;tag=2\r\nCall-ID: c\r\n");
        let whole = completed(&mut cut, &text).expect("its request is known");
        assert_eq!(whole, format!("{text}From: <sip:alice@example.com>;tag=1\r\nCSeq: 7 INVITE\r\n"));
        assert_eq!(completed(&mut cut, &whole), None);
        assert_eq!(completed(&mut cut, &text.replace("Call-ID: c", "Call-ID: d")), None);
    }

    #[test]
    fn a_2xx_after_a_cancel_may_be_to_either() {
        let mut cut = after("INVITE");
        let text = "CANCEL sip:bob@192.0.2.12 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.11;branch=z9hG4bKa\r\n\
                    From: <sip:alice@example.com>;tag=1\r\nTo: <sip:bob@example.com>\r\nCall-ID: c\r\nCSeq: 7 CANCEL\r\n\r\n";
        cut.read(&Scanner::new(&Limits::default()).scan(text.as_bytes()).expect("a message"));
        let answer = |status| format!("SIP/2.0 {status}\r\nVia: SIP/2.0/UDP 192.0.2.11;branch=z9hG4bKa\r\n");
        assert_eq!(completed(&mut cut, &answer("200 OK")), None);
        assert!(completed(&mut cut, &answer("180 Ringing")).is_some());
        assert!(completed(&mut cut, &(answer("200 OK") + "CSeq: 7 CANCEL\r\n")).is_some());
    }
}
