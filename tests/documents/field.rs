//! Documents as they are in the field: in the shapes that phones and servers give them, names and addresses replaced.

use std::path::Path;

use offhook::presence::dialog_info_read::{self, DialogElement};
use offhook::presence::pidf_read::{self, PresenceDocument};
use offhook::track::{DialogState, Side};

pub const PRESENCE_DOCUMENTS: &[(&str, &str)] = &[
    ("baresip", BARESIP),
    ("linphone", LINPHONE),
    ("Asterisk", ASTERISK),
    ("Cisco", CISCO),
    ("prefixes", PREFIXES),
];
pub const DIALOG_DOCUMENTS: &[(&str, &str)] = &[("Kamailio", KAMAILIO), ("prefixed", PREFIXED_DIALOG)];

const BARESIP: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"no\"?>\r\n\
<presence xmlns=\"urn:ietf:params:xml:ns:pidf\"\r\n\
    xmlns:dm=\"urn:ietf:params:xml:ns:pidf:data-model\"\r\n\
    xmlns:rpid=\"urn:ietf:params:xml:ns:pidf:rpid\"\r\n\
    entity=\"sip:alice@example.com\">\r\n\
  <dm:person id=\"p4159\"><rpid:activities/></dm:person>\r\n\
  <tuple id=\"t4109\">\r\n\
    <status>\r\n\
      <basic>unkown</basic>\r\n\
    </status>\r\n\
    <contact>sip:alice@example.com</contact>\r\n\
  </tuple>\r\n\
</presence>\r\n";

const LINPHONE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid" xmlns:pidfonline="http://www.linphone.org/xsds/pidfonline.xsd" entity="sip:alice@example.com" xmlns="urn:ietf:params:xml:ns:pidf">
 <tuple id="mg0g2-">
  <status>
   <basic>open</basic>
   <pidfonline:online/>
  </status>
  <contact priority="0.42">sip:alice@192.0.2.1:8888</contact>
  <timestamp>2026-04-07T07:34:48Z</timestamp>
 </tuple>
 <dm:person id="axv3-v">
  <rpid:activities>
   <rpid:note xml:lang="fr">en réunion</rpid:note>
   <rpid:on-the-phone/>
   <rpid:away/>
  </rpid:activities>
  <dm:timestamp>2026-04-10T14:41:29Z</dm:timestamp>
 </dm:person>
</presence>
"#;

/// Tuple ids of digits, a note before the tuple, a person without id, activities in one of its own.
const ASTERISK: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<presence entity="sip:102@192.0.2.5:5060" xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:rpid="urn:ietf:params:xml:ns:pidf:rpid">
 <note>On the phone</note>
 <tuple id="102">
  <status>
   <basic> Open </basic>
  </status>
  <contact priority="1">sip:102@192.0.2.5</contact>
 </tuple>
 <dm:person>
  <rpid:activities>
   <rpid:on-the-phone/>
  </rpid:activities>
 </dm:person>
</presence>"#;

/// The namespaces of RPID's drafts, activities of its own beside those of RPID.
const CISCO: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<presence xmlns="urn:ietf:params:xml:ns:pidf" xmlns:dm="urn:ietf:params:xml:ns:pidf:data-model" xmlns:e="urn:ietf:params:xml:ns:pidf:status:rpid" xmlns:ce="urn:cisco:params:xml:ns:pidf:rpid" entity="sip:alice@example.com">
 <tuple id="1"><status><basic>open</basic></status></tuple>
 <dm:person id="p"><e:activities><ce:dnd/><e:busy/></e:activities></dm:person>
</presence>"#;

/// Every prefix means something else than usual.
const PREFIXES: &str = r#"<dm:presence xmlns:dm="urn:ietf:params:xml:ns:pidf" xmlns="urn:ietf:params:xml:ns:pidf:rpid" entity="sip:alice@example.com">
 <dm:tuple id="t"><dm:status><dm:basic>closed</dm:basic></dm:status><rpid:contact xmlns:rpid="urn:ietf:params:xml:ns:pidf">sip:a@192.0.2.1</rpid:contact><contact>sip:nobody@example.com</contact></dm:tuple>
 <x:person xmlns:x="urn:ietf:params:xml:ns:pidf:data-model" id="p"><activities><on-the-phone/></activities></x:person>
 <status xmlns="urn:offhook:presence:1" session="held"><media type="audio"/><x:media xmlns:x="urn:y" type="video"/></status>
