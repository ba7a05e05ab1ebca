//! Every request, and every refusal.

use super::*;
use crate::presence::pidf::Facet;
use crate::presence::{EventPackage, Session, Terminal};

#[test]
fn a_publication_reaches_a_watcher() {
    let mut bench = Bench::new();
    let subscribed = bench.ask(
        "SUBSCRIBE",
        &[("Event", "presence"), ("Expires", "600"), ("Contact", "<sip:peer@192.0.2.7:5070>")],
        b"",
    );
    assert_eq!(subscribed.len(), 2, "{subscribed:?}");
    assert_eq!(subscribed[0].status(), Some(200));
    assert_eq!(subscribed[0].field("Expires"), Some("600"));
    assert!(subscribed[1].is_notify());
    assert!(!subscribed[1].body().contains("<tuple"), "nobody said anything of Alice");
    let ok = answer_to(&subscribed[1], 200);
    assert!(bench.send(udp(5070), &ok).is_empty());
    bench.pass(Duration::from_secs(1));

    let answer = bench.publish(EventPackage::Presence, None, 600, &Known::online().pidf(Facet::Combined));
    assert_eq!(answer.status(), Some(200), "{}", answer.text);
    assert!(answer.field("SIP-ETag").is_some());
    assert_eq!(bench.status(), (Terminal::Online, Session::Idle));
    let told = bench.heard.last().unwrap();
    assert!(told.body().contains("<basic>open</basic>"), "{}", told.text);
}

const CONTACT: (&str, &str) = ("Contact", "<sip:peer@192.0.2.7:5070>");
const PIDF: (&str, &str) = ("Content-Type", "application/pidf+xml");
const PRESENCE: (&str, &str) = ("Event", "presence");

fn online() -> Vec<u8> {
    Known::online().pidf(Facet::Combined)
}

fn with<'a>(usual: &[(&'a str, &'a str)], more: (&'a str, &'a str)) -> Vec<(&'a str, &'a str)> {
    let mut headers: Vec<_> = usual.iter().copied().filter(|(name, _)| *name != more.0).collect();
    headers.push(more);
    headers
}

#[test]
fn what_a_publish_is_refused_for() {
    let usual = [PRESENCE, PIDF];
    let big = [online(), vec![b' '; 65_536]].concat();
    let empty = Vec::new();
    let broken = b"<presence".to_vec();
    let good = online();
    /// Request-URI if another, a field, its value, the body, the status, what the answer says.
    type Case<'a> = (&'a str, &'a str, &'a str, &'a [u8], u16, &'a str);
    let cases: [Case<'_>; 15] = [
        ("", "Event", "", &good, 489, "Allow-Events: presence, dialog"),
        ("", "Event", "message-summary", &good, 489, "Allow-Events: presence, dialog"),
        ("", "SIP-If-Match", "never-given", &good, 412, ""),
        ("", "Expires", "59", &good, 423, "Min-Expires: 60"),
        ("", "X", "1", &empty, 400, "neither a document nor SIP-If-Match"),
        ("", "Content-Type", "", &good, 415, "Accept: application/pidf+xml"),
        ("", "Content-Type", "application/dialog-info+xml", &good, 415, "Accept: application/pidf+xml"),
        ("", "Content-Encoding", "gzip", &good, 415, "Accept-Encoding: identity"),
        ("", "X", "1", &broken, 400, "Warning: 399 offhook \"The document cannot be read: "),
        ("", "X", "1", &big, 413, ""),
        ("", "Require", "eventlist, pref", &good, 420, "Unsupported: eventlist, pref"),
        ("", "From", "<sip:peer@example.com>", &good, 400, "From has no tag"),
        ("tel:+15550100", "X", "1", &good, 416, ""),
        ("mailto:alice@example.com", "X", "1", &good, 416, ""),
        ("sip:alice@example..", "X", "1", &good, 400, "cannot be read"),
    ];
    for (uri, name, value, body, status, says) in cases {
        let mut bench = Bench::new();
        let uri = if uri.is_empty() { "sip:alice@example.com" } else { uri };
        let number = bench.number();
        let bytes = request("PUBLISH", uri, number, &with(&usual, (name, value)), body);
        let got = bench.send(udp(5070), &bytes);
        assert_eq!(got.len(), 1);
        assert_eq!(got[0].status(), Some(status), "{name}: {value}\n{}", got[0].text);
        assert!(got[0].text.contains(says), "{says}\n{}", got[0].text);
        assert_eq!(bench.server.counters().refused.get(&status), Some(&1));
        assert_eq!(bench.server.counters().publications, 0);
    }
}

