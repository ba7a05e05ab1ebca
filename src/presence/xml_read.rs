//! What all documents share when they are read: namespaces resolved, bounds kept, hostile input refused.
//! In: bytes. Out: elements, or why not. Knows nothing of what the documents say.

use std::borrow::Cow;

use quick_xml::events::{BytesDecl, BytesRef, BytesStart, Event};
use quick_xml::name::{Namespace as NamespaceName, ResolveResult};
use quick_xml::{Error, NsReader, XmlVersion, escape};

use super::pidf;

/// Elements inside elements. Documents of the field go to 6.
pub const MAX_DEPTH: usize = 32;
/// Elements of a document, those that are ignored too.
pub const MAX_ELEMENTS: usize = 8_192;
/// Attributes of an element, namespace declarations too. Finding a doubled one takes the square of it.
pub const MAX_ATTRIBUTES: usize = 64;
/// Bytes of a text or of an attribute's value.
pub const MAX_TEXT: usize = 65_536;

/// Why a document was not read. It never quotes the document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not well-formed XML in UTF-8, or it uses an entity that XML does not define.
    #[error("it is not well-formed XML: {0}")]
    Malformed(String),
    /// Elements inside elements beyond the bound, or more of something than the bound allows.
    #[error("it has too many {0}")]
    TooMany(&'static str),
    /// Its root is another element than that of the media type.
    #[error("its root is not {0}")]
    Root(&'static str),
    /// Something that the schema demands is missing or has a value that the schema does not allow.
    #[error("{0}")]
    Invalid(String),
}

impl DocumentError {
    /// `what` does not have the `part` that the schema demands.
    pub(super) fn missing(what: &str, part: &str) -> Self {
        Self::Invalid(format!("{what} without {part}"))
    }

    /// What `what` says is not a word of the schema.
    pub(super) fn unknown(what: &str) -> Self {
        Self::Invalid(format!("{what} has a value that it cannot have"))
    }
}

/// The namespaces that are read, whatever the prefixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Namespace {
    /// RFC 3863.
    Pidf,
    /// RFC 4479.
    DataModel,
    /// RFC 4480, or one of its drafts: Cisco's phones still use that.
    Rpid,
    /// RFC 4235.
    DialogInfo,
    /// Ours.
    Offhook,
    /// Any other, or none.
    Other,
}

impl Namespace {
    fn of(resolved: &ResolveResult<'_>) -> Self {
        let ResolveResult::Bound(NamespaceName(name)) = resolved else { return Self::Other };
        match *name {
            "urn:ietf:params:xml:ns:pidf" => Self::Pidf,
            "urn:ietf:params:xml:ns:pidf:data-model" => Self::DataModel,
            "urn:ietf:params:xml:ns:pidf:rpid" | "urn:ietf:params:xml:ns:pidf:status:rpid" => Self::Rpid,
            "urn:ietf:params:xml:ns:dialog-info" => Self::DialogInfo,
            pidf::NAMESPACE => Self::Offhook,
            _ => Self::Other,
        }
    }
}

/// A start tag whose attributes are known to be well formed.
pub(super) struct Element<'a> {
    pub(super) namespace: Namespace,
    start: BytesStart<'a>,
}

impl Element<'_> {
    /// Its name without the prefix.
    pub(super) fn name(&self) -> &str {
        self.start.local_name().into_inner()
    }

    /// Its namespace and its name, to be matched.
    pub(super) fn is(&self, namespace: Namespace, name: &str) -> bool {
        self.namespace == namespace && self.name() == name
    }

    /// The value of an attribute without prefix, without blanks around it.
    pub(super) fn attribute(&self, name: &str) -> Option<String> {
        let attribute = self.start.try_get_attribute(name).ok()??;
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).ok()?;
        Some(value.trim().to_owned())
    }

    /// The value of an attribute that `what` must have and that says something.
    pub(super) fn demanded(&self, what: &str, name: &str) -> Result<String, DocumentError> {
        let value = self.attribute(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| DocumentError::missing(what, name))
    }
}

enum Piece<'a> {
    Start(Element<'a>),
    Text(Cow<'a, str>),
    End,
    /// After the root.
    Done,
}

/// A document being read, forward only.
pub(super) struct XmlReader<'a> {
    inner: NsReader<&'a [u8]>,
    depth: usize,
    elements: usize,
    begun: bool,
}

