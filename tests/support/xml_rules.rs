//! What the XML schemas of RFC 3863 (PIDF), RFC 4479 (data model), RFC 4480 (RPID) and RFC 4235 (dialog-info) demand,
//! as tables, and a check of documents against them. Beyond the schemas, a dialog's id is unique and its state one of
//! five words (RFC 4235 sections 4.1.1 and 4.1.2), and what is in our own namespace is what `pidf_read` documents.
//! In: a document. Out: valid, or the first rule that it breaks. Knows nothing of the program under test.

use std::collections::HashSet;

use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::{NsReader, XmlVersion, escape};

const PIDF: &str = "urn:ietf:params:xml:ns:pidf";
const DATA_MODEL: &str = "urn:ietf:params:xml:ns:pidf:data-model";
const RPID: &str = "urn:ietf:params:xml:ns:pidf:rpid";
const DIALOG_INFO: &str = "urn:ietf:params:xml:ns:dialog-info";
const OFFHOOK: &str = "urn:offhook:presence:1";
const XML: &str = "http://www.w3.org/XML/1998/namespace";

/// Simple types.
#[derive(Clone, Copy)]
enum Type {
    Text,
    AnyUri,
    Id,
    /// A string that no other such has: the ids of dialogs, which are no `xs:ID`.
    DialogId,
    DateTime,
    NonNegativeInteger,
    /// 100 to 699.
    StatusCode,
    /// PIDF's own: 0 to 1 with three digits of fraction.
    Qvalue,
    Boolean,
    OneOf(&'static [&'static str]),
}

enum Content {
    Empty,
    Text(Type),
    /// A sequence; where the schema has a choice of sequences, each of them.
    Elements(&'static [&'static [Particle]]),
}

/// What may stand in one place of a sequence, at least and at most how often.
struct Particle {
    options: &'static [Part],
    least: usize,
    most: usize,
}

#[derive(Clone, Copy)]
enum Part {
    Own(&'static Rule),
    /// `xs:any namespace="##other" processContents="lax"`: another namespace than this schema's, and not none.
    Other,
}

#[derive(Clone, Copy, PartialEq)]
enum Use {
    Required,
    Optional,
}
use Use::{Optional, Required};

struct Rule {
    namespace: &'static str,
    name: &'static str,
    /// `xml:lang` is written so.
    attributes: &'static [(&'static str, Type, Use)],
    /// `xs:anyAttribute namespace="##any"`.
    any_attribute: bool,
    content: Content,
}

const MANY: usize = usize::MAX;

const fn one(part: &'static [Part]) -> Particle {
    Particle { options: part, least: 1, most: 1 }
}
const fn optional(part: &'static [Part]) -> Particle {
    Particle { options: part, least: 0, most: 1 }
}
const fn any_number(part: &'static [Part]) -> Particle {
    Particle { options: part, least: 0, most: MANY }
}
const fn rule(
    namespace: &'static str,
    name: &'static str,
    attributes: &'static [(&'static str, Type, Use)],
    content: Content,
) -> Rule {
    Rule { namespace, name, attributes, any_attribute: false, content }
}

/// The elements that may be a root, or stand where a schema admits other namespaces.
static GLOBAL: [&Rule; 9] = [
    &PRESENCE,
    &PERSON,
    &DEVICE,
    &DEVICE_ID,
    &ACTIVITIES,
    &DIALOG_INFO_ROOT,
    &DIALOG,
    &OUR_STATUS,
    &OUR_TERMINAL_TYPE,
];

// RFC 3863 section 4.4.
static PRESENCE: Rule = rule(
    PIDF,
    "presence",
    &[("entity", Type::AnyUri, Required)],
    Content::Elements(&[&[
        any_number(&[Part::Own(&TUPLE)]),
        any_number(&[Part::Own(&NOTE)]),
        any_number(&[Part::Other]),
    ]]),
);
static TUPLE: Rule = rule(
    PIDF,
    "tuple",
    &[("id", Type::Id, Required)],
    Content::Elements(&[&[
        one(&[Part::Own(&STATUS)]),
        any_number(&[Part::Other]),
        optional(&[Part::Own(&CONTACT)]),
        any_number(&[Part::Own(&NOTE)]),
        optional(&[Part::Own(&TIMESTAMP)]),
    ]]),
);
static STATUS: Rule = rule(
    PIDF,
    "status",
    &[],
    Content::Elements(&[&[optional(&[Part::Own(&BASIC)]), any_number(&[Part::Other])]]),
);
static BASIC: Rule = rule(PIDF, "basic", &[], Content::Text(Type::OneOf(&["open", "closed"])));
static CONTACT: Rule =
    rule(PIDF, "contact", &[("priority", Type::Qvalue, Optional)], Content::Text(Type::AnyUri));
