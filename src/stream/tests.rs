//! What comes out of datagrams and streams, whatever a network and a mirror port do to them.

use proptest::prelude::*;

use super::*;
use crate::base::{FrameId, Oddity};

const ALICE: ([u8; 4], u16) = ([192, 0, 2, 1], 5060);
const BOB: ([u8; 4], u16) = ([198, 51, 100, 2], 5060);

/// A reassembler, its packet time, and what came out of it.
pub(super) struct Wire {
    pub(super) reassembler: Reassembler,
    pub(super) now_s: u64,
    messages: Vec<(String, bool)>,
    pub(super) transports: Vec<HeardTransport>,
    oddities: Oddities,
}

impl Wire {
    pub(super) fn new() -> Self {
        Self::with(&Limits::default())
    }

    pub(super) fn with(limits: &Limits) -> Self {
        Self {
            reassembler: Reassembler::new(limits),
            now_s: 100,
            messages: Vec::new(),
            transports: Vec::new(),
            oddities: Oddities::default(),
        }
    }

    pub(super) fn segment(&mut self, port: u16, payload: Payload<'_>, whole: bool) {
        let segment = Segment { source: (ALICE.0, port).into(), destination: BOB.into(), payload, whole };
        let now = Timestamp::from_secs(self.now_s);
        self.oddities.at(now, FrameId::default());
        let (messages, transports) = (&mut self.messages, &mut self.transports);
        let mut each = |message: RawMessage<'_>, _: &mut Oddities| {
            assert_eq!(message.destination, BOB.into());
            transports.push(message.transport);
            let text = String::from_utf8_lossy(message.bytes).into_owned();
            messages.push((text, message.whole));
        };
        self.reassembler.handle(now, &segment, &mut self.oddities, &mut each);
    }

    fn udp(&mut self, bytes: &[u8]) {
        self.segment(ALICE.1, Payload::Udp(bytes), true);
    }

    pub(super) fn tcp_from(&mut self, port: u16, sequence: u32, flag: &str, bytes: &[u8]) {
        let payload = Payload::Tcp {
            sequence,
            acknowledged: None,
            syn: flag == "syn",
            fin: flag == "fin",
            rst: flag == "rst",
            bytes,
        };
        self.segment(port, payload, flag != "cut");
    }

    pub(super) fn tcp(&mut self, sequence: u32, bytes: &[u8]) {
        self.tcp_from(ALICE.1, sequence, "", bytes);
    }

    /// In two segments, neither of which is a whole message.
    fn halves(&mut self, sequence: u32, bytes: &[u8]) {
        let (first, second) = bytes.split_at(bytes.len() / 2);
        self.tcp(sequence, first);
        self.tcp(at(sequence, first.len()), second);
    }

    pub(super) fn syn(&mut self, sequence: u32) {
        self.tcp_from(ALICE.1, sequence, "syn", b"");
    }

    /// The other side says that it has all before this byte.
    fn acknowledge(&mut self, sequence: u32) {
        let payload = Payload::Tcp {
            sequence: 1,
            acknowledged: Some(sequence),
            syn: false,
            fin: false,
            rst: false,
            bytes: b"",
        };
        let segment = Segment { source: BOB.into(), destination: ALICE.into(), payload, whole: true };
        let now = Timestamp::from_secs(self.now_s);
        self.reassembler.handle(now, &segment, &mut self.oddities, &mut |_, _| panic!("nothing was sent"));
    }

    /// Lets all be given up that is due by then, and says when the last of it was.
    pub(super) fn wait(&mut self, until: Timestamp) -> Option<Timestamp> {
        let mut last = None;
        while let Some(at) = self.reassembler.poll_timeout().filter(|&at| at <= until) {
            last = Some(at);
            let messages = &mut self.messages;
            self.reassembler.handle_timeout(at, &mut self.oddities, &mut |message, _| {
                messages.push((String::from_utf8_lossy(message.bytes).into_owned(), message.whole));
            });
        }
        last
    }

    /// Takes what came out.
    pub(super) fn came(&mut self) -> Vec<(String, bool)> {
        std::mem::take(&mut self.messages)
    }

    pub(super) fn noted(&self) -> Vec<(Oddity, u64)> {
        self.oddities.counts().collect()
    }

    pub(super) fn held_bytes(&self) -> usize {
        self.reassembler.tcp.held_bytes()
    }
}

