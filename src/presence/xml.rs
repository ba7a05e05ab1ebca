//! What all documents share: writing XML that is always well formed, and ids that are always the same.
//! In: any text. Out: XML, ids. Knows nothing of what the documents say.

use std::borrow::Cow;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesEnd, BytesStart, BytesText, Event};
use sha2::{Digest, Sha256};

use crate::sip::digest::hex;

/// A document being written into memory, where writing cannot fail.
pub(crate) struct XmlWriter {
    inner: Writer<Vec<u8>>,
    open: Vec<&'static str>,
}

/// Attributes of an element; those without a value are left out.
pub(crate) type Attributes<'a> = &'a [(&'static str, Option<&'a str>)];

impl XmlWriter {
    /// Begins a document with its XML declaration.
    pub(crate) fn new() -> Self {
        let mut writer = Self { inner: Writer::new(Vec::with_capacity(1_024)), open: Vec::new() };
        writer.event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)));
        writer.event(Event::Text(BytesText::new("\n")));
        writer
    }

    /// quick-xml's errors are those of the underlying writer, and a `Vec` has none.
    fn event(&mut self, event: Event<'_>) {
        let _ = self.inner.write_event(event);
    }

    fn element<'a>(name: &'static str, attributes: Attributes<'a>) -> BytesStart<'a> {
        let mut start = BytesStart::new(name);
        for (name, value) in attributes {
            if let Some(value) = value {
                start.push_attribute((*name, &*legal(value)));
            }
        }
        start
    }

    /// `<name …>`
    pub(crate) fn open(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.event(Event::Start(Self::element(name, attributes)));
        self.open.push(name);
    }

    /// The end of the element that was opened last.
    pub(crate) fn close(&mut self) {
        if let Some(name) = self.open.pop() {
            self.event(Event::End(BytesEnd::new(name)));
        }
    }

    /// `<name …/>`
    pub(crate) fn empty(&mut self, name: &'static str, attributes: Attributes<'_>) {
        self.event(Event::Empty(Self::element(name, attributes)));
    }

    /// `<name>text</name>`
    pub(crate) fn text(&mut self, name: &'static str, text: &str) {
        self.text_with(name, &[], text);
    }

    /// `<name …>text</name>`
    pub(crate) fn text_with(&mut self, name: &'static str, attributes: Attributes<'_>, text: &str) {
        self.open(name, attributes);
        self.event(Event::Text(BytesText::new(&legal(text))));
        self.close();
    }

    /// The document; what is open is closed.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        while !self.open.is_empty() {
            self.close();
        }
        self.inner.into_inner()
    }
}

/// The text without characters that XML 1.0 section 2.2 forbids even when escaped. Line breaks and tabs go too: no
/// identifier has them, and parsers would turn them into blanks.
fn legal(text: &str) -> Cow<'_, str> {
    let illegal = |c: char| c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}');
    if text.contains(illegal) { Cow::Owned(text.replace(illegal, "\u{fffd}")) } else { Cow::Borrowed(text) }
}

/// The text as an `xs:anyURI`, where nearly everything may stand as it is: a `%` that escapes nothing and a second `#`
/// are escaped.
pub(crate) fn any_uri(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '#']) {
        return Cow::Borrowed(text);
    }
    let mut uri = String::with_capacity(text.len() + 2);
    let mut fragment_begun = false;
    for (at, character) in text.char_indices() {
        let escapes =
            || text.as_bytes().get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        match character {
            '%' if !escapes() => uri.push_str("%25"),
            '#' if std::mem::replace(&mut fragment_begun, true) => uri.push_str("%23"),
            _ => uri.push(character),
        }
    }
    Cow::Owned(uri)
}

/// An id that any tap gives to the same parts: a letter (an XML name may not begin with a digit) and 128 bits of
/// SHA-256 over the parts, each with its length in front so that no two lists of parts run together.
pub(crate) fn stable_id(letter: char, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest = hash.finalize();
    let mut id = String::with_capacity(33);
    id.push(letter);
    id.push_str(&hex(digest.get(..16).unwrap_or(&digest)));
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_said_breaks_the_document() {
        let mut xml = XmlWriter::new();
        let nasty = "<a>&\"'\u{0}\u{b}\r\n]]>\u{ffff}é";
        xml.open("x", &[("at", Some(nasty)), ("none", None)]);
        xml.text("y", nasty);
        let bytes = xml.finish();
        let mut reader = quick_xml::Reader::from_reader(&bytes[..]);
        loop {
            match reader.read_event().unwrap() {
                Event::Eof => break,
                Event::Start(start) => {
                    for attribute in start.attributes() {
                        attribute.unwrap();
                    }
                }
                _ => {}
            }
        }
        let text = String::from_utf8(bytes).unwrap();
        assert!(!text[40..].contains(|c: char| c.is_control()), "{text}");
        assert!(text.ends_with("</y></x>"));
    }

    #[test]
    fn a_uri_is_left_alone_and_what_is_not_quite_one_is_mended() {
        for uri in ["sip:alice@192.0.2.1:5060;x=%41", "sip:alice@example.com #a", "sip:é@example.com"] {
            assert_eq!(any_uri(uri), uri);
        }
        assert_eq!(any_uri("sip:%zz%4#a#b%"), "sip:%25zz%254#a%23b%25");
    }

    #[test]
    fn ids_are_names_and_tell_parts_apart() {
        let id = stable_id('t', &["ab", "c"]);
        assert_eq!(id, stable_id('t', &["ab", "c"]));
        assert_ne!(id, stable_id('t', &["a", "bc"]));
        assert_eq!(id.len(), 33);
        assert!(id.starts_with('t'));
    }
}