static NOTE: Rule = rule(PIDF, "note", &[("xml:lang", Type::Text, Optional)], Content::Text(Type::Text));
static TIMESTAMP: Rule = rule(PIDF, "timestamp", &[], Content::Text(Type::DateTime));

// RFC 4479 section 8.
static PERSON: Rule = rule(
    DATA_MODEL,
    "person",
    &[("id", Type::Id, Required)],
    Content::Elements(&[&[
        any_number(&[Part::Other]),
        any_number(&[Part::Own(&DATA_NOTE)]),
        optional(&[Part::Own(&DATA_TIMESTAMP)]),
    ]]),
);
static DEVICE: Rule = rule(
    DATA_MODEL,
    "device",
    &[("id", Type::Id, Required)],
    Content::Elements(&[&[
        any_number(&[Part::Other]),
        one(&[Part::Own(&DEVICE_ID)]),
        any_number(&[Part::Own(&DATA_NOTE)]),
        optional(&[Part::Own(&DATA_TIMESTAMP)]),
    ]]),
);
static DEVICE_ID: Rule = rule(DATA_MODEL, "deviceID", &[], Content::Text(Type::AnyUri));
static DATA_NOTE: Rule =
    rule(DATA_MODEL, "note", &[("xml:lang", Type::Text, Optional)], Content::Text(Type::Text));
static DATA_TIMESTAMP: Rule = rule(DATA_MODEL, "timestamp", &[], Content::Text(Type::DateTime));

// RFC 4480 section 5.
static ACTIVITIES: Rule = Rule {
    namespace: RPID,
    name: "activities",
    attributes: &[
        ("from", Type::DateTime, Optional),
        ("until", Type::DateTime, Optional),
        ("id", Type::Id, Optional),
    ],
    any_attribute: true,
    content: Content::Elements(&[
        &[any_number(&[Part::Own(&RPID_NOTE)]), optional(&[Part::Own(&UNKNOWN)])],
        &[any_number(&[Part::Own(&RPID_NOTE)]), Particle { options: ACTIVITY, least: 1, most: MANY }],
    ]),
};
static RPID_NOTE: Rule = rule(RPID, "note", &[("xml:lang", Type::Text, Optional)], Content::Text(Type::Text));
static UNKNOWN: Rule = rule(RPID, "unknown", &[], Content::Empty);
static OTHER: Rule = rule(RPID, "other", &[("xml:lang", Type::Text, Optional)], Content::Text(Type::Text));

macro_rules! activities {
    ($($name:literal)*) => {
        &[$(Part::Own(&rule(RPID, $name, &[], Content::Empty)),)* Part::Own(&OTHER), Part::Other]
    };
}
const ACTIVITY: &[Part] = activities!(
    "appointment" "away" "breakfast" "busy" "dinner" "holiday" "in-transit" "looking-for-work" "meal" "meeting"
    "on-the-phone" "performance" "permanent-absence" "playing" "presentation" "shopping" "sleeping" "spectator"
    "steering" "travel" "tv" "vacation" "working" "worship"
);