pub(super) fn message(subject: &str, body: &str) -> String {
    format!(
        "INVITE sip:bob@example.com SIP/2.0\r\nSubject: {subject}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(super) fn whole(texts: &[&str]) -> Vec<(String, bool)> {
    texts.iter().map(|text| ((*text).to_owned(), true)).collect()
}

pub(super) fn at(base: u32, offset: usize) -> u32 {
    base.wrapping_add(u32::try_from(offset).unwrap())
}

#[test]
fn any_method_and_any_status_are_messages_and_keep_alives_are_not() {
    let messages = [
        "OPTIONS sip:bob@example.com SIP/2.0\r\n\r\n",
        "SIP/2.0 200 OK\r\n\r\n",
        "SIP/2.0 200\r\n\r\n",
        "sip/2.0 180 Ringing\r\n\r\n",
        "!interesting-Method0123456789_*+`.%indeed'~ sip:bob@example.com SIP/2.0\r\n\r\n",
        "ACK <sip:bob@example.com> SIP/2.0\n\n",
        "INVITE  tel:+123  SIP/2.0 \r\n\r\n",
    ];
    for text in messages {
        let mut wire = Wire::new();
        wire.udp(text.as_bytes());
        assert_eq!(wire.came(), whole(&[text]), "{text:?}");
        wire.udp(format!("\r\n\r\n{text}").as_bytes());
        assert_eq!(wire.came(), whole(&[text]), "{text:?}");
        assert_eq!(wire.noted(), [], "{text:?}");
    }
    let others: &[&[u8]] = &[
        b"",
        b"\r\n",
        b"\r\n\r\n",
        b"\0\0\0\0",
        b"hello",
        b"\x80\x08\x12\x34 RTP",
        b"\x16\x03\x01\x02\x00 TLS",
        b"SIP/2.0 2000 OK\r\n\r\n",
        b"SIP/2.0 2x0 OK\r\n\r\n",
        b"SIP/2.0 200 no line end",
        b"Via: SIP/2.0/UDP example.com\r\n\r\n",
        b"INVITE SIP/2.0\r\n\r\n",
        b" sip:bob@example.com SIP/2.0\r\n\r\n",
        b"OPTIONS rtsp://example.com RTSP/1.0\r\n\r\n",
        b"RTSP/1.0 200 OK\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"M-SEARCH * HTTP/1.1\r\n\r\n",
    ];
    for bytes in others {
        let mut wire = Wire::new();
        wire.udp(bytes);
        assert_eq!((wire.came(), wire.noted()), (vec![], vec![]), "{bytes:?}");
    }
}

#[test]
fn content_length_on_udp() {
    let head = "SIP/2.0 200 OK\r\nContent-Length: 4\r\n\r\n";
    let mut wire = Wire::new();
    wire.udp(format!("{head}bodySIP/2.0 200 OK\r\n\r\n").as_bytes());
    assert_eq!(wire.came(), whole(&[&format!("{head}body")]));
    assert_eq!(wire.noted(), []);
    wire.udp(format!("{head}bod").as_bytes());
    assert_eq!(wire.came(), [(format!("{head}bod"), false)]);
    assert_eq!(wire.noted(), [(Oddity::ContentLength, 1)]);
    let absent = "SIP/2.0 200 OK\r\nTo: x\r\n\r\nbody";
    wire.udp(absent.as_bytes());
    assert_eq!(wire.came(), whole(&[absent]));
    let unreadable = "SIP/2.0 200 OK\r\nContent-Length: many\r\n\r\nbody";
    wire.udp(unreadable.as_bytes());
    assert_eq!(wire.came(), whole(&[unreadable]));
    assert_eq!(wire.noted(), [(Oddity::ContentLength, 2)]);
}

#[test]
fn a_datagram_that_was_cut_tells_its_complete_lines() {
    let mut wire = Wire::new();
    let cut = |text: &'static str| (Payload::Udp(text.as_bytes()), false);
    let (payload, whole) = cut("SIP/2.0 200 OK\r\nTo: x\r\nFrom: ali");
    wire.segment(1, payload, whole);
    assert_eq!(wire.came(), [("SIP/2.0 200 OK\r\nTo: x\r\n".to_owned(), false)]);
    let (payload, whole) = cut("SIP/2.0 200 OK\r\nl: 9\r\n\r\nbody");
    wire.segment(1, payload, whole);
    assert_eq!(wire.came(), [("SIP/2.0 200 OK\r\nl: 9\r\n\r\nbody".to_owned(), false)]);
    assert_eq!(wire.noted(), []);
}

#[test]
fn several_messages_and_keep_alives_in_a_segment_and_one_over_many() {
    let (one, two) = (message("one", "body"), message("two", ""));
    let stream = format!("{one}\r\n\r\n{two}\r\n{one}");
    let mut wire = Wire::new();
    wire.syn(9);
    wire.tcp(10, stream.as_bytes());
    assert_eq!(wire.came(), whole(&[&one, &two, &one]));
    for (index, byte) in stream.bytes().enumerate() {
        wire.tcp(at(10, stream.len() + index), &[byte]);
    }
    assert_eq!(wire.came(), whole(&[&one, &two, &one]));
    assert_eq!((wire.noted(), wire.held_bytes()), (vec![], 0));
}

#[test]
fn sequence_numbers_wrap() {
    let one = message("one", &"body".repeat(100));
    let mut wire = Wire::new();
    let base = u32::MAX - 30;
    wire.syn(base.wrapping_sub(1));
    for (index, piece) in one.as_bytes().chunks(20).enumerate().collect::<Vec<_>>().into_iter().rev() {
        wire.tcp(at(base, index * 20), piece);
    }
    assert_eq!(wire.came(), whole(&[&one]));
}

#[test]
fn a_stream_is_joined_at_the_first_segment_that_begins_like_sip() {
    let one = message("one", "");
    let mut wire = Wire::new();
    wire.tcp(10, b"the end of a body\r\n");
    wire.tcp(29, one.as_bytes());
    wire.tcp(29, one.as_bytes());
    assert_eq!(wire.came(), whole(&[&one]));
    assert_eq!(wire.noted(), []);
}

#[test]
fn the_first_bytes_win_where_segments_overlap() {
    let text = message("one", "abcdefgh");
    let split = text.len() - 4;
    let mut wire = Wire::new();
    wire.syn(9);
    wire.tcp(at(10, split), &text.as_bytes()[split..split + 2]);
    wire.tcp(at(10, split - 2), b"XXYYZZ");
    wire.tcp(10, &text.as_bytes()[..split - 1]);
    let expected = format!("{}XefZZ", &text[..split - 1]);
    assert_eq!(wire.came(), whole(&[&expected]));
}

#[test]
fn what_is_not_sip_costs_nothing() {
    let streams: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
        b"GET /SIP/2.0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"SIP/2.0 200 ok\r\nHTTP/1.1 200 ok\r\nContent-type: text/plain\r\n\r\n",
        b"DESCRIBE rtsp://example.com/ RTSP/1.0\r\nCSeq: 1\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\x80\x08",
    ];
    for bytes in streams {
        for opened in [true, false] {
            let mut wire = Wire::new();
            if opened {
                wire.syn(9);
            }
            wire.tcp(10, bytes);
            wire.tcp(at(10, bytes.len()), bytes);
            assert_eq!(wire.came(), []);
            assert_eq!(wire.reassembler.tcp.len(), 0, "{bytes:?}");
            assert_eq!((wire.held_bytes(), wire.noted()), (0, vec![]));
        }
    }
}

