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