#[test]
fn what_a_subscribe_is_refused_for() {
    let usual = [PRESENCE, CONTACT];
    let cases = [
        ("Event", "presence.winfo", 489, "Allow-Events: presence, dialog"),
        ("Accept", "application/xpidf+xml, text/*", 406, "Accept: application/pidf+xml"),
        ("Contact", "", 400, "Contact is not a SIP URI"),
        ("Contact", "<tel:+15550100>", 400, "Contact is not a SIP URI"),
        ("Expires", "1", 423, "Min-Expires: 60"),
        ("To", "<sip:alice@example.com>;tag=unknown", 481, ""),
    ];
    for (name, value, status, says) in cases {
        let mut bench = Bench::new();
        let got = bench.ask("SUBSCRIBE", &with(&usual, (name, value)), b"");
        assert_eq!((got.len(), got[0].status()), (1, Some(status)), "{name}: {value}\n{}", got[0].text);
        assert!(got[0].text.contains(says), "{says}\n{}", got[0].text);
        assert_eq!(bench.server.counters().subscriptions, 0);
        assert_eq!(bench.server.counters().presentities, 0);
    }
    for accept in ["application/*", "*/*", "text/plain, APPLICATION/PIDF+XML;q=0.5"] {
        let got = Bench::new().ask("SUBSCRIBE", &with(&usual, ("Accept", accept)), b"");
        assert_eq!(got[0].status(), Some(200), "{accept}");
    }
}

#[test]
fn a_subscribe_whose_cseq_did_not_rise_is_refused() {
    let mut bench = Bench::new();
    let headers = [PRESENCE, CONTACT, ("Call-ID", "one"), ("CSeq", "5 SUBSCRIBE")];
    let to = bench.ask("SUBSCRIBE", &headers, b"")[0].field("To").unwrap().to_owned();
    let headers = [PRESENCE, CONTACT, ("Call-ID", "one"), ("CSeq", "5 SUBSCRIBE"), ("To", &*to)];
    assert_eq!(bench.ask("SUBSCRIBE", &headers, b"")[0].status(), Some(500));
    let headers = [PRESENCE, CONTACT, ("Call-ID", "other"), ("CSeq", "6 SUBSCRIBE"), ("To", &*to)];
    assert_eq!(bench.ask("SUBSCRIBE", &headers, b"")[0].status(), Some(481));
}

#[test]
fn the_other_methods() {
    let mut bench = Bench::new();
    let options = bench.ask("OPTIONS", &[], b"").remove(0);
    assert_eq!(options.status(), Some(200));
    for (name, value) in [
        ("Allow", "PUBLISH, SUBSCRIBE, REGISTER, OPTIONS, ACK"),
        ("Accept", "application/pidf+xml, application/dialog-info+xml"),
        ("Allow-Events", "presence, dialog"),
        ("Supported", ""),
    ] {
        assert_eq!(options.field(name), Some(value), "{}", options.text);
    }
    assert!(options.field("To").unwrap().contains(";tag="));
    for method in ["INVITE", "NOTIFY", "MESSAGE", "REFER"] {
        let answer = bench.ask(method, &[], b"").remove(0);
        assert_eq!((answer.status(), answer.field("Allow")), (Some(405), options.field("Allow")));
    }
    assert!(bench.ask("ACK", &[], b"").is_empty());
    for noise in [&b""[..], b"\r\n\r\n", b"\x00\xff", b"PUBLISH sip:alice@example.com SIP/2.0\r\n\r\n"] {
        assert!(bench.send(udp(5070), noise).is_empty());
    }
    assert_eq!(bench.server.counters().unreadable, 4);
}