// RFC 4235 section 4.4.
static DIALOG_INFO_ROOT: Rule = rule(
    DIALOG_INFO,
    "dialog-info",
    &[
        ("version", Type::NonNegativeInteger, Required),
        ("state", Type::OneOf(&["full", "partial"]), Required),
        ("entity", Type::AnyUri, Required),
    ],
    Content::Elements(&[&[any_number(&[Part::Own(&DIALOG)]), any_number(&[Part::Other])]]),
);
static DIALOG: Rule = rule(
    DIALOG_INFO,
    "dialog",
    &[
        ("id", Type::DialogId, Required),
        ("call-id", Type::Text, Optional),
        ("local-tag", Type::Text, Optional),
        ("remote-tag", Type::Text, Optional),
        ("direction", Type::OneOf(&["initiator", "recipient"]), Optional),
    ],
    Content::Elements(&[&[
        one(&[Part::Own(&STATE)]),
        optional(&[Part::Own(&DURATION)]),
        optional(&[Part::Own(&REPLACES)]),
        optional(&[Part::Own(&REFERRED_BY)]),
        optional(&[Part::Own(&ROUTE_SET)]),
        optional(&[Part::Own(&LOCAL)]),
        optional(&[Part::Own(&REMOTE)]),
        any_number(&[Part::Other]),
    ]]),
);
const EVENTS: &[&str] = &["cancelled", "rejected", "replaced", "local-bye", "remote-bye", "error", "timeout"];
static STATE: Rule = rule(
    DIALOG_INFO,
    "state",
    &[("event", Type::OneOf(EVENTS), Optional), ("code", Type::StatusCode, Optional)],
    Content::Text(Type::OneOf(&["trying", "proceeding", "early", "confirmed", "terminated"])),
);
static DURATION: Rule = rule(DIALOG_INFO, "duration", &[], Content::Text(Type::NonNegativeInteger));
static REPLACES: Rule = rule(
    DIALOG_INFO,
    "replaces",
    &[
        ("call-id", Type::Text, Required),
        ("local-tag", Type::Text, Required),
        ("remote-tag", Type::Text, Required),
    ],
    Content::Empty,
);
static REFERRED_BY: Rule =
    rule(DIALOG_INFO, "referred-by", &[("display", Type::Text, Optional)], Content::Text(Type::AnyUri));
static ROUTE_SET: Rule = rule(
    DIALOG_INFO,
    "route-set",
    &[],
    Content::Elements(&[&[Particle { options: &[Part::Own(&HOP)], least: 1, most: MANY }]]),
);
static HOP: Rule = rule(DIALOG_INFO, "hop", &[], Content::Text(Type::Text));
static PARTICIPANT: [Particle; 5] = [
    optional(&[Part::Own(&IDENTITY)]),
    optional(&[Part::Own(&TARGET)]),
    optional(&[Part::Own(&SESSION_DESCRIPTION)]),
    optional(&[Part::Own(&CSEQ)]),
    any_number(&[Part::Other]),
];
static LOCAL: Rule = rule(DIALOG_INFO, "local", &[], Content::Elements(&[&PARTICIPANT]));
static REMOTE: Rule = rule(DIALOG_INFO, "remote", &[], Content::Elements(&[&PARTICIPANT]));
static IDENTITY: Rule =
    rule(DIALOG_INFO, "identity", &[("display", Type::Text, Optional)], Content::Text(Type::AnyUri));
static TARGET: Rule = rule(
    DIALOG_INFO,
    "target",
    &[("uri", Type::Text, Required)],
    Content::Elements(&[&[any_number(&[Part::Own(&PARAM)])]]),
);
static PARAM: Rule = rule(
    DIALOG_INFO,
    "param",
    &[("pname", Type::Text, Required), ("pval", Type::Text, Required)],
    Content::Empty,
);
static SESSION_DESCRIPTION: Rule =
    rule(DIALOG_INFO, "session-description", &[("type", Type::Text, Required)], Content::Text(Type::Text));
static CSEQ: Rule = rule(DIALOG_INFO, "cseq", &[], Content::Text(Type::NonNegativeInteger));

