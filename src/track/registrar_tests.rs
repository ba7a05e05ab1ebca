//! What the registrar makes of REGISTERs, one message at a time.

use super::*;
use crate::base::{FrameId, HeardTransport, Texts};
use crate::sip::Scanner;
use crate::track::{BindingEvent, Observation};

/// One message of a user's phone at 192.0.2.11, to or from its registrar.
fn hear(registrar: &mut Registrar, out: &mut Findings, start_line: &str, user: &str, fields: &str) {
    hear_number(registrar, out, start_line, user, 1, fields);
}

fn hear_number(
    registrar: &mut Registrar,
    out: &mut Findings,
    start_line: &str,
    user: &str,
    cseq: u32,
    fields: &str,
) {
    hear_part(registrar, out, start_line, user, cseq, fields, true);
}

/// The same; `whole`: nothing of it was cut off.
fn hear_part(
    registrar: &mut Registrar,
    out: &mut Findings,
    start_line: &str,
    user: &str,
    cseq: u32,
    fields: &str,
    whole: bool,
) {
    let limits = Limits::default();
    let text = format!(
        "{start_line}\r\nVia: SIP/2.0/UDP 192.0.2.11;branch=z9hG4bK{user}{cseq}\r\nFrom: <sip:{user}@example.com>;tag=1\r\n\
         To: <sip:{user}@example.com>\r\nCall-ID: {user}\r\nCSeq: {cseq} REGISTER\r\n\
         {fields}Content-Length: 0\r\n\r\n"
    );
    let mut scanner = Scanner::new(&limits);
    let message = scanner.scan(text.as_bytes()).expect("a message");
    let (phone, server) = ("192.0.2.11:5060", "192.0.2.1:5060");
    let (source, destination) = if message.status().is_some() { (server, phone) } else { (phone, server) };
    let heard = Heard {
        at: out.at,
        frame: FrameId::default(),
        source: source.parse().expect("an address"),
        destination: destination.parse().expect("an address"),
        transport: HeardTransport::Udp,
        whole,
        message: &message,
        texts: &Texts::default(),
    };
    registrar.notice(&heard, out);
    registrar.handle(&heard, out, &mut Oddities::default());
}

fn registered(registrar: &mut Registrar, user: &str, out: &mut Findings) {
    let contact = format!("Contact: <sip:{user}@192.0.2.11>;expires=600\r\n");
    hear(registrar, out, "SIP/2.0 200 OK", user, &contact);
}

fn findings() -> Findings {
    Findings::new(Timestamp::from_secs(1))
}

/// What bindings came or went by.
fn rules(out: &Findings) -> Vec<Rule> {
    let is_binding = |observation: &&Observation| matches!(observation.fact, Fact::Binding(_));
    out.queue.iter().filter(is_binding).map(|observation| observation.evidence.rule).collect()
}

const REGISTER: &str = "REGISTER sip:example.com SIP/2.0";
/// With credentials.
const ASKED: &str = "Contact: <sip:alice@192.0.2.11>;expires=3600\r\nAuthorization: Digest username=\"alice\", \
                     realm=\"example.com\", nonce=\"n\", uri=\"sip:example.com\", response=\"r\"\r\n";

#[test]
fn a_register_that_its_refusal_overtook_is_not_believed() {
    for apart_ms in [400, 600, 30_000] {
        let mut registrar = Registrar::new(&Limits::default());
        let mut out = findings();
        hear(&mut registrar, &mut out, "SIP/2.0 403 Forbidden", "alice", "");
        out.at = out.at.after(std::time::Duration::from_millis(apart_ms));
        hear(&mut registrar, &mut out, REGISTER, "alice", ASKED);
        out.at = out.at.after_s(5);
        registrar.handle_timeout(out.at, &mut out);
        hear(&mut registrar, &mut out, "SIP/2.0 403 Forbidden", "bob", "");
        assert_eq!(rules(&out), [], "{apart_ms} ms");
    }
}

#[test]
fn answers_to_nothing_do_not_prove_that_messages_are_lost() {
    let mut registrar = Registrar::new(&Limits::default());
    let mut out = findings();
    let contact = "Contact: <sip:alice@192.0.2.11>;expires=600\r\n";
    for cseq in 1..=9 {
        out.at = out.at.after_s(1);
        hear_number(&mut registrar, &mut out, "SIP/2.0 401 Unauthorized", "alice", cseq, "");
        hear_number(&mut registrar, &mut out, "SIP/2.0 200 OK", "alice", cseq + 10, contact);
    }
    assert!(!out.losses.are_known(out.at));
    // What the registrar answers of an exchange that is seen shows that a request is missing of it.
    hear_number(&mut registrar, &mut out, REGISTER, "alice", 30, contact);
    hear_number(&mut registrar, &mut out, "SIP/2.0 200 OK", "alice", 30, contact);
    hear_number(&mut registrar, &mut out, "SIP/2.0 401 Unauthorized", "alice", 31, "");
    assert!(!out.losses.are_known(out.at));
    hear_number(&mut registrar, &mut out, "SIP/2.0 200 OK", "alice", 32, contact);
    assert!(out.losses.are_known(out.at));
}

