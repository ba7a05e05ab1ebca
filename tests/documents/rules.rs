//! The validator refuses what breaks a rule: each rule broken once in a document that obeys all others.

use crate::xml_rules::{check_dialog_info, check_pidf};

/// Everything that the schemas of presence documents have, in its place.
const PRESENCE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<p:presence xmlns:p="urn:ietf:params:xml:ns:pidf" xmlns:d="urn:ietf:params:xml:ns:pidf:data-model"
    xmlns:r="urn:ietf:params:xml:ns:pidf:rpid" xmlns:o="urn:offhook:presence:1" xmlns:x="urn:x"
    entity="pres:alice@example.com">
  <p:tuple id="t1">
    <p:status><p:basic>open</p:basic><x:mode>x</x:mode></p:status>
    <o:terminal-type>Phone</o:terminal-type>
    <p:contact priority="0.75">sip:alice@192.0.2.1</p:contact>
    <p:note xml:lang="en">at home</p:note><p:note/>
    <p:timestamp>2026-02-28T06:08:01.5+01:00</p:timestamp>
  </p:tuple>
  <p:tuple id="t2"><p:status/></p:tuple>
  <p:note>all of it</p:note>
  <d:person id="p1">
    <r:activities id="a1" from="2026-02-28T06:08:01Z" x:why="y">
      <r:note>on it</r:note><r:on-the-phone/><x:skating/><r:other>juggling</r:other>
    </r:activities>
    <d:note>person</d:note>
    <d:timestamp>2026-02-28T06:08:01</d:timestamp>
  </d:person>
  <d:person id="p2"><r:activities><r:unknown/></r:activities></d:person>
  <d:person id="p3"><r:activities/></d:person>
  <d:device id="d1"><d:deviceID>urn:uuid:1</d:deviceID></d:device>
  <o:status terminal="online" session="talking" watching="true" confidence="full">
    <o:media type="audio" clock-rate="8000"/>
    <o:dialog id="d2" state="confirmed" held="true"/>
  </o:status>
</p:presence>"#;

/// Everything that the schema of dialog documents has.
const DIALOG_INFO: &str = r#"<?xml version="1.0"?>
<dialog-info xmlns="urn:ietf:params:xml:ns:dialog-info" xmlns:x="urn:x" version="0" state="full" entity="sip:a@b">
  <dialog id="1" call-id="c" local-tag="l" remote-tag="r" direction="initiator">
    <state event="local-bye" code="200">terminated</state>
    <duration>5</duration>
    <replaces call-id="c" local-tag="l" remote-tag="r"/>
    <referred-by display="Bob">sip:bob@example.com</referred-by>
    <route-set><hop>sip:192.0.2.1</hop></route-set>
    <local>
      <identity display="A">sip:a@b</identity>
      <target uri="sip:a@192.0.2.1"><param pname="+sip.rendering" pval="no"/></target>
      <session-description type="application/sdp">v=0</session-description>
      <cseq>1</cseq>
      <x:more/>
    </local>
    <remote/>
    <x:more/>
  </dialog>
  <dialog id="2"><state>early</state></dialog>
  <x:more/>
</dialog-info>"#;

/// Each change breaks one rule, and the reason names it.
fn each_is_refused(check: fn(&[u8]) -> Result<(), String>, good: &str, changes: &[(&str, &str, &str)]) {
    assert_eq!(check(good.as_bytes()), Ok(()));
    for (before, after, expected) in changes {
        assert!(good.contains(before), "{before} is in the document");
        let broken = good.replacen(before, after, 1);
        let why = check(broken.as_bytes()).expect_err(&format!("{before} → {after} breaks a rule"));
        assert!(why.contains(expected), "{before} → {after}: {why}");
    }
}