// Ours.
const TERMINALS: Type = Type::OneOf(&["unknown", "online", "offline-waiting", "offline"]);
static OUR_STATUS: Rule = rule(
    OFFHOOK,
    "status",
    &[
        ("terminal", TERMINALS, Optional),
        ("registered", TERMINALS, Optional),
        ("session", Type::OneOf(&["idle", "calling", "ringing", "held", "talking"]), Optional),
        ("session-type", Type::Text, Optional),
        ("watching", Type::Boolean, Optional),
        ("confidence", Type::OneOf(&["full", "weak", "degraded"]), Required),
    ],
    Content::Elements(&[&[any_number(&[Part::Own(&OUR_MEDIA)]), any_number(&[Part::Own(&OUR_DIALOG)])]]),
);
static OUR_MEDIA: Rule = rule(
    OFFHOOK,
    "media",
    &[
        ("type", Type::Text, Required),
        ("codec", Type::Text, Optional),
        ("clock-rate", Type::NonNegativeInteger, Optional),
        ("bit-rate", Type::NonNegativeInteger, Optional),
    ],
    Content::Empty,
);
static OUR_DIALOG: Rule = rule(
    OFFHOOK,
    "dialog",
    &[
        ("id", Type::Text, Required),
        ("alias", Type::Text, Optional),
        ("remote-tag", Type::Text, Optional),
        ("state", Type::OneOf(&["trying", "early", "confirmed", "terminated"]), Required),
        ("held", Type::Boolean, Optional),
    ],
    Content::Empty,
);
static OUR_TERMINAL_TYPE: Rule = rule(OFFHOOK, "terminal-type", &[], Content::Text(Type::Text));

/// An element as it was read; names are (namespace, local name).
struct Node {
    name: (String, String),
    attributes: Vec<((String, String), String)>,
    children: Vec<Node>,
    text: String,
}

/// Checks a presence document.
pub fn check_pidf(document: &[u8]) -> Result<(), String> {
    check(document, &PRESENCE)
}

/// Checks a dialog document.
pub fn check_dialog_info(document: &[u8]) -> Result<(), String> {
    check(document, &DIALOG_INFO_ROOT)
}

fn check(document: &[u8], root: &'static Rule) -> Result<(), String> {
    let node = parse(document)?;
    if !is(&node, root) {
        return Err(format!("the root is not {}", root.name));
    }
    obeys(&node, root, &mut HashSet::new())
}

fn is(node: &Node, rule: &Rule) -> bool {
    node.name.0 == rule.namespace && node.name.1 == rule.name
}

fn obeys(node: &Node, rule: &'static Rule, ids: &mut HashSet<String>) -> Result<(), String> {
    check_attributes(node, rule, ids)?;
    match rule.content {
        Content::Empty if node.children.is_empty() && node.text.is_empty() => Ok(()),
        Content::Empty => Err(format!("{} is not empty", rule.name)),
        Content::Text(kind) if node.children.is_empty() => {
            check_type(&node.text, kind, ids).map_err(|why| format!("{}: {why}", rule.name))
        }
        Content::Text(_) => Err(format!("an element inside {}", rule.name)),
        Content::Elements(_) if !node.text.trim_matches(BLANKS).is_empty() => {
            Err(format!("text inside {}", rule.name))
        }
        Content::Elements(sequences) => {
            let mut why = String::new();
            for sequence in sequences {
                match assign(node, rule, sequence) {
                    Ok(rules) => {
                        for (child, rule) in node.children.iter().zip(rules) {
                            if let Some(rule) = rule {
                                obeys(child, rule, ids)?;
                            }
                        }
                        return Ok(());
                    }
                    Err(error) => why = error,
                }
            }
            Err(why)
        }
    }
}

/// The rule of each child by its place in the sequence; `None` for one of a namespace that is not known here.
fn assign(
    node: &Node,
    rule: &Rule,
    sequence: &'static [Particle],
) -> Result<Vec<Option<&'static Rule>>, String> {
    let mut rules = Vec::new();
    for particle in sequence {
        let mut count = 0;
        while count < particle.most
            && let Some(child) = node.children.get(rules.len())
            && let Some(found) = particle.options.iter().find_map(|part| match part {
                Part::Own(own) => is(child, own).then_some(Some(*own)),
                Part::Other => (child.name.0 != rule.namespace && !child.name.0.is_empty())
                    .then(|| GLOBAL.into_iter().find(|global| is(child, global))),
            })
        {
            rules.push(found);
            count += 1;
        }
        if count < particle.least {
            return Err(format!("{} has too few of something in its sequence", rule.name));
        }
    }
    match node.children.get(rules.len()) {
        Some(child) => Err(format!("{} may not stand here in {}", child.name.1, rule.name)),
        None => Ok(rules),
    }
}