#[test]
fn a_gap_is_waited_for_and_then_passed() {
    let (one, two) = (message("one", "body"), message("two", ""));
    let mut wire = Wire::new();
    wire.tcp(10, one.as_bytes());
    wire.halves(at(10, 2 * one.len()), two.as_bytes());
    assert_eq!(wire.came(), whole(&[&one]));
    // Any other packet shows that the time is over.
    wire.now_s += 3;
    wire.udp(b"\r\n");
    assert_eq!(wire.came(), whole(&[&two]));
    assert_eq!(wire.noted(), [(Oddity::StreamGap, 1)]);
    wire.tcp(at(10, one.len()), one.as_bytes());
    assert_eq!(wire.came(), []);
}

#[test]
fn a_gap_is_given_up_without_any_further_segment_and_soon_where_it_was_acknowledged() {
    let texts = ["one", "two", "three"].map(|subject| message(subject, ""));
    let [two, three] = [texts[0].len(), texts[0].len() + texts[1].len()].map(|offset| at(1, offset));
    let begin = Timestamp::from_secs(100);
    // Acknowledged only up to the gap; beyond it; up to what came later, no further.
    for (acknowledged, waits_ms) in
        [(None, 2_000), (Some(two), 2_000), (Some(at(1, 2_000)), 100), (Some(three), 100)]
    {
        let mut wire = Wire::new();
        wire.tcp(1, texts[0].as_bytes());
        wire.halves(three, texts[2].as_bytes());
        if let Some(sequence) = acknowledged {
            wire.acknowledge(sequence);
        }
        assert_eq!(wire.came(), whole(&[&texts[0]]));
        assert_eq!(wire.wait(begin.after(std::time::Duration::from_millis(waits_ms - 1))), None);
        let last = wire.wait(begin.after_s(3));
        assert!(last.is_some() && wire.reassembler.poll_timeout().is_none());
        assert_eq!(wire.came(), whole(&[&texts[2]]));
        assert_eq!(wire.noted(), [(Oddity::StreamGap, 1)]);
        let mut earliest = Wire::new();
        earliest.tcp(1, texts[0].as_bytes());
        earliest.halves(three, texts[2].as_bytes());
        acknowledged.into_iter().for_each(|sequence| earliest.acknowledge(sequence));
        earliest.wait(begin.after(std::time::Duration::from_millis(waits_ms)));
        assert_eq!(earliest.came(), whole(&[&texts[0], &texts[2]]));
    }
}

