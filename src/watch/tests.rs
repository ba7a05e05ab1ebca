//! The watcher against a strict notifier, in virtual time.
//! In: SUBSCRIBEs. Out: what it is told, and when. Knows nothing of sockets.

use super::*;
use crate::base::Transport;
use crate::sip::write::{RequestMethod, tagged, via};
use crate::track::{DialogState, Side};

const OURS: &str = "192.0.2.5:5060";
const SERVER: &str = "192.0.2.20:5060";

fn hop() -> Hop {
    Hop { transport: Transport::Udp, local: OURS.parse().unwrap(), remote: SERVER.parse().unwrap() }
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_nanos(1_000_000_000_000 + ms * 1_000_000)
}

fn bob() -> Aor {
    Aor::from_uri(b"sip:bob@example.com").unwrap()
}

/// A SUBSCRIBE as the notifier understood it; everything that it must have was there.
#[derive(Clone, Debug)]
struct Subscribe {
    bytes: Vec<u8>,
    uri: String,
    call_id: String,
    from_tag: String,
    to_tag: Option<String>,
    cseq: u32,
    branch: Vec<u8>,
    expires_s: u32,
    event: String,
    authorized: bool,
    routes: usize,
}

fn understand(bytes: &[u8]) -> Subscribe {
    let mut scanner = Scanner::new(&Limits::default());
    let message = scanner.scan(bytes).expect("a SIP message");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    assert_eq!(message.method(), Some(Method::Subscribe));
    assert_eq!(message.to().uri, b"sip:bob@example.com");
    assert!(message.header(HeaderName::MaxForwards).is_some());
    assert!(message.header(HeaderName::Accept).is_some());
    assert_eq!(message.contacts().next().unwrap().addr.uri, format!("sip:offhook@{OURS}").as_bytes());
    assert!(message.top_branch().starts_with(b"z9hG4bK"));
    Subscribe {
        bytes: bytes.to_vec(),
        uri: text(message.request_uri().unwrap()),
        call_id: text(message.call_id()),
        from_tag: text(message.from_tag().expect("a From tag")),
        to_tag: message.to_tag().map(text),
        cseq: message.cseq().number,
        branch: message.top_branch().to_vec(),
        expires_s: message.expires().expect("Expires"),
        event: text(message.event().expect("Event")),
        authorized: message.credentials().next().is_some(),
        routes: message.headers(HeaderName::Route).count(),
    }
}

/// The watcher and the notifier's end of the wire.
struct Scene {
    watcher: Watcher,
    now: Timestamp,
    notify_cseq: u32,
}

impl Scene {
    fn of(options: WatchOptions, events: &[EventPackage]) -> Self {
        let mut watcher = Watcher::new(options, &Limits::default());
        for event in events {
            watcher.watch(at(0), bob(), *event);
        }
        Self { watcher, now: at(0), notify_cseq: 0 }
    }

    fn presence() -> Self {
        Self::of(WatchOptions::new(hop()), &[EventPackage::Presence])
    }