impl<'a> XmlReader<'a> {
    /// Begins a document whose root is this element.
    pub(super) fn open(
        bytes: &'a [u8],
        namespace: Namespace,
        root: &'static str,
    ) -> Result<(Self, Element<'a>), DocumentError> {
        let text = std::str::from_utf8(bytes).map_err(|_| malformed("it is not UTF-8"))?;
        if !text.chars().all(is_legal) {
            return Err(malformed("a character that XML does not allow"));
        }
        let mut inner = NsReader::from_str(text);
        // `<a/>` comes as a start and an end.
        inner.config_mut().expand_empty_elements = true;
        let mut reader = Self { inner, depth: 0, elements: 0, begun: false };
        match reader.next()? {
            Piece::Start(element) if element.is(namespace, root) => Ok((reader, element)),
            _ => Err(DocumentError::Root(root)),
        }
    }

    /// Hands each child of the element that was begun last to `child`, until that element ends. `child` may ask once for
    /// the children or the text of its element; what it does not ask for is skipped.
    pub(super) fn children(
        &mut self,
        mut child: impl FnMut(&mut Self, &Element<'a>) -> Result<(), DocumentError>,
    ) -> Result<(), DocumentError> {
        let depth = self.depth;
        loop {
            match self.next()? {
                Piece::Start(element) => {
                    child(self, &element)?;
                    self.skip_to(depth)?;
                }
                Piece::Text(_) => {}
                Piece::End | Piece::Done => return Ok(()),
            }
        }
    }

    /// The text of the element that was begun last, without that of its children and without blanks around it.
    pub(super) fn text(&mut self) -> Result<String, DocumentError> {
        let depth = self.depth;
        let mut text = String::new();
        loop {
            match self.next()? {
                Piece::Start(_) => self.skip_to(depth)?,
                Piece::Text(piece) if text.len() + piece.len() > MAX_TEXT => {
                    return Err(DocumentError::TooMany("bytes of text"));
                }
                Piece::Text(piece) => text.push_str(&piece),
                Piece::End | Piece::Done => return Ok(text.trim().to_owned()),
            }
        }
    }

    /// Reads what comes after the root, where there may be only comments.
    pub(super) fn finish(mut self) -> Result<(), DocumentError> {
        while !matches!(self.next()?, Piece::Done) {}
        Ok(())
    }

    fn skip_to(&mut self, depth: usize) -> Result<(), DocumentError> {
        while self.depth > depth {
            self.next()?;
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Piece<'a>, DocumentError> {
        loop {
            let event = self.inner.read_event().map_err(|error| reason(&error))?;
            let begun = std::mem::replace(&mut self.begun, true);
            match event {
                Event::Decl(declaration) if !begun => check_declaration(&declaration)?,
                Event::Decl(_) => return Err(malformed("an XML declaration that is not at the beginning")),
                Event::DocType(_) => {
                    return Err(malformed("a document type declaration, which is not accepted"));
                }
                Event::Comment(_) | Event::PI(_) => {}
                Event::Start(start) | Event::Empty(start) => return self.start(start).map(Piece::Start),
                Event::End(_) => {
                    self.depth = self.depth.saturating_sub(1);
                    return Ok(Piece::End);
                }
                Event::Eof if self.depth == 0 && self.elements > 0 => return Ok(Piece::Done),
                Event::Eof => return Err(malformed("it ends too early")),
                Event::Text(text) if self.depth == 0 => {
                    if !text.chars().all(|c| c.is_ascii_whitespace()) {
                        return Err(malformed("text outside of the root"));
                    }
                }
                Event::CData(_) | Event::GeneralRef(_) if self.depth == 0 => {
                    return Err(malformed("text outside of the root"));
                }
                Event::Text(text) => return Ok(Piece::Text(text.xml10_content())),
                Event::CData(text) => return Ok(Piece::Text(text.xml10_content())),
                Event::GeneralRef(reference) => return referred(&reference).map(Piece::Text),
            }
        }
    }

    fn start(&mut self, start: BytesStart<'a>) -> Result<Element<'a>, DocumentError> {
        if self.depth == 0 && self.elements > 0 {
            return Err(malformed("a second root"));
        }
        self.depth += 1;
        self.elements += 1;
        if self.depth > MAX_DEPTH {
            return Err(DocumentError::TooMany("elements inside elements"));
        }
        if self.elements > MAX_ELEMENTS {
            return Err(DocumentError::TooMany("elements"));
        }
        check_attributes(&start)?;
        let namespace = Namespace::of(&self.inner.resolver().resolve_element(start.name()).0);
        Ok(Element { namespace, start })
    }
}

fn check_declaration(declaration: &BytesDecl<'_>) -> Result<(), DocumentError> {
    declaration.version().map_err(|_| malformed("an XML declaration without version"))?;
    match declaration.encoding() {
        None => Ok(()),
        Some(Ok(name))
            if ["utf-8", "utf8", "us-ascii"].iter().any(|known| name.eq_ignore_ascii_case(known)) =>
        {
            Ok(())
        }
        Some(_) => Err(malformed("an encoding other than UTF-8 is declared")),
    }
}

/// Checks what quick-xml leaves to whoever asks for the attributes.
fn check_attributes(start: &BytesStart<'_>) -> Result<(), DocumentError> {
    for (number, attribute) in (1..).zip(start.attributes()) {
        if number > MAX_ATTRIBUTES {
            return Err(DocumentError::TooMany("attributes"));
        }
        let attribute = attribute.map_err(|_| malformed("an attribute that is not one"))?;
        if attribute.value.len() > MAX_TEXT {
            return Err(DocumentError::TooMany("bytes of text"));
        }
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|error| reason(&error))?;
        if attribute.value.contains('<') || !value.chars().all(is_legal) {
            return Err(malformed("a character that XML does not allow"));
        }
    }
    Ok(())
}

/// What a reference stands for: a character, or one of the five entities that XML defines.
fn referred<'a>(reference: &BytesRef<'_>) -> Result<Cow<'a, str>, DocumentError> {
    match reference.resolve_char_ref() {
        Ok(Some(character)) if is_legal(character) => Ok(Cow::Owned(character.to_string())),
        Ok(Some(_)) => Err(malformed("a character that XML does not allow")),
        Ok(None) => escape::resolve_xml_entity(reference)
            .map(Cow::Borrowed)
            .ok_or_else(|| malformed("an entity that XML does not define")),
        Err(error) => Err(reason(&error)),
    }
}