#[test]
fn bytes_that_were_acknowledged_and_do_not_come_are_lost_once_whatever_comes_behind_them() {
    let texts = ["one", "two", "three"].map(|subject| message(subject, ""));
    let [two, three] = [texts[0].len(), texts[0].len() + texts[1].len()].map(|offset| at(1, offset));
    let begin = Timestamp::from_secs(100);
    let lost = |wire: &mut Wire| {
        std::iter::from_fn(|| wire.reassembler.poll_loss()).map(|loss| loss.bytes).collect::<Vec<_>>()
    };
    let mut wire = Wire::new();
    wire.tcp(1, texts[0].as_bytes());
    wire.acknowledge(two);
    assert_eq!(wire.reassembler.poll_timeout(), None, "all of them have come");
    wire.acknowledge(three);
    assert_eq!(wire.wait(begin.after(std::time::Duration::from_millis(99))), None);
    assert_eq!(wire.wait(begin.after_s(1)), Some(begin.after(std::time::Duration::from_millis(100))));
    assert_eq!(lost(&mut wire), [texts[1].len()]);
    wire.acknowledge(three);
    wire.now_s += 3;
    wire.tcp(three, texts[2].as_bytes());
    wire.wait(begin.after_s(9));
    assert_eq!((lost(&mut wire), wire.noted()), (vec![], vec![(Oddity::StreamGap, 1)]));
    assert_eq!(wire.came(), whole(&[&texts[0], &texts[2]]));
    // Nobody has a gigabyte of it; and what comes late all the same is read.
    wire.acknowledge(at(three, 1 << 30));
    wire.acknowledge(at(three, 2 * texts[2].len()));
    wire.wait(begin.after_s(19));
    wire.tcp(at(three, texts[2].len()), texts[2].as_bytes());
    assert_eq!((lost(&mut wire), wire.came()), (vec![texts[2].len()], whole(&[&texts[2]])));
}

