//! The ladder as a reader sees it.
//! In: things that a tap puts out. Out: lines compared with what they should be. Knows nothing of captures.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::sync::Arc;

use super::super::PublicationCounts;
use super::*;
use crate::base::HeardTransport;
use crate::presence::EventPackage;
use crate::presence::PresentityState;
use crate::sip::Aor;
use crate::tap::Counters;
use crate::track::{DialogState, Evidence, Rule, Side};
use crate::watch::{DialogTold, PresenceTold, What};

const ALICE: &str = "192.0.2.10:5060";
const BOB: &str = "192.0.2.11:5060";
const PBX: &str = "192.0.2.1:5060";

fn message(ms: u64, number: u64, hop: [&str; 2], title: &str, has_sdp: bool) -> TapOutput {
    let [source, destination] = hop.map(|text| text.parse::<SocketAddr>().unwrap());
    TapOutput::Message(MessageSeen {
        at: at(ms),
        frame: FrameId::new(0, number),
        source,
        destination,
        transport: HeardTransport::Udp,
        title: title.to_owned(),
        call_id: "c1".into(),
        // What is said again on the same hop within a second is the same message.
        mark: {
            let mut mark = DefaultHasher::new();
            (source, destination, title, ms / 1_000).hash(&mut mark);
            mark.finish()
        },
        has_sdp,
        from: "sip:alice@example.com".to_owned(),
        to: "sip:bob@example.com".to_owned(),
    })
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_nanos(1_795_327_681_000_000_000 + ms * 1_000_000)
}

fn change(ms: u64, number: u64, user: &str, before: Session, after: Session, rule: Rule) -> TapOutput {
    TapOutput::Change(PresentityChange {
        at: at(ms),
        aor: Aor::from_uri(format!("sip:{user}@example.com").as_bytes()).unwrap(),
        kind: ChangeKind::Status,
        previous: (Terminal::Online, before),
        previous_contact: None,
        because: Evidence { rule, frame: FrameId::new(0, number), call_id: "c1".into() },
        state: Arc::new(PresentityState {
            terminal: Terminal::Online,
            session: after,
            peer: Some("sip:carol@example.com".into()),
            ..PresentityState::default()
        }),
    })
}

fn ladder(style: Style, outputs: &[TapOutput], counters: Counters) -> String {
    let mut ladder = Ladder::new(Vec::new(), style, Sources::new(&["office.pcap".to_owned()]));
    for output in outputs {
        ladder.output(output).unwrap();
    }
    let summary = Summary {
        last: ladder.last,
        counters,
        capture: Vec::new(),
        publications: PublicationCounts::default(),
        redial: None,
    };
    ladder.summary(&summary).unwrap();
    String::from_utf8(ladder.out).unwrap()
}

fn a_call() -> Vec<TapOutput> {
    vec![
        message(0, 1, [ALICE, PBX], "INVITE sip:bob@example.com", true),
        change(0, 1, "alice", Session::Idle, Session::Calling, Rule::Invite),
        message(1, 2, [PBX, ALICE], "100 Trying (INVITE)", false),
        message(3, 3, [PBX, BOB], "INVITE sip:bob@192.0.2.11", true),
        message(503, 4, [PBX, BOB], "INVITE sip:bob@192.0.2.11", true),
        message(510, 5, [BOB, PBX], "180 Ringing (INVITE)", false),
        change(510, 5, "bob", Session::Idle, Session::Ringing, Rule::Invite180),
        message(900, 6, [BOB, PBX], "200 OK (INVITE)", true),
        change(900, 6, "bob", Session::Ringing, Session::Talking, Rule::Invite200),
        message(910, 7, [ALICE, BOB], "ACK sip:bob@192.0.2.11", false),
        message(3_720_000, 8, [ALICE, PBX], "BYE sip:bob@192.0.2.11", false),
        message(3_720_010, 9, [PBX, ALICE], "200 OK (BYE)", false),
    ]
}