    fn sent(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.watcher.poll_transmit())
            .map(|transmit| {
                assert_eq!(transmit.hop, hop());
                transmit.bytes
            })
            .collect()
    }

    /// The one SUBSCRIBE that went out.
    fn subscribe(&mut self) -> Subscribe {
        let sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        understand(&sent[0])
    }

    /// The one status with which a request was answered.
    fn answered(&mut self) -> u16 {
        let sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        Scanner::new(&Limits::default()).scan(&sent[0]).unwrap().status().unwrap()
    }

    fn told(&mut self) -> Vec<What> {
        std::iter::from_fn(|| self.watcher.poll_told()).map(|told| told.what).collect()
    }

    fn answer(&mut self, subscribe: &Subscribe, status: u16, more: &[(&str, &str)]) {
        let mut scanner = Scanner::new(&Limits::default());
        let request = scanner.scan(&subscribe.bytes).unwrap();
        let headers = more.iter().map(|(name, value)| header(name, *value)).collect();
        let tag = if status < 300 { "server" } else { "refusal" };
        let bytes = write::response_to(&request, status, Some(tag), headers, b"").unwrap();
        self.watcher.handle_message(self.now, hop(), &bytes);
    }

    fn accept(&mut self, subscribe: &Subscribe, expires_s: u32) {
        let contact = format!("<sip:{SERVER}>");
        self.answer(subscribe, 200, &[("Expires", &expires_s.to_string()), ("Contact", &contact)]);
    }

    /// A NOTIFY's bytes; `cseq` also makes its branch.
    fn notification(&self, subscribe: &Subscribe, tag: &str, cseq: u32, state: &str, body: &str) -> Vec<u8> {
        let event = &subscribe.event;
        let content_type = match event.as_str() {
            "presence" => EventPackage::Presence.content_type(),
            _ => EventPackage::Dialog.content_type(),
        };
        let mut headers = vec![
            via("UDP", SERVER.parse().unwrap(), &format!("z9hG4bKn{cseq}")),
            Header::MaxForwards("70".to_owned().into()),
            Header::From(tagged("sip:bob@example.com", Some(tag)).into()),
            Header::To(tagged("sip:offhook@example.com", Some(&subscribe.from_tag)).into()),
            Header::CallId(subscribe.call_id.clone().into()),
            Header::CSeq(format!("{cseq} NOTIFY").into()),
            Header::Contact(format!("<sip:{SERVER}>").into()),
            Header::Event(event.clone().into()),
            header("Subscription-State", state),
        ];
        if !body.is_empty() {
            headers.push(Header::ContentType(content_type.to_owned().into()));
        }
        let uri = format!("sip:offhook@{OURS}");
        write::request(RequestMethod::Notify, &uri, headers, body.as_bytes()).unwrap()
    }

    /// Notifies and gives the answer's status.
    fn notify(&mut self, subscribe: &Subscribe, state: &str, body: &str) -> u16 {
        self.notify_cseq += 1;
        let bytes = self.notification(subscribe, "server", self.notify_cseq, state, body);
        self.watcher.handle_message(self.now, hop(), &bytes);
        self.answered()
    }

    fn pass(&mut self, until: Timestamp) {
        while let Some(due) = self.watcher.poll_timeout().filter(|&due| due <= until) {
            self.now = self.now.max(due);
            self.watcher.handle_timeout(self.now);
        }
        self.now = until;
    }

    /// Lets time pass until a SUBSCRIBE goes out.
    fn next_subscribe(&mut self) -> Subscribe {
        for _ in 0..100 {
            if let Some(bytes) = self.sent().first() {
                return understand(bytes);
            }
            let due = self.watcher.poll_timeout().expect("something is due");
            self.pass(due);
        }
        panic!("no SUBSCRIBE");
    }

    /// An accepted subscription that said that Bob is there.
    fn subscribed() -> (Self, Subscribe) {
        let mut scene = Self::presence();
        let subscribe = scene.subscribe();
        scene.accept(&subscribe, 600);
        assert_eq!(scene.notify(&subscribe, "active;expires=600", &pidf("open", "")), 200);
        assert_eq!(scene.told(), [open(&[])]);
        (scene, subscribe)
    }
}

fn pidf(basic: &str, activity: &str) -> String {
    let person = match activity {
        "" => String::new(),
        activity => {
            format!("<dm:person id=\"p\"><rpid:activities><rpid:{activity}/></rpid:activities></dm:person>")
        }
    };
    format!(
        "<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\" \
         xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\" entity=\"sip:bob@example.com\">\
         <tuple id=\"t\"><status><basic>{basic}</basic></status></tuple>{person}</presence>"
    )
}

fn dialog_info(version: u32, state: &str, dialogs: &[(&str, &str)]) -> String {
    let dialogs: String = dialogs
        .iter()
        .map(|(id, state)| {
            format!(
                "<dialog id=\"{id}\" direction=\"recipient\"><state>{state}</state>\
                 <remote><identity>sip:alice@example.com</identity></remote></dialog>"
            )
        })
        .collect();
    format!(
        "<dialog-info xmlns=\"urn:ietf:params:xml:ns:dialog-info\" version=\"{version}\" state=\"{state}\" \
         entity=\"sip:bob@example.com\">{dialogs}</dialog-info>"
    )
}

fn open(activities: &[&str]) -> What {
    let activities = activities.iter().map(|&activity| activity.to_owned()).collect();
    What::Presence(PresenceTold { open: Some(true), activities, ..PresenceTold::default() })
}