</dm:presence>"#;

const KAMAILIO: &str = r#"<?xml version="1.0"?>
<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" version="00000000" state="full" entity="sip:alice@example.com">
  <dialog id="a84b4c76e66710@192.0.2.1" call-id="a84b4c76e66710@192.0.2.1" local-tag="1928301774" remote-tag="456887766" direction="initiator">
    <state>Trying</state>
    <remote>
      <identity>sip:bob@example.com</identity>
      <target uri="sip:bob@192.0.2.2:5060"/>
    </remote>
    <local>
      <identity>sip:alice@example.com</identity>
      <target uri="sip:alice@192.0.2.1:5060"/>
    </local>
  </dialog>
</dialog-info>
"#;

const PREFIXED_DIALOG: &str = r#"<d:dialog-info xmlns:d="urn:ietf:params:xml:ns:dialog-info" xmlns="urn:x" state="partial" entity=" sip:alice@example.com ">
 <dialog id="other"><state>early</state></dialog>
 <d:dialog id="1" direction="recipient">
  <state>terminated</state>
  <d:duration>3</d:duration>
  <d:local><d:identity display="Alice">sip:alice@example.com</d:identity>
   <d:target uri="sip:alice@192.0.2.1"><d:param pname="+SIP.rendering" pval="NO"/></d:target></d:local>
  <d:remote><d:identity>
     sip:bob@example.com
  </d:identity></d:remote>
  <d:state event="error">
    <![CDATA[CONFIRMED]]>
  </d:state>
 </d:dialog>
 <d:dialog id="2"><d:state>proceeding</d:state></d:dialog>
</d:dialog-info>"#;

fn presence(document: &str) -> PresenceDocument {
    pidf_read::read(document.as_bytes()).unwrap()
}

/// Around the content of the root's element.
fn wrapped(content: &str) -> String {
    format!(
        "<presence xmlns='urn:ietf:params:xml:ns:pidf' xmlns:dm='urn:ietf:params:xml:ns:pidf:data-model' \
         xmlns:rpid='urn:ietf:params:xml:ns:pidf:rpid' xmlns:oh='urn:offhook:presence:1' \
         entity='sip:alice@example.com'>{content}</presence>"
    )
}

#[test]
fn what_phones_publish_is_read() {
    let baresip = presence(BARESIP);
    assert_eq!(baresip.entity, "sip:alice@example.com");
    assert_eq!(baresip.tuples[0].id, "t4109");
    assert_eq!(baresip.tuples[0].open, None, "its word for unknown is none of the schema");
    assert_eq!(baresip.tuples[0].contact.as_deref(), Some("sip:alice@example.com"));
    assert!(baresip.activities.is_empty());
    assert_eq!(presence(&BARESIP.replace("unkown", "closed")).tuples[0].open, Some(false));

    let linphone = presence(LINPHONE);
    assert_eq!(linphone.tuples[0].open, Some(true));
    assert_eq!(linphone.tuples[0].priority.as_deref(), Some("0.42"));
    assert_eq!(linphone.activities, ["on-the-phone", "away"]);
    assert_eq!(linphone.notes, ["en réunion"]);
    assert_eq!(linphone.status, None);

    let asterisk = presence(ASTERISK);
    assert_eq!((asterisk.tuples[0].id.as_str(), asterisk.tuples[0].open), ("102", Some(true)));
    assert_eq!(asterisk.activities, ["on-the-phone"]);
    assert_eq!(asterisk.notes, ["On the phone"]);

    assert_eq!(presence(CISCO).activities, ["busy"]);

    let prefixes = presence(PREFIXES);
    assert_eq!(prefixes.tuples[0].open, Some(false));
    assert_eq!(prefixes.tuples[0].contact.as_deref(), Some("sip:a@192.0.2.1"));
    assert_eq!(prefixes.activities, ["on-the-phone"]);
    let status = prefixes.status.unwrap();
    assert_eq!(status.session, Some(offhook::presence::Session::Held));
    assert_eq!(status.media.len(), 1);
}