#[test]
fn a_message_that_was_cut_or_counts_wrongly_is_malformed() {
    let good = request("PUBLISH", "sip:alice@example.com", 1, &[PRESENCE, PIDF], &online());
    let text = String::from_utf8(good).unwrap();
    let length = format!("Content-Length: {}", online().len());
    for bytes in [
        text[..text.len() - 1].to_owned(),
        text.replace(&length, "Content-Length: many"),
        text.split_inclusive("\r\n\r\n").next().unwrap().trim_end().to_owned() + "\r\n",
    ] {
        let got = Bench::new().send(udp(5070), bytes.as_bytes());
        assert_eq!(got[0].status(), Some(400), "{bytes}");
    }
}

#[test]
fn a_retransmission_is_answered_as_before_and_does_nothing_again() {
    let mut bench = Bench::new();
    let bytes = request("PUBLISH", "sip:alice@example.com", 1, &[PRESENCE, PIDF], &online());
    let first = bench.send(udp(5070), &bytes).remove(0);
    let again = bench.send(udp(5070), &bytes).remove(0);
    assert_eq!((first.status(), &first.text), (Some(200), &again.text));
    assert_eq!(bench.server.counters().publications, 1);
    assert_eq!(bench.server.counters().retransmissions, 1);
    bench.pass(Duration::from_secs(32));
    let late = bench.send(udp(5070), &bytes).remove(0);
    assert_ne!(first.field("SIP-ETag"), late.field("SIP-ETag"));
    // One subscription, however often it was asked for.
    let bytes = request("SUBSCRIBE", "sip:alice@example.com", 2, &[PRESENCE, CONTACT], b"");
    assert_eq!(bench.send(udp(5070), &bytes).len(), 2);
    assert_eq!(bench.send(udp(5070), &bytes).len(), 1, "no NOTIFY again");
    assert_eq!(bench.server.counters().subscriptions, 1);
}

#[test]
fn an_entity_tag_is_good_once_and_never_comes_again() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in [[1; 32], [2; 32]] {
        let mut bench = Bench::with(PresenceServerOptions::new(seed), &Limits::default());
        let mut tag: Option<String> = None;
        for body in [online(), Vec::new(), Known::offline().pidf(Facet::Combined), Vec::new()] {
            let answer = bench.publish(EventPackage::Presence, tag.as_deref(), 100, &body);
            assert_eq!((answer.status(), answer.field("Expires")), (Some(200), Some("100")));
            if let Some(old) = &tag {
                assert_eq!(bench.publish(EventPackage::Presence, Some(old), 100, b"").status(), Some(412));
            }
            tag = answer.field("SIP-ETag").map(str::to_owned);
            assert!(seen.insert(tag.clone().unwrap()));
        }
        // It names a publication of this package only, and of this presentity only.
        assert_eq!(bench.publish(EventPackage::Dialog, tag.as_deref(), 100, b"").status(), Some(412));
        let headers = [PRESENCE, ("SIP-If-Match", tag.as_deref().unwrap())];
        let bytes = request("PUBLISH", "sip:bob@example.com", 1_000, &headers, b"");
        assert_eq!(bench.send(udp(5070), &bytes)[0].status(), Some(412));
        // Refreshed, it lives on; removed, it is gone.
        bench.pass(Duration::from_secs(99));
        let answer = bench.publish(EventPackage::Presence, tag.as_deref(), 100, b"");
        bench.pass(Duration::from_secs(99));
        let tag = answer.field("SIP-ETag");
        let removed = bench.publish(EventPackage::Presence, tag, 0, b"");
        assert_eq!((removed.status(), removed.field("Expires")), (Some(200), Some("0")));
        assert_eq!(bench.publish(EventPackage::Presence, tag, 100, b"").status(), Some(412));
        assert_eq!(bench.server.counters().publications, 0);
    }
}