#[test]
fn the_200_that_follows_a_challenge_proves_that_the_register_between_them_was_lost() {
    let mut registrar = Registrar::new(&Limits::default());
    let mut out = findings();
    for user in ["alice", "bob"] {
        let contact = format!("Contact: <sip:{user}@192.0.2.11>;expires=600\r\n");
        hear(&mut registrar, &mut out, REGISTER, user, &contact);
        hear(&mut registrar, &mut out, "SIP/2.0 401 Unauthorized", user, "");
        assert!(!out.losses.are_known(out.at));
        hear_number(&mut registrar, &mut out, "SIP/2.0 200 OK", user, 2, &contact);
    }
    assert!(out.losses.are_known(out.at));
}

#[test]
fn late_answers_of_a_slow_registrar_do_not_prove_that_messages_are_lost() {
    let mut registrar = Registrar::new(&Limits::default());
    let mut out = findings();
    let contact = "Contact: <sip:alice@192.0.2.11>;expires=600\r\n";
    hear(&mut registrar, &mut out, REGISTER, "alice", contact);
    hear(&mut registrar, &mut out, "SIP/2.0 200 OK", "alice", contact);
    let answers = ["SIP/2.0 401 Unauthorized", "SIP/2.0 403 Forbidden", "SIP/2.0 200 OK"];
    for (cseq, answer) in (2..).zip(answers) {
        hear_number(&mut registrar, &mut out, REGISTER, "alice", cseq, contact);
        // The phone asks again, seen or not, until Timer F; each time it is answered.
        for again_after_s in [20, 4, 4, 4, 4] {
            out.at = out.at.after_s(again_after_s);
            hear_number(&mut registrar, &mut out, answer, "alice", cseq, contact);
        }
        hear_number(&mut registrar, &mut out, REGISTER, "alice", cseq, contact);
        hear_number(&mut registrar, &mut out, answer, "alice", cseq, contact);
    }
    assert!(!out.losses.are_known(out.at));
}

#[test]
fn a_refresh_that_is_refused_after_it_was_believed_leaves_the_registration_as_it_was() {
    let mut registrar = Registrar::new(&Limits::default());
    let mut out = findings();
    registered(&mut registrar, "alice", &mut out);
    let expiry = |out: &Findings| {
        let last = out.queue.iter().rev().find_map(|observation| match &observation.fact {
            Fact::Binding(fact) => Some((observation.evidence.rule, fact.event)),
            _ => None,
        });
        last.expect("a binding")
    };
    let (_, granted) = expiry(&out);
    out.at = out.at.after_s(500);
    hear_number(&mut registrar, &mut out, REGISTER, "alice", 2, ASKED);
    out.at = out.at.after_s(5);
    registered(&mut registrar, "bob", &mut out);
    registrar.handle_timeout(out.at, &mut out);
    let (rule, believed) = expiry(&out);
    assert_eq!(rule, Rule::RegisterPresumed);
    assert_ne!(believed, granted);
    hear_number(&mut registrar, &mut out, "SIP/2.0 403 Forbidden", "alice", 2, "");
    assert_eq!(expiry(&out), (Rule::RegisterDisproved, granted));
}

#[test]
fn a_copy_of_an_answer_that_lists_nothing_takes_nobody_offline() {
    let mut registrar = Registrar::new(&Limits::default());
    let mut out = findings();
    let contact = "Contact: <sip:alice@192.0.2.11>;expires=600\r\n";
    hear(&mut registrar, &mut out, REGISTER, "alice", contact);
    registered(&mut registrar, "alice", &mut out);
    assert_eq!(rules(&out), [Rule::Register200]);
    let again = |registrar: &mut Registrar, out: &mut Findings, start_line: &str, fields: &str| {
        hear_number(registrar, out, start_line, "alice", 2, fields);
    };
    again(&mut registrar, &mut out, REGISTER, contact);
    for _copy in 0..3 {
        again(&mut registrar, &mut out, "SIP/2.0 200 OK", "");
    }
    assert_eq!(rules(&out), [Rule::Register200], "the registrar does not list, and has not emptied its list");
    // A later one, whose request was not seen, stands by itself.
    out.at = out.at.after_s(60);
    hear_number(&mut registrar, &mut out, "SIP/2.0 200 OK", "alice", 3, "");
    assert_eq!(rules(&out), [Rule::Register200, Rule::RegisterMissing]);
}