fn check_attributes(node: &Node, rule: &Rule, ids: &mut HashSet<String>) -> Result<(), String> {
    for ((namespace, name), value) in &node.attributes {
        let written = if namespace == XML { format!("xml:{name}") } else { name.clone() };
        let known = rule.attributes.iter().find(|(known, ..)| *known == written);
        match known {
            Some((_, kind, _)) if namespace.is_empty() || namespace == XML => {
                check_type(value, *kind, ids)
                    .map_err(|why| format!("{} of {}: {why}", written, rule.name))?;
            }
            _ if rule.any_attribute => {}
            _ => return Err(format!("{} has no attribute {written}", rule.name)),
        }
    }
    for (name, _, usage) in rule.attributes {
        if *usage == Required && !node.attributes.iter().any(|((_, own), _)| own == name) {
            return Err(format!("{} without {name}", rule.name));
        }
    }
    Ok(())
}

const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];

fn check_type(value: &str, kind: Type, ids: &mut HashSet<String>) -> Result<(), String> {
    // All types but strings collapse white space.
    let collapsed = value.split(BLANKS).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let (valid, what) = match kind {
        Type::Text => (true, "a string"),
        Type::OneOf(words) => (words.contains(&value), "one of its words"),
        Type::AnyUri => (is_any_uri(&collapsed), "a URI"),
        Type::Id if !is_ncname(&collapsed) => (false, "a name without colon"),
        Type::Id => (ids.insert(collapsed.clone()), "unique"),
        Type::DialogId => (ids.insert(value.to_owned()), "unique"),
        Type::DateTime => (is_date_time(&collapsed), "a date and time"),
        Type::NonNegativeInteger => {
            let digits = collapsed.strip_prefix('+').unwrap_or(&collapsed);
            (!digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()), "a number")
        }
        Type::StatusCode => {
            (collapsed.parse().is_ok_and(|code: u16| (100..=699).contains(&code)), "a status code")
        }
        Type::Qvalue => (is_qvalue(&collapsed), "a priority"),
        Type::Boolean => (["true", "false", "1", "0"].contains(&&*collapsed), "true or false"),
    };
    if valid { Ok(()) } else { Err(format!("{value:?} is not {what}")) }
}

fn is_qvalue(value: &str) -> bool {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let digits = |allowed: &str| fraction.len() <= 3 && fraction.chars().all(|digit| allowed.contains(digit));
    (whole == "0" && digits("0123456789")) || (whole == "1" && digits("0"))
}

/// XML Namespaces section 3, without the planes that nobody writes names in.
fn is_ncname(value: &str) -> bool {
    let begins = |c: char| c == '_' || c.is_alphabetic();
    let goes_on = |c: char| begins(c) || c.is_numeric() || matches!(c, '-' | '.' | '\u{b7}');
    value.chars().next().is_some_and(begins) && value.chars().all(goes_on)
}

/// XML Schema 1.0 part 2 section 3.2.17: what XLink section 5.4 would escape may stand in it; after that it is a URI
/// reference of RFC 2396.
fn is_any_uri(value: &str) -> bool {
    let bytes = value.as_bytes();
    let escapes = value
        .match_indices('%')
        .all(|(at, _)| bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)));
    let first = value.find([':', '/', '?', '#']);
    let scheme = match first {
        Some(at) if bytes[at] == b':' => {
            let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
            bytes[0].is_ascii_alphabetic()
                && bytes[..at].iter().all(|&byte| is_part(byte))
                && at + 1 < bytes.len()
        }
        _ => true,
    };
    escapes && scheme && value.matches('#').count() <= 1
}