fn from_alice(state: DialogState) -> DialogTold {
    let remote = Some("sip:alice@example.com".to_owned());
    DialogTold { state, side: Some(Side::Called), held: false, remote }
}

#[test]
fn a_subscription_tells_each_change_once_and_is_ended_at_the_end() {
    let (mut scene, subscribe) = Scene::subscribed();
    assert_eq!(
        (subscribe.uri.as_str(), subscribe.expires_s, &subscribe.to_tag),
        ("sip:bob@example.com", 3_600, &None)
    );
    for _ in 0..2 {
        assert_eq!(scene.notify(&subscribe, "active;expires=590", &pidf("open", "on-the-phone")), 200);
    }
    assert_eq!(scene.told(), [open(&["on-the-phone"])]);
    scene.watcher.stop(scene.now);
    let end = scene.subscribe();
    assert_eq!((end.expires_s, end.to_tag.as_deref()), (0, Some("server")));
    assert_eq!(end.uri, format!("sip:{SERVER}"), "the notifier's Contact");
    assert_eq!((&end.call_id, end.cseq), (&subscribe.call_id, subscribe.cseq + 1));
    scene.accept(&end, 0);
    assert!(!scene.watcher.is_settled(), "the last NOTIFY is awaited");
    assert_eq!(scene.notify(&end, "terminated;reason=timeout", ""), 200);
    assert!(scene.watcher.is_settled());
    assert_eq!(scene.told(), []);
}

#[test]
fn it_is_refreshed_before_it_expires_in_the_same_dialog() {
    let (mut scene, subscribe) = Scene::subscribed();
    let refresh = scene.next_subscribe();
    let after = scene.now.since(at(0)).as_secs();
    assert!((500..600).contains(&after), "{after} s");
    assert_eq!((&refresh.call_id, refresh.cseq), (&subscribe.call_id, subscribe.cseq + 1));
    scene.accept(&refresh, 600);
    assert_eq!(scene.notify(&refresh, "active;expires=600", &pidf("open", "")), 200);
    assert_eq!(scene.next_subscribe().call_id, subscribe.call_id);
    assert_eq!(scene.told(), []);
}

#[test]
fn a_notify_may_come_before_the_answer_and_even_instead_of_it() {
    let mut scene = Scene::presence();
    let subscribe = scene.subscribe();
    assert_eq!(scene.notify(&subscribe, "active;expires=600", &pidf("closed", "")), 200);
    assert_eq!(scene.told().len(), 1);
    let until = scene.now.after_s(40);
    scene.pass(until);
    assert_eq!(scene.sent().len(), 10, "the SUBSCRIBE was repeated all the time");
    assert_eq!(scene.told(), [], "its silence means nothing: the subscription is there");
    assert_eq!(scene.next_subscribe().to_tag.as_deref(), Some("server"));
}

#[test]
fn a_challenge_is_answered_and_a_wrong_password_is_told() {
    let challenge = [("WWW-Authenticate", "Digest realm=\"example.com\", nonce=\"n1\", qop=\"auth\"")];
    let options = WatchOptions {
        user: Some("offhook".to_owned()),
        password: Some("secret".to_owned()),
        ..WatchOptions::new(hop())
    };
    let mut scene = Scene::of(options, &[EventPackage::Presence]);
    let subscribe = scene.subscribe();
    assert!(!subscribe.authorized);
    scene.answer(&subscribe, 401, &challenge);
    let again = scene.subscribe();
    assert!(again.authorized);
    assert_eq!((&again.call_id, again.cseq), (&subscribe.call_id, subscribe.cseq + 1));
    assert_ne!(again.branch, subscribe.branch);
    scene.answer(&again, 401, &challenge);
    assert_eq!(scene.told(), [What::Refused { status: 401, next: Next::Nothing }]);
    assert!(scene.watcher.is_in_vain());
}

#[test]
fn what_is_refused_for_good_is_told_and_not_asked_again() {
    for status in [403, 404, 489, 603] {
        let mut scene = Scene::presence();
        let subscribe = scene.subscribe();
        scene.answer(&subscribe, status, &[]);
        assert_eq!(scene.told(), [What::Refused { status, next: Next::Nothing }]);
        assert_eq!(scene.watcher.poll_timeout(), None, "{status}");
        assert!(scene.watcher.is_in_vain());
    }
}