#[test]
fn an_activity_counts_wherever_a_phone_puts_it() {
    let tuple = |content: &str| wrapped(&format!("<tuple id='t'>{content}</tuple>"));
    for document in [
        wrapped("<dm:person id='p'><rpid:activities><rpid:on-the-phone/></rpid:activities></dm:person>"),
        wrapped("<dm:person id='p'><rpid:on-the-phone/></dm:person>"),
        wrapped("<rpid:activities><rpid:on-the-phone/></rpid:activities>"),
        tuple("<status><basic>open</basic></status><rpid:activities><rpid:on-the-phone/></rpid:activities>"),
        tuple("<status><basic>open</basic><rpid:activities><rpid:on-the-phone/></rpid:activities></status>"),
        tuple("<status><rpid:on-the-phone/><basic>open</basic></status><rpid:on-the-phone/>"),
    ] {
        assert_eq!(presence(&document).activities, ["on-the-phone"], "{document}");
    }
    for elsewhere in [
        wrapped("<dm:person id='p'><rpid:mood><rpid:on-the-phone/></rpid:mood><rpid:sphere/></dm:person>"),
        wrapped("<dm:person id='p'><x xmlns='urn:x'><rpid:on-the-phone/></x><on-the-phone/></dm:person>"),
    ] {
        assert!(presence(&elsewhere).activities.is_empty(), "{elsewhere}");
    }
}

#[test]
fn of_what_is_said_twice_the_later_counts() {
    let twice = wrapped(
        "<tuple id='t'><status><basic>open</basic></status></tuple><tuple id='u'/>\
         <tuple id='t'><status><basic>closed</basic></status></tuple>",
    );
    let read = presence(&twice);
    let states: Vec<_> = read.tuples.iter().map(|tuple| (tuple.id.as_str(), tuple.open)).collect();
    assert_eq!(states, [("u", None), ("t", Some(false))]);
}

#[test]
fn notes_and_contacts_are_kept_as_text() {
    let document = wrapped(
        "<tuple id='t'><status><basic>open</basic></status><contact> sip:a@b </contact>\
         <note xml:lang='en'>Back &#x40; 5 &amp; <![CDATA[<6>]]></note><note>2</note></tuple>\
         <note>3</note><dm:person id='p'><dm:note>4</dm:note></dm:person>",
    );
    let read = presence(&document);
    assert_eq!(read.tuples[0].contact.as_deref(), Some("sip:a@b"));
    assert_eq!(read.tuples[0].notes, ["Back @ 5 & <6>", "2"]);
    assert_eq!(read.notes, ["3", "4"]);
}

#[test]
fn what_the_schemas_demand_is_missed() {
    for (content, expected) in [
        ("<tuple/>", "a tuple without id"),
        ("<tuple id=' '/>", "a tuple without id"),
        ("<oh:status/><oh:status/>", "more than one oh:status"),
        ("<oh:status session='asleep'/>", "session has a value"),
        ("<oh:status terminal='on'/>", "terminal has a value"),
        ("<oh:status watching='maybe'/>", "watching has a value"),
        ("<oh:status confidence='none'/>", "confidence has a value"),
        ("<oh:status><oh:media/></oh:status>", "oh:media without type"),
        ("<oh:status><oh:media type='audio' clock-rate='fast'/></oh:status>", "clock-rate has a value"),
        ("<oh:status><oh:media type='audio' bit-rate='4294967296'/></oh:status>", "bit-rate has a value"),
        ("<oh:status><oh:dialog state='early'/></oh:status>", "oh:dialog without id"),
        ("<oh:status><oh:dialog id='d'/></oh:status>", "oh:dialog without state"),
        ("<oh:status><oh:dialog id='d' state='Early'/></oh:status>", "state has a value"),
    ] {
        let why = pidf_read::read(wrapped(content).as_bytes()).unwrap_err().to_string();
        assert!(why.contains(expected), "{content}: {why}");
    }
    for entity in ["", " entity=''", " x:entity='a' xmlns:x='urn:x'"] {
        let document = format!("<presence xmlns='urn:ietf:params:xml:ns:pidf'{entity}/>");
        let why = pidf_read::read(document.as_bytes()).unwrap_err().to_string();
        assert_eq!(why, "presence without entity");
        let document = format!("<dialog-info xmlns='urn:ietf:params:xml:ns:dialog-info'{entity}/>");
        let why = dialog_info_read::read(document.as_bytes()).unwrap_err().to_string();
        assert_eq!(why, "dialog-info without entity");
    }
    for (changed, to, expected) in [
        (" id=\"a84b4c76e66710@192.0.2.1\"", "", "a dialog without id"),
        ("<state>Trying</state>", "", "a dialog without state"),
        ("Trying", "Busy", "a dialog's state has a value"),
        ("state=\"full\"", "state=\"some\"", "the document's state has a value"),
    ] {
        let why =
            dialog_info_read::read(KAMAILIO.replacen(changed, to, 1).as_bytes()).unwrap_err().to_string();
        assert!(why.contains(expected), "{changed}: {why}");
    }
}