#[test]
fn a_whole_copy_of_an_answer_that_was_cut_or_not_seen_counts() {
    let own = "Contact: <sip:alice@192.0.2.11>;expires=600\r\n";
    let both = format!("{own}Contact: <sip:alice@192.0.2.12>;expires=300\r\n");
    let contacts = |out: &Findings| {
        let registered = out.queue.iter().filter_map(|observation| match &observation.fact {
            Fact::Binding(fact) => Some((fact.binding.contact.to_string(), fact.event)),
            _ => None,
        });
        registered.collect::<Vec<_>>()
    };
    let answer = |registrar: &mut Registrar, out: &mut Findings, fields: &str, whole| {
        hear_part(registrar, out, "SIP/2.0 200 OK", "alice", 2, fields, whole);
    };
    for seen_in_part in [true, false] {
        let mut registrar = Registrar::new(&Limits::default());
        let mut out = findings();
        hear(&mut registrar, &mut out, REGISTER, "alice", own);
        hear(&mut registrar, &mut out, "SIP/2.0 200 OK", "alice", &both);
        out.at = out.at.after_s(100);
        hear_number(&mut registrar, &mut out, REGISTER, "alice", 2, own);
        if seen_in_part {
            answer(&mut registrar, &mut out, "", false);
        } else {
            out.at = out.at.after_s(5);
            registered(&mut registrar, "bob", &mut out);
            registrar.handle_timeout(out.at, &mut out);
        }
        out.queue.clear();
        // The phone at .12 is gone.
        answer(&mut registrar, &mut out, own, true);
        let gone = ("sip:alice@192.0.2.12".to_owned(), BindingEvent::Removed);
        assert!(contacts(&out).contains(&gone), "{seen_in_part}: {:?}", contacts(&out));
        // A further copy, whole or not, says no more.
        out.queue.clear();
        answer(&mut registrar, &mut out, &both, true);
        answer(&mut registrar, &mut out, &both, false);
        assert_eq!(contacts(&out), []);
    }
}

#[test]
fn a_contact_that_is_listed_for_less_than_a_second_is_there_until_its_time_is_over() {
    let mut registrar = Registrar::new(&Limits::default());
    let mut out = findings();
    registered(&mut registrar, "alice", &mut out);
    out.at = out.at.after(std::time::Duration::from_millis(599_400));
    let other = "Contact: <sip:alice@192.0.2.12>;expires=600\r\n";
    let both = format!("Contact: <sip:alice@192.0.2.11>;expires=0\r\n{other}");
    hear_number(&mut registrar, &mut out, REGISTER, "alice", 2, other);
    hear_number(&mut registrar, &mut out, "SIP/2.0 200 OK", "alice", 2, &both);
    assert_eq!(rules(&out), [Rule::Register200, Rule::Register200]);
    // One that was taken back is gone, though it is listed so.
    let gone = "Contact: <sip:alice@192.0.2.12>;expires=0\r\n";
    hear_number(&mut registrar, &mut out, REGISTER, "alice", 3, gone);
    hear_number(&mut registrar, &mut out, "SIP/2.0 200 OK", "alice", 3, gone);
    let last = rules(&out).split_off(2);
    assert!(last.contains(&Rule::Unregister200), "{last:?}");
}

#[test]
fn who_unregisters_is_gone_though_the_answer_overtook_the_register() {
    let mut registrar = Registrar::new(&Limits::default());
    let mut out = findings();
    hear(&mut registrar, &mut out, "SIP/2.0 200 OK", "alice", "");
    assert_eq!(rules(&out), []);
    hear(&mut registrar, &mut out, REGISTER, "alice", "Contact: *\r\nExpires: 0\r\n");
    assert_eq!(rules(&out), [Rule::Unregister200]);
}

#[test]
fn who_has_to_go_from_a_full_table_is_said_to_be_gone() {
    let limits = Limits { registered_aors: 1, ..Limits::default() };
    let mut registrar = Registrar::new(&limits);
    let mut out = findings();
    registered(&mut registrar, "alice", &mut out);
    registered(&mut registrar, "bob", &mut out);
    let gone = |observation: &Observation| {
        matches!(&observation.fact, Fact::Binding(fact)
            if fact.event == BindingEvent::Removed && fact.binding.aor.user() == "alice")
            && observation.evidence.rule == Rule::Evicted
    };
    assert!(out.queue.iter().any(gone), "{:?}", out.queue);
}