#[test]
fn bytes_are_told_to_be_lost_once_in_whatever_order_acknowledgements_come_and_a_fin_is_none() {
    let one = message("one", "");
    let next = at(1, one.len());
    let mut wire = Wire::new();
    wire.tcp(1, one.as_bytes());
    for (acknowledged, lost) in
        [(500, Some(500)), (300, None), (500, None), (502, Some(2)), (503, None), (700, Some(198))]
    {
        wire.now_s += 1;
        wire.acknowledge(at(next, acknowledged));
        wire.wait(Timestamp::from_secs(wire.now_s).after(std::time::Duration::from_millis(500)));
        let losses: Vec<_> = std::iter::from_fn(|| wire.reassembler.poll_loss())
            .map(|loss| (loss.sent_at, loss.bytes))
            .collect();
        let expected = lost.map(|lost| (Timestamp::from_secs(wire.now_s), lost));
        assert_eq!(losses, expected.into_iter().collect::<Vec<_>>(), "{acknowledged}");
    }
}

#[test]
fn bytes_that_come_soon_after_their_acknowledgement_are_taken() {
    let texts = ["one", "two", "three"].map(|subject| message(subject, ""));
    let [two, three] = [texts[0].len(), texts[0].len() + texts[1].len()].map(|offset| at(1, offset));
    let mut wire = Wire::new();
    wire.tcp(1, texts[0].as_bytes());
    wire.halves(three, texts[2].as_bytes());
    wire.acknowledge(at(three, texts[2].len()));
    wire.wait(Timestamp::from_secs(100));
    wire.tcp(two, texts[1].as_bytes());
    assert_eq!(wire.came(), whole(&[&texts[0], &texts[1], &texts[2]]));
    wire.wait(Timestamp::from_secs(110));
    assert_eq!((wire.came(), wire.noted()), (vec![], vec![]));
}

#[test]
fn whole_messages_behind_a_gap_do_not_wait_for_it() {
    let texts = ["one", "two", "three", "four"].map(|subject| message(subject, "body"));
    let places: Vec<u32> = (0..4).map(|count| at(1, texts[..count].iter().map(String::len).sum())).collect();
    let [three_and_four, two_to_four] = [2, 1].map(|first| texts[first..].concat());
    // What was missing comes alone, with copies of what is known, or never.
    for missing in [Some(texts[1].as_str()), Some(two_to_four.as_str()), None] {
        let mut wire = Wire::new();
        wire.tcp(1, texts[0].as_bytes());
        wire.tcp(places[2], three_and_four.as_bytes());
        wire.tcp(places[2], three_and_four.as_bytes());
        wire.tcp(places[3], texts[3].as_bytes());
        assert_eq!(wire.came(), whole(&[&texts[0], &texts[2], &texts[3]]));
        if let Some(missing) = missing {
            wire.tcp(places[1], missing.as_bytes());
            assert_eq!(wire.came(), whole(&[&texts[1]]));
        }
        wire.wait(Timestamp::from_secs(110));
        let next = message("next", "");
        wire.tcp(at(places[3], texts[3].len()), next.as_bytes());
        assert_eq!(wire.came(), whole(&[&next]));
        assert_eq!(wire.noted(), if missing.is_none() { vec![(Oddity::StreamGap, 1)] } else { vec![] });
        assert_eq!(wire.held_bytes(), 0);
    }
}

#[test]
fn the_rest_of_a_message_behind_a_gap_is_none_whatever_it_begins_with() {
    let one = message("one", "");
    for missing in 1..one.len() {
        let mut wire = Wire::new();
        wire.syn(9);
        wire.tcp(at(10, missing), &one.as_bytes()[missing..]);
        assert_eq!(wire.came(), [], "{missing}");
        wire.tcp(10, &one.as_bytes()[..missing]);
        assert_eq!(wire.came(), whole(&[&one]));
    }
}

#[test]
fn a_line_end_before_a_message_that_comes_early_may_be_the_last_of_a_body() {
    let (one, other) = (message("one", "v=0\r\n"), message("other", ""));
    let stream = [one.as_str(), other.as_str()].concat();
    let (first, last) = stream.as_bytes().split_at(one.len() - 2);
    let mut wire = Wire::new();
    wire.syn(99);
    wire.tcp(at(100, first.len()), last);
    assert_eq!(wire.came(), vec![], "it begins with a line end");
    wire.tcp(100, first);
    assert_eq!(wire.came(), whole(&[&one, &other]));
    assert_eq!(wire.noted(), vec![]);
}

