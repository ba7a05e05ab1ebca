//! Our reading of a message against that of `rsip`, a parser by other people.
//! In: bytes. Out: how many values are the same, and what differs without a reason. Knows nothing of where bytes come from.
//!
//! Where rsip is wrong, or reads a value in another sense, the difference is named here with the section that says so.
#![allow(dead_code, missing_docs)]

use std::collections::BTreeSet;

use offhook::sip::{HeaderName, Scanner, SipMessage};

use super::{reading, text};

/// Where a difference is met: one that never is has no business here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Met {
    /// In the collected texts and captures.
    Texts,
    /// In the generated spellings.
    Spellings,
    /// In a few generated spellings of ten thousand.
    Seldom,
}

/// A difference in which rsip is wrong, or in which the text is and ours is the reading that does no harm.
pub struct Named {
    pub name: &'static str,
    pub met: Met,
    /// What says that ours is the right one.
    pub section: &'static str,
    pub fields: &'static [&'static str],
    /// Whether this difference is of that kind: message, ours, theirs.
    is: fn(&SipMessage<'_>, &str, &str) -> bool,
}

const URIS: &[&str] = &["request-uri", "from", "to", "contacts"];

/// What rsip makes of a part of a URI that it cannot read: how its reading comes of ours. Several may be in one URI.
struct NamedUri {
    name: &'static str,
    met: Met,
    section: &'static str,
    as_rsip: fn(&str) -> Option<String>,
}

const NAMED_URIS: &[NamedUri] = &[
    NamedUri {
        name: "marks and escapes belong to the user, too: rsip takes user and host for the host",
        met: Met::Texts,
        section: "RFC 3261 section 25.1: user, unreserved, escaped",
        as_rsip: |ours| {
            let (scheme, rest) = ours.split_once(':')?;
            let (user, rest) = rest.split_once('|')?;
            let rest = match rest.strip_prefix('|') {
                Some(rest) => format!("{user}@{rest}"),
                None => {
                    let (password, rest) = rest.split_once('|')?;
                    format!("{user}:{password}@{rest}")
                }
            };
            Some(format!("{scheme}:||{rest}"))
        },
    },
    NamedUri {
        name: "brackets may stand in a URI parameter: rsip reads none from there on",
        met: Met::Spellings,
        section: "RFC 3261 section 25.1: param-unreserved",
        as_rsip: |ours| {
            let (kept, params) = ours.rsplit_once('|')?;
            let (before, _) = params.split_once('[')?;
            let behind = ours.find(" None").or(ours.find(" Some")).map_or("", |at| &ours[at..]);
            Some(format!("{kept}|{before}{behind}"))
        },
    },
];

/// What stands in the host of rsip's reading behind a `?`: headers, which are none of the host.
const HEADERS_IN_HOST: (&str, &str) = (
    "headers without parameters before them: rsip takes them for the host",
    "RFC 3261 section 25.1: SIP-URI",
);

/// What stands in it in front of the next part.
const SPACE_IN_HOST: (&str, &str) =
    ("white space behind a bare address: rsip takes it for a part of the host", "RFC 3261 section 7.3.1");

/// Every name of a difference that is met there.
pub fn names(met: Met) -> Vec<&'static str> {
    let all = NAMED.iter().map(|named| (named.name, named.met));
    let uris = NAMED_URIS.iter().map(|named| (named.name, named.met));
    let hosts = [(HEADERS_IN_HOST.0, Met::Spellings), (SPACE_IN_HOST.0, Met::Seldom)];
    all.chain(uris).chain(hosts).filter(|(_, wanted)| *wanted == met).map(|(name, _)| name).collect()
}

/// The names of what rsip got wrong in this URI, if that explains all of the difference.
fn explained_uri(ours: &str, theirs: &str) -> Option<Vec<&'static str>> {
    let mut names = Vec::new();
    let mut theirs = theirs.to_owned();
    let marks = |text: &str| text.matches('?').count();
    if let Some(at) = theirs.rfind('?').filter(|_| marks(&theirs) > marks(ours)) {
        let end = theirs[at..].find('|').map_or(theirs.len(), |length| at + length);
        theirs.replace_range(at..end, "");
        names.push(HEADERS_IN_HOST.0);
    }
    if theirs.contains("\t|") || theirs.contains(" |") {
        theirs = theirs.replace("\t|", "|").replace(" |", "|");
        names.push(SPACE_IN_HOST.0);
    }
    let mut variants = vec![(ours.to_owned(), names)];
    for named in NAMED_URIS {
        for index in 0..variants.len() {
            let (text, names) = &variants[index];
            if let Some(changed) = (named.as_rsip)(text) {
                let names = names.iter().copied().chain([named.name]).collect();
                variants.push((changed, names));
            }
        }
    }
    // Where rsip takes the user for the host it is in lower case.
    variants.into_iter().find(|(text, _)| text.eq_ignore_ascii_case(&theirs)).map(|(_, names)| names)
}