#[test]
fn a_longer_time_that_is_asked_for_is_given() {
    let options = WatchOptions { expires_s: 60, ..WatchOptions::new(hop()) };
    let mut scene = Scene::of(options, &[EventPackage::Presence]);
    let subscribe = scene.subscribe();
    scene.answer(&subscribe, 423, &[("Min-Expires", "900")]);
    assert_eq!(scene.subscribe().expires_s, 900);
    assert_eq!(scene.told(), []);
}

#[test]
fn a_refresh_that_is_unknown_becomes_a_new_subscription() {
    let (mut scene, subscribe) = Scene::subscribed();
    let refresh = scene.next_subscribe();
    scene.answer(&refresh, 481, &[]);
    let anew = scene.subscribe();
    assert_eq!(anew.to_tag, None);
    assert_ne!(anew.call_id, subscribe.call_id);
    assert_eq!(anew.uri, "sip:bob@example.com");
    assert_eq!(scene.notify(&subscribe, "active", &pidf("closed", "")), 481, "the old one is over");
    assert_eq!(scene.notify(&anew, "active;expires=600", &pidf("open", "")), 200);
    assert_eq!(scene.told(), [], "the same as before");
}

#[test]
fn a_server_that_passes_through_trouble_keeps_the_subscription_while_it_lasts() {
    let (mut scene, subscribe) = Scene::subscribed();
    let refresh = scene.next_subscribe();
    scene.answer(&refresh, 503, &[("Retry-After", "3")]);
    let again = scene.next_subscribe();
    assert_eq!(again.call_id, subscribe.call_id);
    assert!(scene.now < at(600_000), "in time");
    assert_eq!(scene.told(), []);
}

#[test]
fn silence_is_told_once_and_asked_into_ever_more_rarely() {
    let mut scene = Scene::presence();
    let mut calls = vec![(scene.subscribe().call_id, scene.now)];
    while calls.len() < 7 {
        let subscribe = scene.next_subscribe();
        if calls.last().unwrap().0 != subscribe.call_id {
            calls.push((subscribe.call_id, scene.now));
        }
    }
    let waits: Vec<u64> = calls.windows(2).map(|pair| pair[1].1.since(pair[0].1).as_secs()).collect();
    assert!(waits.iter().all(|wait| (32..32 + 300).contains(wait)), "{waits:?}");
    assert!(waits[5] > waits[0] + 20, "{waits:?}");
    assert_eq!(scene.told(), [What::Silent]);
    assert!(!scene.watcher.is_in_vain());
}

#[test]
fn an_answer_without_a_notify_is_silence_too() {
    let mut scene = Scene::presence();
    let subscribe = scene.subscribe();
    scene.accept(&subscribe, 600);
    scene.pass(at(31_999));
    assert_eq!(scene.told(), []);
    scene.pass(at(32_000));
    assert_eq!(scene.told(), [What::Silent]);
}

#[test]
fn a_network_that_delivers_nothing_is_silence_at_once() {
    let mut scene = Scene::presence();
    scene.subscribe();
    let elsewhere = Hop { remote: "192.0.2.21:5060".parse().unwrap(), ..hop() };
    scene.watcher.handle_transport_error(at(1), elsewhere);
    assert_eq!(scene.told(), []);
    scene.watcher.handle_transport_error(at(1), hop());
    assert_eq!(scene.told(), [What::Silent]);
    assert_eq!(scene.next_subscribe().to_tag, None);
}

#[test]
fn a_notify_that_comes_again_is_answered_again_and_one_that_comes_late_is_not_shown() {
    let (mut scene, subscribe) = Scene::subscribed();
    let second = scene.notification(&subscribe, "server", 7, "active", &pidf("open", "on-the-phone"));
    let late = scene.notification(&subscribe, "server", 6, "active", &pidf("closed", ""));
    let mut answers = Vec::new();
    for bytes in [&second, &second, &late] {
        scene.watcher.handle_message(scene.now, hop(), bytes);
        answers.push(scene.answered());
    }
    assert_eq!(answers, [200, 200, 500]);
    assert_eq!(scene.told(), [open(&["on-the-phone"])]);
    assert_eq!(scene.watcher.counters().out_of_order, 1);
}