#[test]
fn a_call_reads_from_top_to_bottom() {
    let text = ladder(Style { colours: false, width: 120 }, &a_call(), Counters::default());
    let expected = "\
office.pcap · begins 2026-11-22 06:08:01.000000 UTC; times are counted from there

       time   frame    192.0.2.10           192.0.2.1
   0:00.000       1         │── INVITE (SDP) ──▶│   alice@example.com → bob@example.com
                     ● alice@example.com  online/idle → online/calling  with carol@example.com  (invite, frame 1)
   0:00.001       2         │◀─── 100 Trying ───│
";
    assert!(text.starts_with(expected), "{text}");
    assert!(text.contains("● bob@example.com  online/ringing → online/talking  with carol@example.com  (invite-200, frame 6)"), "{text}");
    assert!(text.contains("┄"), "the second INVITE on the hop is a retransmission:\n{text}");
    assert!(text.contains("1 h 1 min later"), "{text}");
    assert!(text.contains("bob@example.com    online           talking     0:00.900  invite-200, frame 6, with carol@example.com"), "{text}");
}

#[test]
fn no_line_is_wider_than_the_terminal_and_none_carries_control_characters() {
    let mut outputs = a_call();
    outputs.push(message(0, 9, [ALICE, PBX], "INV\x1b[2J\u{202e}ITE sip:\x07bob@example.com", false));
    outputs.push(message(0, 9, [ALICE, PBX], "603 \x1b]0;title\x07 (INVITE)", false));
    let text = ladder(Style { colours: false, width: 120 }, &outputs, Counters::default());
    for line in text.lines() {
        assert!(line.chars().count() <= 130, "{line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
}

#[test]
fn a_file_without_sip_says_so_in_counts() {
    let counters = Counters { frames: 3, oddities: vec![("stream_gap", 2)], ..Counters::default() };
    let text = ladder(Style::plain(), &[], counters);
    assert_eq!(
        text,
        "3 frames, 0 SIP messages, 0 presentities, 0 changes.\nNo SIP was seen: it may be encrypted, or not in this capture.\nStrange:\n         2 × bytes of a TCP stream that were not captured\n"
    );
}

#[test]
fn what_has_the_same_mark_within_a_transaction_is_repeated() {
    let mut repeats = Repeats::default();
    let mut repeated = |ms, mark| match message(ms, 1, [ALICE, PBX], "REGISTER sip:example.com", false) {
        TapOutput::Message(message) => repeats.is_repeat(&MessageSeen { mark, ..message }),
        _ => false,
    };
    assert!(!repeated(0, 1));
    assert!(repeated(500, 1));
    assert!(!repeated(520, 2), "with credentials: a new transaction");
    assert!(repeated(31_000, 1));
    assert!(!repeated(33_000, 1), "no transaction lasts that long");
}

fn told(user: &str, event: EventPackage, what: What) -> Told {
    let aor = Aor::from_uri(format!("sip:{user}@example.com").as_bytes()).unwrap();
    Told { at: at(0), aor, event, what }
}

fn open(user: &str, activity: Option<&str>) -> Told {
    let activities = activity.map(str::to_owned).into_iter().collect();
    let presence = PresenceTold { open: Some(true), activities, ..PresenceTold::default() };
    told(user, EventPackage::Presence, What::Presence(presence))
}

fn early_from_alice() -> Told {
    let dialog = DialogTold {
        state: DialogState::Early,
        side: Some(Side::Called),
        held: false,
        remote: Some("sip:alice@example.com".to_owned()),
    };
    told("bob", EventPackage::Dialog, What::Dialogs(vec![dialog]))
}

fn beside(width: usize, told: &[(usize, Told)]) -> String {
    let style = Style { colours: false, width };
    let sources = Sources::new(&["office.pcap".to_owned()]);
    let mut ladder = Ladder::new(Vec::new(), style, sources).beside_watcher();
    for (index, output) in a_call().iter().enumerate() {
        ladder.output(output).unwrap();
        for (_, told) in told.iter().filter(|(after, _)| *after == index) {
            ladder.told(told).unwrap();
        }
    }
    ladder.flush().unwrap();
    String::from_utf8(ladder.out).unwrap()
}

#[test]
fn what_a_watcher_is_told_stands_to_the_right_on_the_row_of_the_status() {
    let told = [
        (6, early_from_alice()),
        (6, open("bob", None)),
        (8, open("carol", None)),
        (8, open("bob", Some("on-the-phone"))),
        (8, open("bob", Some("on-the-phone"))),
        (9, told("bob", EventPackage::Dialog, What::Dialogs(Vec::new()))),
    ];
    let text = beside(130, &told);
    let expected = "\
       time   frame    192.0.2.10           192.0.2.1          192.0.2.11                       what a watcher is told
   0:00.003       3         │                   │── INVITE (SDP) ──▶│   alice → bob
   0:00.503       4         │                   │┄┄ INVITE (SDP) ┄┄▶│   repeated
   0:00.510       5         │                   │◀── 180 Ringing ───│
                     ● bob  online/idle → ringing  with carol  (invite-180, frame 5)            ◆ bob     early from alice
                            │                   │                   │                           ◆ bob     open
   0:00.900       6         │                   │◀── 200 OK (SDP) ──│
                     ● bob  online/ringing → talking  with carol  (invite-200, frame 6)         ◆ bob     open, on the phone
                            │                   │                   │                           ◆ carol   open
   0:00.910       7         │─────── ACK ───────┼──────────────────▶│
                            │                   │                   │                           ◆ bob     no dialog
";
    assert!(text.contains(expected), "{text}");
    assert_eq!(text.matches("on the phone").count(), 1, "the same words are not said twice:\n{text}");
}

#[test]
fn what_is_told_while_the_ladder_waits_has_a_row_of_its_own() {
    let style = Style { colours: false, width: 130 };
    let mut ladder = Ladder::new(Vec::new(), style, Sources::default()).beside_watcher();
    for output in a_call().iter().take(2) {
        ladder.output(output).unwrap();
    }
    ladder.flush().unwrap();
    let written = ladder.out.len();
    ladder.told(&open("alice", None)).unwrap();
    ladder.flush().unwrap();
    let row = String::from_utf8(ladder.out.split_off(written)).unwrap();
    assert_eq!(row, format!("{:28}│{:19}│{:47}◆ alice   open\n", "", "", ""));
}

#[test]
fn a_narrow_terminal_has_a_row_for_each_thing_that_is_told() {
    let text = beside(100, &[(8, open("bob", Some("on-the-phone")))]);
    let row = format!("\n{:21}◆ bob@example.com is told to watchers as: open, on the phone\n", "");
    assert!(text.contains(&row), "{text}");
}

#[test]
fn with_two_sides_no_row_is_wider_than_the_terminal_and_none_runs_into_the_other_side() {
    let long = "sip:somebody-with-a-very-long-name@a-domain-that-is-not-the-first.example.org";
    let presence = PresenceTold { note: Some("n".repeat(500)), ..PresenceTold::default() };
    let told = Told {
        at: at(0),
        aor: Aor::from_uri(long.as_bytes()).unwrap(),
        event: EventPackage::Presence,
        what: What::Presence(presence),
    };
    for (width, column) in [(110, 76), (130, 96), (200, 136)] {
        let text = beside(width, &[(0, told.clone()), (3, open("bob", None)), (11, early_from_alice())]);
        let mut marks = 0;
        // The two lines that say which capture it is are not part of the ladder.
        for line in text.lines().skip(2) {
            assert!(line.chars().count() <= width, "{line}");
            if let Some(mark) = line.chars().position(|character| character == '◆') {
                assert_eq!(mark, column, "{line}");
                marks += 1;
            }
        }
        assert_eq!(marks, 3, "{text}");
    }
}