fn is_spaced(message: &SipMessage<'_>, name: HeaderName, separators: &[&str]) -> bool {
    let value = text(message.header(name).unwrap_or_default());
    separators.iter().any(|separator| {
        [" ", "\t"].iter().any(|space| {
            value.contains(&format!("{space}{separator}")) || value.contains(&format!("{separator}{space}"))
        })
    })
}

pub const NAMED: &[Named] = &[
    Named {
        name: "a semicolon may stand in the user: rsip ends the address there",
        met: Met::Texts,
        section: "RFC 3261 section 25.1: user-unreserved",
        fields: URIS,
        is: |_, ours, _| ours.split('|').next().is_some_and(|user| user.contains(';')),
    },
    Named {
        name: "two @: no host has one, so the host is behind the last; rsip takes the first",
        met: Met::Texts,
        section: "RFC 3261 section 25.1: host",
        fields: URIS,
        is: |_, ours, _| ours.split('|').next().is_some_and(|user| user.contains('@')),
    },
    Named {
        name: "a Request-URI in angle brackets: rsip leaves them on",
        met: Met::Texts,
        section: "RFC 4475 section 3.1.2.7",
        fields: &["request-uri"],
        is: |_, _, theirs| theirs.starts_with('<'),
    },
    Named {
        name: "white space around the separators of Via: rsip reads nothing behind it",
        met: Met::Texts,
        section: "RFC 3261 section 25.1: SEMI, EQUAL, COLON",
        fields: &["via-port", "via-branch", "via-received", "via-rport"],
        is: |message, _, theirs| {
            ["-", ""].contains(&theirs) && is_spaced(message, HeaderName::Via, &[";", "=", ":"])
        },
    },
    Named {
        name: "an IPv6 address in received, or a quoted value: rsip reads no parameter of Via behind it",
        met: Met::Spellings,
        section: "RFC 3261 section 25.1: via-received, generic-param",
        fields: &["via-branch", "via-received", "via-rport"],
        is: |message, _, theirs| {
            let via = text(message.header(HeaderName::Via).unwrap_or_default());
            let received = message.top_via().received.map(text).unwrap_or_default();
            theirs == "-" && (received.contains(':') || via.contains('"'))
        },
    },
    Named {
        name: "white space around the separators of From and To: rsip reads nothing behind it",
        met: Met::Spellings,
        section: "RFC 3261 section 25.1: SEMI, EQUAL",
        fields: &["from-tag", "to-tag"],
        is: |message, ours, theirs| {
            ours != "-"
                && ["-", ""].contains(&theirs)
                && [HeaderName::From, HeaderName::To]
                    .iter()
                    .any(|&name| is_spaced(message, name, &[";", "="]))
        },
    },
    Named {
        name: "white space behind a value: rsip takes it for a part",
        met: Met::Spellings,
        section: "RFC 3261 section 7.3.1",
        fields: &["call-id", "via-host"],
        is: |_, ours, theirs| theirs.trim_end() == ours,
    },
    Named {
        name: "white space around the separators of Contact: rsip reads nothing behind it",
        met: Met::Seldom,
        section: "RFC 3261 section 25.1: SEMI, EQUAL",
        fields: &["contacts"],
        is: |message, ours, theirs| {
            let without_expires = ours.rsplit_once(" Some(").map(|(address, _)| format!("{address} None"));
            without_expires.as_deref() == Some(theirs) && is_spaced(message, HeaderName::Contact, &[";", "="])
        },
    },
    Named {
        name: "several values in a line of Via: rsip takes the next for a part of the host",
        met: Met::Seldom,
        section: "RFC 3261 section 7.3.1",
        fields: &["via-host"],
        is: |message, ours, theirs| message.via_count() > 1 && theirs.starts_with(&format!("{ours},")),
    },
    Named {
        name: "a tag that is no token: rsip reads its beginning",
        met: Met::Texts,
        section: "RFC 3261 section 25.1: token; an odd tag told whole confuses no two dialogs",
        fields: &["from-tag", "to-tag"],
        is: |_, ours, theirs| ours.starts_with(theirs) && ours.contains('^'),
    },
    Named {
        name: "a short number with its +: rsip takes it for a figure and drops the +",
        met: Met::Texts,
        section: "RFC 3966 section 3: global-number-digits",
        fields: URIS,
        is: |_, ours, theirs| ours.starts_with("tel:+") && ours.replacen('+', "", 1) == theirs,
    },
    Named {
        name: "an empty tag is none",
        met: Met::Texts,
        section: "RFC 3261 section 25.1: a tag is a token, and a token has a character",
        fields: &["from-tag", "to-tag"],
        is: |_, ours, theirs| ours == "-" && theirs.is_empty(),
    },
    Named {
        name: "CR CR LF ends a line: rsip takes the first CR for a part of the host",
        met: Met::Texts,
        section: "RFC 3261 section 25.1: no host has a CR",
        fields: URIS,
        is: |_, ours, theirs| theirs.contains('\r') && ours == theirs.replace('\r', ""),
    },
    Named {
        name: "two lengths that differ: rsip takes one",
        met: Met::Texts,
        section: "RFC 4475 section 3.3.9",
        fields: &["content-length"],
        is: |_, ours, _| ours == "?",
    },
    Named {
        name: "the body ends where Content-Length says: rsip takes all that follows",
        met: Met::Texts,
        section: "RFC 3261 section 18.3",
        fields: &["body"],
        is: |message, ours, theirs| {
            message.headers_are_whole()
                && matches!(message.content_length(), Some(Ok(length)) if length == ours.len())
                && theirs.starts_with(ours)
        },
    },
    Named {
        name: "no empty line: rsip takes the first line for all fields, or fields for the body",
        met: Met::Texts,
        section: "RFC 3261 section 7",
        fields: &["body"],
        is: |message, _, _| !message.headers_are_whole(),
    },
];