#[test]
fn a_gap_in_a_body_does_not_hide_the_message_behind_it() {
    let (one, two) = (message("one", &"x".repeat(100)), message("two", "end"));
    let both = format!("{one}{two}");
    let (cut, go_on) = (one.len() - 80, one.len() - 40);
    let mut wire = Wire::new();
    wire.tcp(10, &both.as_bytes()[..cut]);
    wire.tcp(at(10, go_on), &both.as_bytes()[go_on..]);
    wire.now_s += 3;
    wire.tcp(10, &both.as_bytes()[..cut]);
    assert_eq!(wire.came(), [(both[..cut].to_owned(), false), (two, true)]);
    assert_eq!(wire.noted(), [(Oddity::StreamGap, 1), (Oddity::MessageCut, 1)]);
}

#[test]
fn a_gap_in_header_fields_loses_that_message_only() {
    let (one, two) = (message("one", ""), message("two", "end"));
    let both = format!("{one}{two}{one}");
    let mut wire = Wire::new();
    wire.tcp(10, &both.as_bytes()[..45]);
    wire.tcp(at(10, 55), &both.as_bytes()[55..]);
    wire.now_s += 3;
    wire.udp(b"");
    assert_eq!(wire.came(), whole(&[&two, &one]));
}

#[test]
fn more_than_is_held_behind_a_gap_ends_the_waiting() {
    let limits = Limits { tcp_stream_bytes: 4_096, ..Limits::default() };
    let mut wire = Wire::with(&limits);
    let one = message("one", &"x".repeat(900));
    wire.tcp(10, one.as_bytes());
    for index in 2..8 {
        wire.tcp(at(10, index * one.len()), one.as_bytes());
        assert!(wire.held_bytes() <= 5_200);
    }
    assert_eq!(wire.came().len(), 7);
    assert_eq!(wire.held_bytes(), 0);
    assert_eq!(wire.noted(), [(Oddity::StreamGap, 1)]);
}

#[test]
fn a_segment_cut_by_the_snapshot_length_holds_up_nothing() {
    let (one, two) = (message("one", &"x".repeat(100)), message("two", ""));
    let head = one.len() - 60;
    let mut wire = Wire::new();
    wire.tcp_from(ALICE.1, 10, "cut", &one.as_bytes()[..head]);
    assert_eq!(wire.came(), [(one[..head].to_owned(), false)]);
    wire.tcp(at(10, one.len()), two.as_bytes());
    assert_eq!(wire.came(), whole(&[&two]));
    // Cut inside the header fields.
    let next = at(10, one.len() + two.len());
    wire.tcp_from(ALICE.1, next, "cut", &one.as_bytes()[..45]);
    assert_eq!(wire.came(), [(one[..36].to_owned(), false)]);
    wire.tcp(at(next, one.len()), two.as_bytes());
    assert_eq!(wire.came(), whole(&[&two]));
    assert_eq!(wire.noted(), [(Oddity::MessageCut, 2)]);
}

#[test]
fn a_syn_begins_anew_and_its_copy_does_not() {
    let (one, two) = (message("one", "body"), message("two", ""));
    let mut wire = Wire::new();
    wire.syn(9);
    wire.tcp(10, &one.as_bytes()[..50]);
    wire.syn(9);
    wire.tcp(at(10, 50), &one.as_bytes()[50..]);
    assert_eq!(wire.came(), whole(&[&one]));
    wire.tcp(at(10, one.len()), &one.as_bytes()[..50]);
    wire.syn(900_000);
    wire.tcp(900_001, two.as_bytes());
    assert_eq!(wire.came(), whole(&[&two]));
    assert_eq!((wire.noted(), wire.held_bytes()), (vec![], 0));
}

#[test]
fn a_fin_ends_a_message_that_is_not_complete() {
    let one = message("one", "body");
    let cut = one.len() - 2;
    let mut wire = Wire::new();
    wire.tcp_from(ALICE.1, 10, "fin", &one.as_bytes()[..cut]);
    assert_eq!(wire.came(), [(one[..cut].to_owned(), false)]);
    wire.tcp_from(ALICE.1, 10, "fin", &one.as_bytes()[..cut]);
    assert_eq!((wire.came(), wire.held_bytes()), (vec![], 0));
    assert_eq!(wire.noted(), [(Oddity::MessageCut, 1)]);
}