/// XML Schema part 2 section 3.2.7, years of four digits.
fn is_date_time(value: &str) -> bool {
    let number = |range: std::ops::Range<usize>| -> Option<u32> {
        let digits = value.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let at = |place: usize, wanted: u8| value.as_bytes().get(place) == Some(&wanted);
    let marks = at(4, b'-') && at(7, b'-') && at(10, b'T') && at(13, b':') && at(16, b':');
    let (Some(year), Some(month), Some(day)) = (number(0..4), number(5..7), number(8..10)) else {
        return false;
    };
    let (Some(hour), Some(minute), Some(second)) = (number(11..13), number(14..16), number(17..19)) else {
        return false;
    };
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    let rest = value.get(19..).unwrap_or_default();
    let zone = match rest.strip_prefix('.') {
        Some(fraction) => {
            let zone = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
            if zone.len() == fraction.len() {
                return false;
            }
            zone
        }
        None => rest,
    };
    let zoned = match zone.as_bytes() {
        [] | [b'Z'] => true,
        [b'+' | b'-', h1, h2, b':', m1, m2] => [h1, h2, m1, m2].iter().all(|byte| byte.is_ascii_digit()),
        _ => false,
    };
    marks && (1..=days).contains(&day) && hour < 24 && minute < 60 && second < 60 && zoned
}

/// Reads the whole document and checks that it is well-formed, with namespaces.
fn parse(document: &[u8]) -> Result<Node, String> {
    let text = std::str::from_utf8(document).map_err(|error| error.to_string())?;
    let mut reader = NsReader::from_str(text);
    reader.config_mut().enable_all_checks(true);
    reader.config_mut().expand_empty_elements = true;
    let mut open: Vec<Node> = Vec::new();
    let mut root = None;
    loop {
        match reader.read_event().map_err(|error| error.to_string())? {
            Event::Start(start) if root.is_none() => open.push(node(&reader, &start)?),
            Event::Start(_) => return Err("a second root".to_owned()),
            Event::End(_) => {
                let node = open.pop().ok_or("an end tag too many")?;
                match open.last_mut() {
                    Some(parent) => parent.children.push(node),
                    None => root = Some(node),
                }
            }
            Event::Text(text) => add(&mut open, &text.xml10_content())?,
            Event::CData(text) => add(&mut open, &text.xml10_content())?,
            Event::GeneralRef(reference) => {
                let character = reference.resolve_char_ref().map_err(|error| error.to_string())?;
                match character {
                    Some(character) => add(&mut open, character.encode_utf8(&mut [0; 4]))?,
                    None => {
                        add(&mut open, escape::resolve_xml_entity(&reference).ok_or("an unknown entity")?)?
                    }
                }
            }
            Event::DocType(_) => return Err("a document type".to_owned()),
            Event::Eof => return root.ok_or_else(|| "no root, or not its end".to_owned()),
            _ => {}
        }
    }
}

/// XML 1.0 section 2.2.
fn check_characters(text: &str) -> Result<(), String> {
    let legal = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..);
    match text.chars().find(|&c| !legal(c)) {
        Some(illegal) => Err(format!("{illegal:?} is no character of XML")),
        None => Ok(()),
    }
}

fn add(open: &mut [Node], text: &str) -> Result<(), String> {
    check_characters(text)?;
    match open.last_mut() {
        Some(node) => node.text.push_str(text),
        None if text.trim_matches(BLANKS).is_empty() => {}
        None => return Err("text outside of the root".to_owned()),
    }
    Ok(())
}

fn node(reader: &NsReader<&[u8]>, start: &BytesStart<'_>) -> Result<Node, String> {
    let namespace = |resolved: ResolveResult<'_>| match resolved {
        ResolveResult::Bound(Namespace(name)) => Ok(name.to_owned()),
        ResolveResult::Unbound => Ok(String::new()),
        ResolveResult::Unknown(prefix) => Err(format!("the prefix {prefix} is not declared")),
    };
    let (resolved, local) = reader.resolver().resolve_element(start.name());
    let mut node = Node {
        name: (namespace(resolved)?, local.into_inner().to_owned()),
        attributes: Vec::new(),
        children: Vec::new(),
        text: String::new(),
    };
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|error| error.to_string())?;
        if attribute.key.as_namespace_binding().is_some() {
            continue;
        }
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| error.to_string())?;
        check_characters(&value)?;
        let (resolved, local) = reader.resolver().resolve_attribute(attribute.key);
        node.attributes.push(((namespace(resolved)?, local.into_inner().to_owned()), value.into_owned()));
    }
    Ok(node)
}