/// What rsip reads although no listener should: whose text it is, and what says so.
pub const REFUSED: &[(&str, &str)] = &[
    ("rfc4475/mismatch01.dat", "RFC 4475 section 3.1.2.17: request line and CSeq contradict each other"),
    ("rfc4475/multi01.dat", "RFC 4475 section 3.3.8: two dialogs in one message"),
    ("rfc4475/quotbal.dat", "RFC 4475 section 3.1.2.6: the quote never ends"),
];

#[derive(Default)]
pub struct Comparison {
    pub total: usize,
    pub read_by_both: usize,
    pub values: usize,
    /// The named differences that were met.
    pub met: BTreeSet<&'static str>,
    pub wrong: Vec<String>,
}

impl Comparison {
    /// Compares field by field what both can read.
    pub fn compare(&mut self, scanner: &mut Scanner, name: &str, bytes: &[u8]) {
        self.total += 1;
        // rsip knows no folds.
        let unfolded = unfolded(bytes);
        let Some(theirs) = reading::theirs(&unfolded) else { return };
        let message = match scanner.scan(&unfolded) {
            Ok(message) => message,
            Err(error) => {
                // rsip also reads messages that lack what every message has.
                let has_all = ["call-id", "cseq", "from", "to", "via-host"];
                if has_all.iter().all(|field| theirs.contains_key(field))
                    && !REFUSED.iter().any(|(refused, _)| *refused == name)
                {
                    self.wrong.push(format!("{name}: {error}"));
                }
                return;
            }
        };
        self.read_by_both += 1;
        let ours = reading::ours(&message);
        for (field, theirs) in &theirs {
            self.values += 1;
            let ours = &ours[field];
            if ours == theirs {
                continue;
            }
            // One contact at a time, since each may differ in its own way.
            let lists = *field == "contacts" && ours.split(", ").count() == theirs.split(", ").count();
            let pairs: Vec<_> = match lists {
                true => ours.split(", ").zip(theirs.split(", ")).collect(),
                false => vec![(ours.as_str(), theirs.as_str())],
            };
            for (ours, theirs) in pairs.into_iter().filter(|(ours, theirs)| ours != theirs) {
                let named = NAMED
                    .iter()
                    .find(|named| named.fields.contains(field) && (named.is)(&message, ours, theirs))
                    .map(|named| vec![named.name])
                    .or_else(|| explained_uri(ours, theirs).filter(|_| URIS.contains(field)));
                match named {
                    Some(names) => self.met.extend(names),
                    None => self.wrong.push(format!("{name} {field}: ours {ours:?}, theirs {theirs:?}")),
                }
            }
        }
    }

    /// Those that ought to have been met there and were not.
    pub fn never_met(&self, met: Met) -> Vec<&'static str> {
        names(met).into_iter().filter(|name| !self.met.contains(name)).collect()
    }

    pub fn told(&self) -> String {
        format!(
            "{} messages, {} read by both, {} values compared",
            self.total, self.read_by_both, self.values
        )
    }
}

/// The same message with each fold as one space (RFC 3261 section 7.3.1).
pub fn unfolded(bytes: &[u8]) -> Vec<u8> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(bytes.len());
    let (head, rest) = bytes.split_at(head);
    let mut unfolded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = head.get(at) {
        if byte == b'\r' && head.get(at + 1) == Some(&b'\n') && matches!(head.get(at + 2), Some(b' ' | b'\t'))
        {
            at += 2;
            while matches!(head.get(at), Some(b' ' | b'\t')) {
                at += 1;
            }
            unfolded.push(b' ');
        } else {
            unfolded.push(byte);
            at += 1;
        }
    }
    unfolded.extend_from_slice(rest);
    unfolded
}