/// XML 1.0 section 2.2.
const fn is_legal(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

fn malformed(why: &str) -> DocumentError {
    DocumentError::Malformed(why.to_owned())
}

fn reason(error: &Error) -> DocumentError {
    match error {
        Error::Syntax(error) => DocumentError::Malformed(error.to_string()),
        Error::IllFormed(_) => malformed("a tag that does not match, or a reference without end"),
        Error::InvalidAttr(_) => malformed("an attribute that is not one"),
        Error::Escape(_) => malformed("an entity that XML does not define"),
        Error::Namespace(_) => malformed("a namespace declaration that is not allowed, or too many"),
        Error::Io(_) | Error::Encoding(_) => malformed("it cannot be decoded"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole document is walked, and the texts of its root's children are listed.
    fn texts(document: &[u8]) -> Result<Vec<String>, DocumentError> {
        let (mut xml, _) = XmlReader::open(document, Namespace::Pidf, "presence")?;
        let mut texts = Vec::new();
        xml.children(|xml, _| {
            texts.push(xml.text()?);
            Ok(())
        })?;
        xml.finish()?;
        Ok(texts)
    }

    fn inside(content: &str) -> Result<Vec<String>, DocumentError> {
        texts(format!("<presence xmlns='urn:ietf:params:xml:ns:pidf'>{content}</presence>").as_bytes())
    }

    fn why(result: Result<Vec<String>, DocumentError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn text_is_what_xml_says_it_is() {
        let content = "<a> 1<!-- no -->2<?no no?>&#51;&#x34;<![CDATA[<&5]]><b>no</b> &lt;&amp;&gt;&apos;&quot; </a><a/>";
        assert_eq!(inside(content).unwrap(), ["1234<&5 <&>'\"", ""]);
        assert_eq!(inside("<a>a\r\nb\rc</a>").unwrap(), ["a\nb\nc"]);
    }

    #[test]
    fn a_namespace_counts_and_a_prefix_does_not() {
        for document in [
            "<presence xmlns='urn:ietf:params:xml:ns:pidf'/>",
            "<p:presence xmlns:p='urn:ietf:params:xml:ns:pidf'/>",
            "\u{feff}<?xml version='1.0' encoding='utf-8' standalone='yes'?>\n<dm:presence xmlns='urn:x' \
             xmlns:dm='urn:ietf:params:xml:ns:pidf'></dm:presence>\n<!-- end -->",
        ] {
            assert_eq!(texts(document.as_bytes()), Ok(vec![]), "{document}");
        }
        for document in [
            "<presence/>",
            "<presence xmlns='urn:ietf:params:xml:ns:dialog-info'/>",
            "<presence xmlns:p='urn:ietf:params:xml:ns:pidf'/>",
            "<p:presence xmlns='urn:ietf:params:xml:ns:pidf'/>",
            "<x xmlns='urn:ietf:params:xml:ns:pidf'/>",
        ] {
            assert_eq!(texts(document.as_bytes()), Err(DocumentError::Root("presence")), "{document}");
        }
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for (content, expected) in [
            ("<a>", "match"),
            ("</a>", "match"),
            ("<a></b>", "match"),
            ("<a>&nbsp;</a>", "entity"),
            ("<a b='&nbsp;'/>", "entity"),
            ("<a>&#0;</a>", "entity"),
            ("<a>&#8;</a>", "character"),
            ("<a b='&#xffff;'/>", "character"),
            ("<a>\u{1}</a>", "character"),
            ("<a b='<'/>", "character"),
            ("<a>& b</a>", "reference"),
            ("<a b='1' b='2'/>", "attribute"),
            ("<a b=1/>", "attribute"),
            ("<a b/>", "attribute"),
            ("<?xml version='1.0'?>", "declaration"),
            ("<a xmlns:xml='urn:x'/>", "namespace"),
        ] {
            let why = why(inside(content));
            assert!(
                why.starts_with("it is not well-formed XML") && why.contains(expected),
                "{content}: {why}"
            );
        }
    }

    #[test]
    fn a_document_is_one_root_and_all_of_it() {
        let root = "<presence xmlns='urn:ietf:params:xml:ns:pidf'/>";
        for (document, expected) in [
            (String::new(), "too early"),
            ("  <!-- -->".to_owned(), "too early"),
            (root.replace("/>", ">"), "too early"),
            (format!("{root}x"), "outside"),
            (format!("x{root}"), "outside"),
            (format!("{root}&lt;"), "outside"),
            (format!("{root}<![CDATA[x]]>"), "outside"),
            (format!("{root}{root}"), "second root"),
            (format!("{root}</presence>"), "match"),
            (format!("<!DOCTYPE presence>{root}"), "type declaration"),
            (format!("\n<?xml version='1.0'?>{root}"), "not at the beginning"),
            (format!("<?xml encoding='UTF-8'?>{root}"), "without version"),
            (format!("<?xml version='1.0' encoding='UTF-16'?>{root}"), "encoding other than"),
            (format!("<?xml version='1.0' encoding='ISO-8859-1'?>{root}"), "encoding other than"),
        ] {
            let why = why(texts(document.as_bytes()));
            assert!(why.contains(expected), "{document}: {why}");
        }
        let utf_16: Vec<u8> = root.encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(why(texts(&utf_16)).contains("not well-formed"));
        assert!(why(texts(b"\xff\xfe<\0")).contains("not UTF-8"));
    }

    #[test]
    fn every_bound_is_kept() {
        let nested = |depth: usize| format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth));
        assert!(inside(&nested(MAX_DEPTH - 1)).is_ok());
        assert_eq!(inside(&nested(MAX_DEPTH)), Err(DocumentError::TooMany("elements inside elements")));
        assert!(inside(&"<a/>".repeat(MAX_ELEMENTS - 1)).is_ok());
        assert_eq!(inside(&"<a/>".repeat(MAX_ELEMENTS)), Err(DocumentError::TooMany("elements")));
        let attributes = |count: usize| {
            let list: String = (0..count).map(|number| format!(" a{number}=''")).collect();
            format!("<a{list}/>")
        };
        assert!(inside(&attributes(MAX_ATTRIBUTES)).is_ok());
        assert_eq!(inside(&attributes(MAX_ATTRIBUTES + 1)), Err(DocumentError::TooMany("attributes")));
        let long = "x".repeat(MAX_TEXT);
        assert!(inside(&format!("<a b='{long}'>{long}</a>")).is_ok());
        for too_long in [format!("<a>{long}x</a>"), format!("<a>{long}&lt;</a>"), format!("<a b='{long}x'/>")]
        {
            assert_eq!(inside(&too_long), Err(DocumentError::TooMany("bytes of text")));
        }
    }

    #[test]
    fn what_is_not_asked_for_is_skipped() {
        let document =
            b"<presence xmlns='urn:ietf:params:xml:ns:pidf'><a><b><c>1</c></b></a><b/><c>2</c></presence>";
        let (mut xml, _) = XmlReader::open(document, Namespace::Pidf, "presence").unwrap();
        let mut names = Vec::new();
        xml.children(|_, element| {
            names.push(element.name().to_owned());
            Ok(())
        })
        .unwrap();
        assert_eq!(names, ["a", "b", "c"]);
    }
}
