//! What our presence server hands on of anybody's documents obeys the schemas too.

use std::time::Duration;

use offhook::base::{Hop, Limits, Timestamp, Transport};
use offhook::compositor::{PresenceServer, PresenceServerOptions};
use offhook::presence::{EventPackage, dialog_info, dialog_info_read, pidf, pidf_read};
use offhook::sip::Aor;
use proptest::prelude::*;

use crate::field::{DIALOG_DOCUMENTS, PRESENCE_DOCUMENTS};
use crate::making;
use crate::xml_rules::{check_dialog_info, check_pidf};

/// Two phones with one id, words that are none of RPID's, and what no schema would let through.
const UNTIDY: &str = r#"<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model"
    xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" entity="sip:alice@example.com">
  <tuple id="1 and 2"><status><basic>open</basic></status><contact priority="9.5">sip:%a#b#c</contact></tuple>
  <tuple id="t1"><status/></tuple>
  <note>a &lt;note&gt;</note>
  <dm:person id="p"><rpid:activities><rpid:unknown/><rpid:skating/><rpid:away/></rpid:activities></dm:person>
</presence>"#;

struct Server {
    server: PresenceServer,
    now: Timestamp,
    hop: Hop,
    number: u32,
}

impl Server {
    fn new() -> Self {
        Self {
            server: PresenceServer::new(PresenceServerOptions::new([3; 32]), &Limits::default()),
            now: Timestamp::from_secs(1_000),
            hop: Hop {
                transport: Transport::Udp,
                local: "192.0.2.1:5060".parse().unwrap(),
                remote: "192.0.2.7:5060".parse().unwrap(),
            },
            number: 0,
        }
    }

    fn ask(&mut self, method: &str, more: &str, body: &[u8]) -> Vec<Vec<u8>> {
        self.number += 1;
        let (number, length) = (self.number, body.len());
        let head = format!(
            "{method} sip:alice@example.com SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;rport;branch=z9hG4bK{number}\r\n\
             From: <sip:tap@example.com>;tag=t\r\nTo: <sip:alice@example.com>\r\nCall-ID: {number}\r\n\
             CSeq: 1 {method}\r\n{more}Content-Length: {length}\r\n\r\n"
        );
        self.server.handle_message(self.now, self.hop, &[head.as_bytes(), body].concat());
        std::iter::from_fn(|| self.server.poll_transmit()).map(|sent| sent.bytes).collect()
    }

    fn publish(&mut self, package: EventPackage, body: &[u8]) {
        let (event, media_type) = (package.name(), package.content_type());
        let answer =
            self.ask("PUBLISH", &format!("Event: {event}\r\nContent-Type: {media_type}\r\n"), body).remove(0);
        assert!(answer.starts_with(b"SIP/2.0 200 "), "{}", String::from_utf8_lossy(&answer));
    }

    /// The document that a watcher gets.
    fn fetch(&mut self, package: EventPackage) -> Vec<u8> {
        let more = format!("Event: {}\r\nExpires: 0\r\nContact: <sip:w@192.0.2.7>\r\n", package.name());
        let sent = self.ask("SUBSCRIBE", &more, b"");
        let notify = String::from_utf8(sent.last().unwrap().clone()).unwrap();
        assert!(notify.starts_with("NOTIFY "), "{notify}");
        notify.split_once("\r\n\r\n").unwrap().1.as_bytes().to_vec()
    }

    fn check(&mut self) -> Result<(), String> {
        let (presence, dialog) = (self.fetch(EventPackage::Presence), self.fetch(EventPackage::Dialog));
        check_pidf(&presence).map_err(|why| format!("{why}: {}", String::from_utf8_lossy(&presence)))?;
        check_dialog_info(&dialog).map_err(|why| format!("{why}: {}", String::from_utf8_lossy(&dialog)))?;
        pidf_read::read(&presence).map_err(|why| why.to_string())?;
        dialog_info_read::read(&dialog).map_err(|why| why.to_string())?;
        Ok(())
    }
}

#[test]
fn what_phones_publish_side_by_side_is_handed_on_in_valid_documents() {
    let mut server = Server::new();
    assert_eq!(server.check(), Ok(()), "nobody said anything");
    let presence = PRESENCE_DOCUMENTS.iter().map(|(_, document)| (EventPackage::Presence, *document));
    let dialogs = DIALOG_DOCUMENTS.iter().map(|(_, document)| (EventPackage::Dialog, *document));
    let untidy = [(EventPackage::Presence, UNTIDY); 2];
    for (package, document) in presence.chain(dialogs).chain(untidy) {
        server.publish(package, document.as_bytes());
        assert_eq!(server.check(), Ok(()), "after {document}");
    }
    let document = pidf_read::read(&server.fetch(EventPackage::Presence)).unwrap();
    assert!(document.notes.iter().any(|note| note == "a <note>"));
    assert!(document.activities.iter().any(|activity| activity == "away"));
    server.now = server.now.after(Duration::from_secs(3_600));
    assert_eq!(server.check(), Ok(()), "all have expired");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_taps_publish_of_anything_is_handed_on_in_valid_documents(
        states in proptest::collection::vec((making::state(), making::facet()), 1..4),
        dialogs in making::dialogs(),
    ) {
        let mut server = Server::new();
        let alice = Aor::from_uri(b"sip:alice@example.com").unwrap();
        for (state, facet) in &states {
            let body = pidf::document(&alice, state, &state.dialogs, *facet, None, 16);
            server.publish(EventPackage::Presence, &body);
        }
        let options = dialog_info::DialogInfoOptions {
            placeholder: true,
            remote_identity: true,
            dialogs_per_document: 16,
        };
        server.publish(EventPackage::Dialog, &dialog_info::document(&alice, &dialogs, 0, options));
        prop_assert_eq!(server.check(), Ok(()));
    }
}