#[test]
fn kamailios_dialogs_are_read() {
    let read = dialog_info_read::read(KAMAILIO.as_bytes()).unwrap();
    assert_eq!(read.entity, "sip:alice@example.com");
    assert!(read.full);
    let expected = DialogElement {
        id: "a84b4c76e66710@192.0.2.1".into(),
        call_id: Some("a84b4c76e66710@192.0.2.1".into()),
        local_tag: Some("1928301774".into()),
        remote_tag: Some("456887766".into()),
        side: Some(Side::Caller),
        state: DialogState::Trying,
        held: false,
        remote_identity: Some("sip:bob@example.com".into()),
    };
    assert_eq!(read.dialogs, [expected]);
    assert!(dialog_info_read::read(KAMAILIO.replace(" version=\"00000000\"", "").as_bytes()).is_ok());
}

#[test]
fn states_in_any_case_and_hold_are_read_whatever_the_prefixes() {
    let read = dialog_info_read::read(PREFIXED_DIALOG.as_bytes()).unwrap();
    assert_eq!(read.entity, "sip:alice@example.com");
    assert!(!read.full);
    let [first, second] = &read.dialogs[..] else { panic!("two dialogs: {read:?}") };
    assert_eq!((first.state, first.held), (DialogState::Confirmed, true));
    assert_eq!(first.side, Some(Side::Called));
    assert_eq!(first.remote_identity.as_deref(), Some("sip:bob@example.com"));
    assert_eq!((second.state, second.held), (DialogState::Trying, false));

    let remote_holds = PREFIXED_DIALOG
        .replace("d:local", "d:tmp")
        .replace("d:remote", "d:local")
        .replace("d:tmp", "d:remote");
    assert!(
        !dialog_info_read::read(remote_holds.as_bytes()).unwrap().dialogs[0].held,
        "the other end's hold"
    );
    let renders = PREFIXED_DIALOG.replace("pval=\"NO\"", "pval=\"yes\"");
    assert!(!dialog_info_read::read(renders.as_bytes()).unwrap().dialogs[0].held);
}

fn sip_files(folder: &Path, found: &mut Vec<std::path::PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() {
            sip_files(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn the_bodies_of_collected_messages_are_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/messages");
    let mut paths = Vec::new();
    sip_files(&folder, &mut paths);
    if paths.is_empty() {
        println!("skipped: {} is not there", folder.display());
        return;
    }
    let mut read = 0;
    for path in paths {
        let message = std::fs::read(&path).unwrap();
        let message = String::from_utf8_lossy(&message);
        let lower = message.to_ascii_lowercase();
        let Some(begin) = message.find("<?xml") else { continue };
        let body = message[begin..].trim_end();
        if lower.contains("content-type: application/dialog-info+xml") {
            let document = dialog_info_read::read(body.as_bytes());
            assert!(document.is_ok_and(|document| document.dialogs.len() == 1), "{}", path.display());
            read += 1;
        } else if lower.contains("content-type: application/pidf+xml") {
            assert!(pidf_read::read(body.as_bytes()).is_ok(), "{}", path.display());
            read += 1;
        }
    }
    assert!(read > 0, "the collection has such bodies");
}
