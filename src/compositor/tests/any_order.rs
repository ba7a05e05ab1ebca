//! Publications of several taps and phones in any order: nothing contradicts itself, and watchers end up with the truth.

use proptest::prelude::*;

use super::*;
use crate::presence::pidf::Facet;
use crate::presence::{DialogView, Session, Terminal, dialog_info_read, pidf_read};
use crate::track::DialogState;

#[derive(Clone, Debug)]
enum Operation {
    /// Publisher, what the terminal is, what each of three calls is.
    Say(usize, u8, [u8; 3]),
    Refresh(usize),
    Remove(usize),
    Wait(u64),
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let publisher = 0..6_usize;
    let operation = prop_oneof![
        6 => (publisher.clone(), 0..4_u8, [0..6_u8, 0..6_u8, 0..6_u8])
            .prop_map(|(who, terminal, calls)| Operation::Say(who, terminal, calls)),
        1 => publisher.clone().prop_map(Operation::Refresh),
        1 => publisher.prop_map(Operation::Remove),
        2 => (0..90_u64).prop_map(Operation::Wait),
    ];
    proptest::collection::vec(operation, 1..40)
}

fn call(number: u64, what: u8) -> Option<DialogView> {
    let state = match what {
        0 => return None,
        1 => DialogState::Trying,
        2 => DialogState::Early,
        3 | 4 => DialogState::Confirmed,
        _ => DialogState::Terminated,
    };
    let held = what == 4;
    let remote_tag = if what == 1 { None } else { Some("b".into()) };
    Some(DialogView { held, remote_tag, ..dialog(number, state) })
}

fn known(terminal: u8, calls: [u8; 3]) -> Known {
    let known = match terminal {
        0 => Known::default(),
        1 => Known::offline(),
        2 => Known::online(),
        _ => Known { contacts: vec!["sip:alice@192.0.2.51"], ..Known::online() },
    };
    let dialogs: Vec<DialogView> = (0..).zip(calls).filter_map(|(number, what)| call(number, what)).collect();
    known.with(&dialogs)
}

/// A phone's own document.
fn phone(terminal: u8, talking: bool) -> Vec<u8> {
    let basic = match terminal {
        0 => "",
        1 => "<tuple id=\"a\"><status><basic>closed</basic></status></tuple>",
        _ => "<tuple id=\"a\"><status><basic>open</basic></status></tuple>",
    };
    let activity = if talking { "<rpid:activities><rpid:on-the-phone/></rpid:activities>" } else { "" };
    format!(
        "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" \
         entity=\"sip:alice@example.com\">{basic}{activity}</presence>"
    )
    .into_bytes()
}

/// Two watchers who answer every NOTIFY and believe what they are told.
fn answer_all(bench: &mut Bench, answered: &mut usize) {
    while let Some(told) = bench.heard.get(*answered).cloned() {
        *answered += 1;
        let ok = answer_to(&told, 200);
        bench.send(told.hop, &ok);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_publications_contradicts_itself(operations in operations()) {
        let mut options = PresenceServerOptions::new([7; 32]);
        (options.max_expires_s, options.default_expires_s) = (86_400, 86_400);
        let mut bench = Bench::with(options, &Limits::default());
        let mut answered = 0;
        for package in ["presence", "dialog"] {
            let headers = [("Event", package), ("Contact", "<sip:peer@192.0.2.7:5070>")];
            bench.ask("SUBSCRIBE", &headers, b"");
        }
        let mut publishers = [
            Published::presence(Facet::Combined),
            Published::presence(Facet::Terminal),
            Published::presence(Facet::Session),
            Published::dialog(),
            Published::presence(Facet::Combined),
            Published::presence(Facet::Combined),
        ];
        let mut ended = std::collections::BTreeSet::new();
        for operation in operations {
            match operation {
                Operation::Say(who, terminal, calls) => {
                    let publisher = &mut publishers[who];
                    publisher.expires_s = 60 + 20 * who as u32;
                    if who == 5 {
                        publisher.raw(&mut bench, &phone(terminal, calls[0] > 2));
                    } else {
                        let known = known(terminal, calls);
                        publisher.say(&mut bench, &known);
                        if publisher.facet != Facet::Terminal {
                            ended.extend(known.dialogs.iter().filter(|dialog| dialog.state == DialogState::Terminated).filter_map(crate::presence::dialog_info::dialog_id));
                        }
                    }
                }
                Operation::Refresh(who) if publishers[who].tag.is_some() => publishers[who].refresh(&mut bench),
                Operation::Remove(who) if publishers[who].tag.is_some() => publishers[who].remove(&mut bench),
                Operation::Wait(seconds) => {
                    for _ in 0..seconds {
                        answer_all(&mut bench, &mut answered);
                        bench.pass(Duration::from_secs(1));
                    }
                }
                _ => {}
            }
            answer_all(&mut bench, &mut answered);
            // Who expired has to begin anew.
            for publisher in &mut publishers {
                let alive = publisher.tag.as_deref().is_none_or(|tag| {
                    bench.publish(publisher.package, Some(tag), 1, b"").status() == Some(423)
                });
                if !alive {
                    publisher.tag = None;
                }
            }
            let stored = bench.server.presentities.stored(&alice()).expect("it is watched");
            let talking = matches!(stored.session, Session::Talking | Session::Held);
            match stored.terminal {
                Terminal::Offline | Terminal::Unknown => prop_assert!(!talking, "{stored:?}"),
                Terminal::OfflineWaiting => prop_assert!(talking, "{stored:?}"),
                Terminal::Online => {}
            }
            if publishers.iter().all(|publisher| publisher.tag.is_none()) {
                prop_assert_eq!(bench.status(), (Terminal::Unknown, Session::Idle));
            }
        }
        answer_all(&mut bench, &mut answered);
        bench.pass(Duration::from_secs(1));
        answer_all(&mut bench, &mut answered);

        let last = |package| bench.heard.iter().rev().find(|told| told.field("Event") == Some(package)).unwrap();
        let told = pidf_read::read(last("presence").body().as_bytes()).unwrap().status.unwrap();
        prop_assert_eq!((told.terminal.unwrap(), told.session.unwrap()), bench.status());
        let told = dialog_info_read::read(last("dialog").body().as_bytes()).unwrap();
        for dialog in told.dialogs {
            prop_assert!(dialog.state == DialogState::Terminated || !ended.contains(&dialog.id));
        }
        let mut versions: Vec<&Got> =
            bench.heard.iter().filter(|told| told.field("Event") == Some("dialog")).collect();
        // Retransmissions.
        versions.dedup_by_key(|told| told.text.as_str());
        for (at, told) in versions.into_iter().enumerate() {
            let version = format!("version=\"{at}\"");
            prop_assert!(told.body().contains(&version));
            prop_assert_eq!(told.field("CSeq").unwrap(), format!("{} NOTIFY", at + 1));
        }
    }
}