#[test]
fn a_message_whose_fields_do_not_end_is_counted() {
    let endless = "SIP/2.0 200 OK\r\nTo: x\r\n";
    let mut wire = Wire::new();
    wire.udp(endless.as_bytes());
    assert_eq!(wire.came(), [(endless.to_owned(), false)]);
    assert_eq!(wire.noted(), [(Oddity::MessageCut, 1)]);
    wire.syn(9);
    wire.tcp(10, message("one", "").as_bytes());
    wire.tcp_from(ALICE.1, at(10, message("one", "").len()), "fin", endless.as_bytes());
    assert_eq!(wire.came(), whole(&[&message("one", "")]));
    assert_eq!(wire.noted(), [(Oddity::MessageCut, 2)]);
}

#[test]
fn no_content_length_on_tcp_means_no_body() {
    let absent = "SIP/2.0 200 OK\r\nTo: x\r\n\r\n";
    let unreadable = "SIP/2.0 200 OK\r\nl: x\r\n\r\n";
    let mut wire = Wire::new();
    wire.tcp(10, format!("{absent}{unreadable}{absent}").as_bytes());
    assert_eq!(wire.came(), whole(&[absent, unreadable, absent]));
    assert_eq!(wire.noted(), [(Oddity::ContentLength, 3)]);
}

#[test]
fn a_message_longer_than_is_held_is_passed_over() {
    let limits = Limits { message_bytes: 1_000, ..Limits::default() };
    let mut wire = Wire::with(&limits);
    let (long, two) = (message("long", &"x".repeat(5_000)), message("two", ""));
    let stream = format!("{two}{long}{two}");
    for (index, piece) in stream.as_bytes().chunks(700).enumerate() {
        wire.tcp(at(10, index * 700), piece);
    }
    assert_eq!(wire.came(), whole(&[&two, &two]));
    assert_eq!(wire.noted(), [(Oddity::MessageTooLong, 1)]);
    wire.udp(long.as_bytes());
    assert_eq!(wire.came(), []);
    let endless = format!("SIP/2.0 200 OK\r\nSubject: {}", "x".repeat(3_000));
    let end = at(10, stream.len());
    wire.tcp(end, endless.as_bytes());
    wire.tcp(at(end, endless.len()), format!("\r\n{two}").as_bytes());
    assert_eq!(wire.came(), whole(&[&two]));
}

#[test]
fn text_that_is_no_sip_between_messages_is_noted_and_passed() {
    let one = message("one", "");
    let mut wire = Wire::new();
    wire.tcp(10, format!("{one}what is this\r\n\x01\x02\r\n{one}").as_bytes());
    assert_eq!(wire.came(), whole(&[&one, &one]));
    assert_eq!(wire.noted(), [(Oddity::StreamNotSip, 1)]);
}

#[test]
fn streams_are_bounded_and_a_flood_of_syns_drives_out_only_itself() {
    let limits = Limits { tcp_streams: 10, ..Limits::default() };
    let mut wire = Wire::with(&limits);
    let one = message("one", "body");
    let (front, back) = one.as_bytes().split_at(60);
    for port in 0..9 {
        wire.tcp_from(port, 10, "", front);
    }
    for port in 1_000..2_000 {
        wire.tcp_from(port, 10, "syn", b"");
    }
    assert_eq!((wire.reassembler.tcp.len(), wire.noted()), (10, vec![]));
    for port in 0..9 {
        wire.tcp_from(port, 70, "", back);
    }
    assert_eq!(wire.came().len(), 9);
    for port in 100..120 {
        wire.tcp_from(port, 10, "", front);
    }
    assert_eq!(wire.reassembler.tcp.len(), 10);
    assert!(wire.oddities.count(Oddity::StreamEvicted) >= 19);
}

#[test]
fn directions_do_not_mix() {
    let one = message("one", "body");
    let mut wire = Wire::new();
    for (index, piece) in one.as_bytes().chunks(10).enumerate() {
        for port in 1..4 {
            wire.tcp_from(port, at(10, index * 10), "", piece);
        }
    }
    // Only the first segment of each begins with a whole start line if it is long enough.
    assert_eq!(wire.came(), []);
    for port in 1..4 {
        wire.tcp_from(port, 9, "syn", b"");
    }
    for (index, piece) in one.as_bytes().chunks(10).enumerate() {
        for port in 1..4 {
            wire.tcp_from(port, at(10, index * 10), "", piece);
        }
    }
    assert_eq!(wire.came(), whole(&[&one, &one, &one]));
}