#[test]
fn strangers_are_told_so() {
    let (mut scene, subscribe) = Scene::subscribed();
    let fork = scene.notification(&subscribe, "another", 9, "active", &pidf("closed", ""));
    scene.watcher.handle_message(scene.now, hop(), &fork);
    assert_eq!(scene.answered(), 481);
    let unknown = Subscribe { call_id: "x".to_owned(), ..subscribe.clone() };
    assert_eq!(scene.notify(&unknown, "active", ""), 481);
    let other_package = Subscribe { event: "dialog".to_owned(), ..subscribe.clone() };
    assert_eq!(scene.notify(&other_package, "active", ""), 481);
    scene.watcher.handle_message(scene.now, hop(), b"\r\n\r\n");
    scene.watcher.handle_message(scene.now, hop(), &subscribe.bytes);
    assert_eq!(scene.answered(), 405);
    assert_eq!(scene.watcher.counters().strangers, 4);
    assert_eq!(scene.told(), []);
}

#[test]
fn dialogs_are_put_together_from_what_each_document_says() {
    let mut scene = Scene::of(WatchOptions::new(hop()), &[EventPackage::Dialog]);
    let subscribe = scene.subscribe();
    scene.accept(&subscribe, 600);
    let mut told = |version, state, dialogs: &[(&str, &str)]| {
        assert_eq!(scene.notify(&subscribe, "active", &dialog_info(version, state, dialogs)), 200);
        scene.told()
    };
    assert_eq!(told(0, "full", &[]), [What::Dialogs(Vec::new())]);
    assert_eq!(told(1, "partial", &[("a", "early")]), [What::Dialogs(vec![from_alice(DialogState::Early)])]);
    assert_eq!(told(1, "partial", &[("a", "terminated")]), [], "an old version");
    assert_eq!(
        told(2, "full", &[("a", "confirmed")]),
        [What::Dialogs(vec![from_alice(DialogState::Confirmed)])]
    );
    assert_eq!(told(5, "partial", &[("a", "terminated")]), [], "two documents are missing");
    let refresh = scene.next_subscribe();
    assert!(scene.now.since(at(0)).as_secs() <= 10, "all is asked for soon");
    assert_eq!(scene.notify(&refresh, "active", &dialog_info(6, "full", &[])), 200);
    assert_eq!(scene.told(), [What::Dialogs(Vec::new())]);
}

#[test]
fn what_the_server_ended_is_told_with_its_reason_and_begun_anew_unless_in_vain() {
    for (reason, next) in [
        ("deactivated", Next::Again),
        ("probation;retry-after=20", Next::Again),
        ("timeout", Next::Again),
        ("giveup", Next::Again),
        ("rejected", Next::Nothing),
        ("noresource", Next::Nothing),
    ] {
        let (mut scene, subscribe) = Scene::subscribed();
        let state = format!("terminated;reason={reason}");
        assert_eq!(scene.notify_later(&subscribe, &state), 200);
        let word = reason.split(';').next().unwrap().to_owned();
        assert_eq!(scene.told(), [What::Ended { reason: word, next }]);
        if next == Next::Nothing {
            assert!(scene.watcher.is_in_vain(), "{reason}");
            continue;
        }
        let ended = scene.now;
        let anew = scene.next_subscribe();
        assert_ne!(anew.call_id, subscribe.call_id);
        let wait = scene.now.since(ended).as_secs();
        match reason {
            "deactivated" | "timeout" => assert_eq!(wait, 0, "{reason}"),
            "giveup" => assert!((1..=2).contains(&wait), "{wait}"),
            _ => assert_eq!(wait, 20),
        }
        assert_eq!(scene.notify(&anew, "active", &pidf("open", "")), 200);
        assert_eq!(scene.told(), [open(&[])], "said again after the end");
    }
}

#[test]
fn a_server_that_ends_each_subscription_at_once_is_not_hammered() {
    let (mut scene, mut subscribe) = Scene::subscribed();
    let mut count = 0;
    while scene.now < at(60_000) {
        assert_eq!(scene.notify_later(&subscribe, "terminated;reason=deactivated"), 200);
        subscribe = scene.next_subscribe();
        scene.accept(&subscribe, 600);
        count += 1;
    }
    assert!(count < 10, "{count} subscriptions in a minute");
}