#[test]
fn a_broken_presence_document_is_refused() {
    let first_tuple =
        &PRESENCE[PRESENCE.find("<p:tuple id=\"t1\"").unwrap()..PRESENCE.find("<p:tuple id=\"t2\"").unwrap()];
    let changes = [
        // Attributes: required, allowed.
        ("entity=\"pres:alice@example.com\"", "", "presence without entity"),
        (" id=\"t2\"", "", "tuple without id"),
        (" id=\"p2\"", "", "person without id"),
        (" confidence=\"full\"", "", "status without confidence"),
        (" type=\"audio\"", "", "media without type"),
        ("<p:tuple id=\"t2\">", "<p:tuple id=\"t2\" name=\"b\">", "tuple has no attribute name"),
        ("<p:tuple id=\"t2\">", "<p:tuple id=\"t2\" x:name=\"b\">", "tuple has no attribute name"),
        ("<p:tuple id=\"t2\">", "<p:tuple p:id=\"t2\">", "tuple has no attribute id"),
        ("<p:status/>", "<p:status x=\"\"/>", "status has no attribute x"),
        ("<d:person id=\"p3\">", "<d:person id=\"p3\" x=\"\">", "person has no attribute x"),
        // xs:ID.
        ("id=\"t2\"", "id=\"t1\"", "not unique"),
        ("id=\"p1\"", "id=\"t1\"", "not unique"),
        ("id=\"a1\"", "id=\"p1\"", "not unique"),
        ("id=\"t2\"", "id=\"2\"", "name without colon"),
        ("id=\"t2\"", "id=\"t:2\"", "name without colon"),
        ("id=\"t2\"", "id=\"t 2\"", "name without colon"),
        ("id=\"t2\"", "id=\"\"", "name without colon"),
        // Enumerations and the other types.
        (">open<", ">Open<", "not one of its words"),
        (">open<", "> open <", "not one of its words"),
        ("\"talking\"", "\"busy\"", "not one of its words"),
        ("watching=\"true\"", "watching=\"yes\"", "not true or false"),
        ("8000", "-8000", "not a number"),
        ("0.75", "0.7500", "not a priority"),
        ("0.75", "1.1", "not a priority"),
        ("0.75", ".5", "not a priority"),
        ("sip:alice@192.0.2.1<", "sip:alice%4@192.0.2.1<", "not a URI"),
        ("sip:alice@192.0.2.1<", "#a#b<", "not a URI"),
        ("sip:alice@192.0.2.1<", "1:2<", "not a URI"),
        ("pres:alice@example.com", "pres:", "not a URI"),
        ("urn:uuid:1", "%", "not a URI"),
        ("2026-02-28T06:08:01.5+01:00", "2026-02-29T06:08:01.5+01:00", "not a date"),
        ("2026-02-28T06:08:01.5+01:00", "2026-02-28 06:08:01", "not a date"),
        ("2026-02-28T06:08:01.5+01:00", "2026-02-28T06:08", "not a date"),
        ("2026-02-28T06:08:01.5+01:00", "2026-02-28T06:08:61Z", "not a date"),
        ("2026-02-28T06:08:01.5+01:00", "2026-13-28T06:08:01Z", "not a date"),
        ("2026-02-28T06:08:01.5+01:00", "2026-02-28T06:08:01.Z", "not a date"),
        ("2026-02-28T06:08:01.5+01:00", "2026-02-28T06:08:01+1", "not a date"),
        ("from=\"2026-02-28T06:08:01Z\"", "from=\"now\"", "not a date"),
        // Order and how often.
        ("<p:status/>", "", "tuple has too few"),
        ("<p:status/>", "<p:status/><p:status/>", "status may not stand here"),
        ("<p:note/>", "<p:contact>sip:b@c</p:contact>", "contact may not stand here"),
        ("<p:status/>", "<p:note/><p:status/>", "tuple has too few"),
        (first_tuple, &format!("<p:note/>{first_tuple}"), "tuple may not stand here"),
        ("<p:note>all of it</p:note>", "<x:y/><p:note/>", "note may not stand here"),
        (
            "<p:basic>open</p:basic>",
            "<p:basic>open</p:basic><p:basic>open</p:basic>",
            "basic may not stand here",
        ),
        ("<x:mode>x</x:mode>", "<p:note/>", "note may not stand here"),
        (
            "<d:note>person</d:note>",
            "<d:timestamp>2026-02-28T06:08:01Z</d:timestamp><d:note/>",
            "may not stand here",
        ),
        ("<d:note>person</d:note>", "<d:deviceID>urn:x</d:deviceID>", "deviceID may not stand here"),
        ("<d:deviceID>urn:uuid:1</d:deviceID>", "", "device has too few"),
        ("<r:note>on it</r:note><r:on-the-phone/>", "<r:on-the-phone/><r:note/>", "note may not stand here"),
        ("<r:unknown/>", "<r:unknown/><r:away/>", "activities has too few"),
        ("<r:on-the-phone/>", "<r:on-the-moon/>", "activities has too few"),
        (
            "<o:media type=\"audio\" clock-rate=\"8000\"/>",
            "<o:dialog id=\"d\" state=\"early\"/><o:media type=\"\"/>",
            "media may not stand here",
        ),
        // Other namespaces where the schema has `any`: neither its own nor none.
        ("<x:mode>x</x:mode>", "<p:mode/>", "mode may not stand here"),
        ("<x:mode>x</x:mode>", "<mode/>", "mode may not stand here"),
        ("<p:basic>open</p:basic>", "<p:basic>open<x:y/></p:basic>", "an element inside basic"),
        ("<p:note/>", "<p:note><x:y/></p:note>", "an element inside note"),
        // What is known is checked there too.
        (
            "<o:terminal-type>Phone</o:terminal-type>",
            "<d:person id=\"p9\"><p:note/><d:note/><x:a/></d:person>",
            "a may not stand here in person",
        ),
        // Content.
        ("<r:on-the-phone/>", "<r:on-the-phone>yes</r:on-the-phone>", "on-the-phone is not empty"),
        ("<r:on-the-phone/>", "<r:on-the-phone><x:y/></r:on-the-phone>", "on-the-phone is not empty"),
        ("<p:status/>", "<p:status>open</p:status>", "text inside status"),
        ("<p:note>all of it</p:note>", "text", "text inside presence"),
        // The root, and what XML itself demands.
        ("xmlns:p=\"urn:ietf:params:xml:ns:pidf\"", "xmlns:p=\"urn:y\"", "root is not presence"),
        ("xmlns:x=\"urn:x\"", "", "prefix x is not declared"),
        ("all of it", "a & b", "reference"),
        ("all of it", "a&b;", "unknown entity"),
        ("all of it", "\u{1}", "no character of XML"),
        ("all of it", "&#1;", "no character of XML"),
        ("id=\"t2\"", "id=\"t2\" id=\"t3\"", "duplicate"),
        ("</p:presence>", "", "no root"),
        ("</p:presence>", "</p:presence><a/>", "a second root"),
        ("</p:presence>", "</p:presence>a", "text outside"),
    ];
    each_is_refused(check_pidf, PRESENCE, &changes);
}