#[test]
fn the_time_that_is_granted() {
    let mut bench = Bench::new();
    for (asked, granted) in
        [("", "3600"), ("60", "60"), ("999999999999", "3600"), ("0", "0"), ("soon", "3600")]
    {
        let got = bench.ask("PUBLISH", &[PRESENCE, PIDF, ("Expires", asked)], &online());
        assert_eq!((got[0].status(), got[0].field("Expires")), (Some(200), Some(granted)), "{asked}");
    }
    assert_eq!(bench.server.counters().publications, 4, "one was over at once");
}

#[test]
fn a_register_with_a_document_is_a_publication() {
    let mut bench = Bench::new();
    let mut register = |cseq: &str, expires: &str, body: &[u8], more: (&str, &str)| {
        let cseq = format!("{cseq} REGISTER");
        let headers = [("Call-ID", "reg"), ("CSeq", &*cseq), ("Expires", expires), more];
        let number = bench.number();
        let bytes = request("REGISTER", "sip:example.com", number, &headers, body);
        (bench.send(udp(5070), &bytes).remove(0), bench.status())
    };
    let (answer, status) = register("1", "600", &online(), PIDF);
    assert_eq!((answer.status(), answer.field("Expires")), (Some(200), Some("600")));
    assert_eq!(status.0, Terminal::Online);
    let (answer, status) = register("1", "600", &Known::offline().pidf(Facet::Combined), PIDF);
    assert_eq!((answer.status(), status.0), (Some(500), Terminal::Online), "the CSeq did not rise");
    let (answer, status) = register("3", "600", &Known::offline().pidf(Facet::Combined), PIDF);
    assert_eq!((answer.status(), status.0), (Some(200), Terminal::Offline));
    let (_, status) = register("4", "0", &online(), PIDF);
    assert_eq!(status.0, Terminal::Unknown, "removed");
    for more in [("Contact", "<sip:alice@192.0.2.5>"), ("Contact", "*"), ("X", "1")] {
        let (answer, _) = register("9", "600", b"", more);
        assert_eq!(answer.status(), Some(403));
        assert_eq!(answer.field("Warning"), Some("399 offhook \"This is no registrar.\""));
    }
    let (answer, _) = register("9", "600", b"hello", ("Content-Type", "text/plain"));
    assert_eq!(answer.status(), Some(415));
    assert_eq!(bench.server.counters().publications, 0);
}

#[test]
fn registers_of_two_taps_are_two_publications() {
    let mut bench = Bench::new();
    for (call_id, from) in
        [("one", "sip:a@example.com"), ("one", "sip:b@example.com"), ("two", "sip:a@example.com")]
    {
        let from = format!("<{from}>;tag=1");
        let headers = [("Call-ID", call_id), ("From", &*from), PIDF];
        let number = bench.number();
        let bytes = request("REGISTER", "sip:example.com", number, &headers, &online());
        assert_eq!(bench.send(udp(5070), &bytes)[0].status(), Some(200));
    }
    assert_eq!(bench.server.counters().publications, 3);
}

#[test]
fn an_answer_goes_to_where_its_via_wants_it() {
    let mut bench = Bench::new();
    let cases = [
        ("SIP/2.0/UDP 10.0.0.5:5066;rport;branch=z9hG4bKa", 40_000),
        ("SIP/2.0/UDP 10.0.0.5:5066;branch=z9hG4bKb", 5_066),
    ];
    for (via, port) in cases {
        let bytes = request("OPTIONS", "sip:example.com", 1, &[("Via", via)], b"");
        let answer = bench.send(udp(40_000), &bytes).remove(0);
        assert_eq!(answer.hop, udp(port));
        assert!(answer.field("Via").unwrap().contains(";received=192.0.2.7"), "{}", answer.text);
    }
}