#[test]
fn a_presence_that_is_not_allowed_yet_tells_nothing_and_one_without_a_document_that_nothing_is_known() {
    let mut scene = Scene::presence();
    let subscribe = scene.subscribe();
    scene.accept(&subscribe, 600);
    assert_eq!(scene.notify(&subscribe, "pending", &pidf("closed", "")), 200);
    assert_eq!(scene.told(), []);
    assert_eq!(scene.notify(&subscribe, "active", ""), 200);
    assert_eq!(scene.told(), [What::Presence(PresenceTold::default())]);
    assert_eq!(scene.notify(&subscribe, "active", "<presence"), 200);
    assert_eq!(scene.told(), []);
    assert_eq!(scene.watcher.counters().unreadable, 1);
}

#[test]
fn requests_in_the_dialog_follow_the_recorded_route() {
    let mut scene = Scene::presence();
    let subscribe = scene.subscribe();
    let route = "<sip:192.0.2.30;lr>, <sip:192.0.2.31;lr>";
    scene.answer(
        &subscribe,
        200,
        &[("Expires", "600"), ("Contact", "<sip:pa@192.0.2.40>"), ("Record-Route", route)],
    );
    assert_eq!(scene.notify(&subscribe, "active;expires=600", ""), 200);
    let refresh = scene.next_subscribe();
    assert_eq!(refresh.routes, 2);
    let text = String::from_utf8(refresh.bytes).unwrap();
    let first = text.find("192.0.2.31").unwrap();
    assert!(
        first < text.find("192.0.2.30").unwrap(),
        "from us to the server it is walked backwards:\n{text}"
    );
}

#[test]
fn so_many_are_watched_as_the_bounds_allow_and_not_all_asked_at_once() {
    let options = WatchOptions { outstanding: 3, ..WatchOptions::new(hop()) };
    let limits = Limits { presentities: 5, ..Limits::default() };
    let mut watcher = Watcher::new(options, &limits);
    for number in 0..20 {
        let aor = Aor::from_uri(format!("sip:{number}@example.com").as_bytes()).unwrap();
        watcher.watch(at(0), aor, EventPackage::Presence);
    }
    assert_eq!(watcher.counters().not_taken, 10);
    assert_eq!(std::iter::from_fn(|| watcher.poll_transmit()).count(), 3);
}

#[test]
fn one_that_is_left_before_it_began_is_ended_as_soon_as_it_has() {
    let mut scene = Scene::presence();
    let subscribe = scene.subscribe();
    scene.watcher.stop(scene.now);
    assert!(scene.sent().is_empty(), "there is no dialog to end yet");
    scene.accept(&subscribe, 600);
    assert!(!scene.watcher.is_settled());
    scene.notify_cseq += 1;
    let bytes = scene.notification(&subscribe, "server", scene.notify_cseq, "active", &pidf("open", ""));
    scene.watcher.handle_message(scene.now, hop(), &bytes);
    let sent = scene.sent();
    let end = sent.iter().find(|bytes| bytes.starts_with(b"SUBSCRIBE")).expect("a SUBSCRIBE");
    assert_eq!(understand(end).expires_s, 0);
}

impl Scene {
    /// As [`Self::notify`], where a SUBSCRIBE may go out beside the answer: it is left to be polled.
    fn notify_later(&mut self, subscribe: &Subscribe, state: &str) -> u16 {
        self.notify_cseq += 1;
        let bytes = self.notification(subscribe, "server", self.notify_cseq, state, "");
        self.watcher.handle_message(self.now, hop(), &bytes);
        let mut sent: VecDeque<Transmit> = std::iter::from_fn(|| self.watcher.poll_transmit()).collect();
        let place =
            sent.iter().position(|transmit| transmit.bytes.starts_with(b"SIP/2.0")).expect("an answer");
        let answer = sent.remove(place).unwrap();
        self.watcher.transmits = sent;
        Scanner::new(&Limits::default()).scan(&answer.bytes).unwrap().status().unwrap()
    }
}