#[test]
fn a_broken_dialog_document_is_refused() {
    let state = "<state event=\"local-bye\" code=\"200\">terminated</state>";
    let changes = [
        (" version=\"0\"", "", "dialog-info without version"),
        (" state=\"full\"", "", "dialog-info without state"),
        (" entity=\"sip:a@b\"", "", "dialog-info without entity"),
        (" id=\"1\"", "", "dialog without id"),
        (" id=\"1\"", " id=\"2\"", "not unique"),
        (" uri=\"sip:a@192.0.2.1\"", "", "target without uri"),
        (" pname=\"+sip.rendering\"", "", "param without pname"),
        (" pval=\"no\"", "", "param without pval"),
        ("<replaces call-id=\"c\"", "<replaces", "replaces without call-id"),
        (" type=\"application/sdp\"", "", "session-description without type"),
        (" id=\"1\"", " id=\"1\" name=\"b\"", "dialog has no attribute name"),
        ("<remote/>", "<remote uri=\"a\"/>", "remote has no attribute uri"),
        ("version=\"0\"", "version=\"-1\"", "not a number"),
        ("version=\"0\"", "version=\"\"", "not a number"),
        ("state=\"full\"", "state=\"Full\"", "not one of its words"),
        ("\"initiator\"", "\"caller\"", "not one of its words"),
        ("\"local-bye\"", "\"bye\"", "not one of its words"),
        (">terminated<", ">Terminated<", "not one of its words"),
        (">terminated<", ">over<", "not one of its words"),
        ("code=\"200\"", "code=\"99\"", "not a status code"),
        ("entity=\"sip:a@b\"", "entity=\"%\"", "not a URI"),
        (">sip:bob@example.com<", ">%zz<", "not a URI"),
        (">sip:a@b<", ">#a#b<", "not a URI"),
        (">5<", ">five<", "not a number"),
        (">1<", "><", "not a number"),
        (state, "", "dialog has too few"),
        (state, "<duration>5</duration><state>early</state>", "dialog has too few"),
        (state, "<state>early</state><state>early</state>", "state may not stand here"),
        ("<remote/>", "<remote/><remote/>", "remote may not stand here"),
        ("<remote/>", "<remote/><local/>", "local may not stand here"),
        ("<remote/>", "<x:y/><remote/>", "remote may not stand here"),
        ("<hop>sip:192.0.2.1</hop>", "", "route-set has too few"),
        ("<cseq>1</cseq>", "<cseq>1</cseq><identity/>", "identity may not stand here"),
        ("<x:more/>", "<more/>", "more may not stand here"),
        ("<param pname=\"+sip.rendering\" pval=\"no\"/>", "<x:y/>", "y may not stand here in target"),
        (
            "<param pname=\"+sip.rendering\" pval=\"no\"/>",
            "<param pname=\"\" pval=\"\">a</param>",
            "param is not empty",
        ),
        ("<remote/>", "<remote>sip:b@c</remote>", "text inside remote"),
        ("xmlns=\"urn:ietf:params:xml:ns:dialog-info\"", "", "root is not dialog-info"),
    ];
    each_is_refused(check_dialog_info, DIALOG_INFO, &changes);
}