#[test]
fn who_has_users_asks_who_it_is() {
    use crate::sip::digest::{DigestChallenge, DigestSession};
    let user = |password: &str| DigestUser { user: "tap".to_owned(), password: password.to_owned() };
    let options =
        PresenceServerOptions { users: vec![user("secret")], ..PresenceServerOptions::new([7; 32]) };
    let mut bench = Bench::with(options, &Limits::default());
    for (method, more) in [("PUBLISH", PIDF), ("SUBSCRIBE", CONTACT), ("REGISTER", PIDF)] {
        let body = if method == "SUBSCRIBE" { Vec::new() } else { online() };
        let challenged = bench.ask(method, &[PRESENCE, more], &body).remove(0);
        assert_eq!(challenged.status(), Some(401));
        let offered = challenged.fields("WWW-Authenticate");
        assert!(offered[0].contains("SHA-256") && offered[1].contains("MD5"), "{offered:?}");
        let mut scanner = Scanner::new(&Limits::default());
        let message = scanner.scan(challenged.text.as_bytes()).unwrap();
        let challenge = DigestChallenge::strongest(message.challenges()).unwrap();
        let mut session = DigestSession::new(challenge, "c0ffee".to_owned());
        let wrong = session.answer(&user("guess"), method, "sip:alice@example.com");
        let refused = bench.ask(method, &[PRESENCE, more, ("Authorization", &wrong)], &body).remove(0);
        assert!(refused.status() == Some(401) && !refused.text.contains("stale"), "{}", refused.text);
        let right = session.answer(&user("secret"), method, "sip:alice@example.com");
        let taken = bench.ask(method, &[PRESENCE, more, ("Authorization", &right)], &body);
        assert_eq!(taken[0].status(), Some(200), "{}", taken[0].text);
        let replayed = bench.ask(method, &[PRESENCE, more, ("Authorization", &right)], &body).remove(0);
        assert!(replayed.text.contains("stale=true"), "{}", replayed.text);
    }
    assert_eq!(bench.ask("OPTIONS", &[], b"")[0].status(), Some(200));
}

#[test]
fn whoever_finds_no_room_may_come_again() {
    let full = |got: &Got| {
        assert_eq!((got.status(), got.field("Retry-After")), (Some(503), Some("60")), "{}", got.text);
    };
    let options = || PresenceServerOptions::new([7; 32]);
    let mut bench = Bench::with(options(), &Limits { publications_per_presentity: 1, ..Limits::default() });
    assert_eq!(bench.publish(EventPackage::Presence, None, 600, &online()).status(), Some(200));
    full(&bench.publish(EventPackage::Presence, None, 600, &online()));

    let mut bench = Bench::with(options(), &Limits { presentities: 0, ..Limits::default() });
    full(&bench.publish(EventPackage::Presence, None, 600, &online()));
    full(&bench.ask("SUBSCRIBE", &[PRESENCE, CONTACT], b"")[0]);

    for limits in [
        Limits { subscriptions: 1, ..Limits::default() },
        Limits { subscriptions_per_presentity: 1, ..Limits::default() },
    ] {
        let mut bench = Bench::with(options(), &limits);
        assert_eq!(bench.ask("SUBSCRIBE", &[PRESENCE, CONTACT], b"")[0].status(), Some(200));
        full(&bench.ask("SUBSCRIBE", &[PRESENCE, CONTACT], b"")[0]);
        assert_eq!(bench.server.counters().subscriptions, 1);
    }
}

#[test]
fn a_subscriber_of_nobody_published_leaves_nothing_when_it_goes() {
    let mut bench = Bench::new();
    bench.ask("SUBSCRIBE", &[PRESENCE, CONTACT, ("Expires", "60")], b"");
    assert_eq!(bench.server.counters().presentities, 1);
    bench.pass(Duration::from_secs(200));
    let counters = bench.server.counters();
    assert_eq!((counters.presentities, counters.subscriptions), (0, 0));
    assert_eq!(bench.server.poll_timeout(), None);
}

#[test]
fn who_comes_while_it_stops_is_sent_away() {
    let mut bench = Bench::new();
    bench.server.stop(bench.now);
    let number = bench.number();
    let bytes = request("PUBLISH", "sip:alice@example.com", number, &[PRESENCE, PIDF], &online());
    let got = bench.send(udp(5070), &bytes);
    assert_eq!(got[0].status(), Some(503));
    assert!(got[0].text.contains("Retry-After: 5"), "{}", got[0].text);
    assert_eq!(bench.server.counters().publications, 0);
    assert!(bench.server.is_settled());
}