fn any_messages() -> impl Strategy<Value = Vec<String>> {
    let body = "[ -~\r\n]{0,120}";
    proptest::collection::vec(("[a-z]{1,9}", body), 1..6)
        .prop_map(|messages| messages.iter().map(|(subject, body)| message(subject, body)).collect())
}

proptest! {
    #[test]
    fn any_segmentation_order_and_duplication_gives_the_same_messages(
        messages in any_messages(),
        keep_alives in any::<bool>(),
        base in any::<u32>(),
        sizes in proptest::collection::vec(1_usize..90, 1..12),
        overlap in 0_usize..9,
        shuffle in any::<u64>(),
        copies in 1_usize..4,
    ) {
        let stream = messages.join(if keep_alives { "\r\n\r\n" } else { "" });
        let bytes = stream.as_bytes();
        let mut segments = Vec::new();
        let (mut offset, mut turn) = (0, 0);
        while offset < bytes.len() {
            let end = (offset + sizes[turn % sizes.len()]).min(bytes.len());
            let from = offset.saturating_sub(overlap);
            for _ in 0..copies {
                segments.push((at(base, from), &bytes[from..end]));
            }
            (offset, turn) = (end, turn + 1);
        }
        let mut state = shuffle | 1;
        for index in (1..segments.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            segments.swap(index, usize::try_from(state >> 33).unwrap() % (index + 1));
        }
        let mut wire = Wire::new();
        wire.syn(base.wrapping_sub(1));
        for (sequence, segment) in segments {
            wire.tcp(sequence, segment);
        }
        let expected: Vec<&str> = messages.iter().map(String::as_str).collect();
        // Those that came whole before their turn did not wait for it.
        let [mut came, mut expected] = [wire.came(), whole(&expected)];
        came.sort();
        expected.sort();
        prop_assert_eq!(came, expected);
        prop_assert_eq!(wire.noted(), vec![]);
        prop_assert_eq!(wire.held_bytes(), 0);
    }

    #[test]
    fn arbitrary_segments_never_panic_and_stay_bounded(
        segments in proptest::collection::vec(
            (0_u16..3, 0_u32..400, 0_usize..5, any::<bool>(), proptest::collection::vec(any::<u8>(), 0..60), 0_usize..200),
            0..60,
        ),
        seconds in 0_u64..3,
    ) {
        let limits = Limits { tcp_streams: 2, tcp_stream_bytes: 512, message_bytes: 256, ..Limits::default() };
        let mut wire = Wire::with(&limits);
        let text = message("one", "body").repeat(3);
        for (port, sequence, flag, is_sip, noise, offset) in segments {
            let bytes = if is_sip {
                &text.as_bytes()[offset.min(text.len())..]
            } else {
                &noise
            };
            let flag = ["", "syn", "fin", "rst", "cut"][flag];
            wire.tcp_from(port, sequence, flag, bytes);
            wire.udp(bytes);
            wire.now_s += seconds;
            prop_assert!(wire.reassembler.tcp.len() <= 2);
            prop_assert!(wire.held_bytes() <= 4_096, "{}", wire.held_bytes());
        }
    }
}

#[test]
fn what_is_searched_begins_a_line_only_where_one_begins() {
    // One message, then a line that is none and that ends like a start line; however it is cut.
    let (first, last) = (message("1", ""), message("2", ""));
    let stream = format!("{first}OP\u{7}TIONS sip:bob@example.com SIP/2.0\r\nSubject: 3\r\n\r\n{last}");
    for end in 1..stream.len() {
        let mut wire = Wire::new();
        wire.syn(9);
        wire.tcp(10, &stream.as_bytes()[..end]);
        wire.tcp(10 + u32::try_from(end).unwrap(), &stream.as_bytes()[end..]);
        assert_eq!(wire.came(), [(first.clone(), true), (last.clone(), true)], "cut at {end}");
    }
}
