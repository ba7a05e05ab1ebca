//! Nothing that anybody can send does harm: it is refused, or read, soon and without a panic.

use std::time::{Duration, Instant};

use offhook::presence::dialog_info_read;
use offhook::presence::pidf_read;
use offhook::presence::xml_read::DocumentError;
use proptest::prelude::*;

use crate::field::{DIALOG_DOCUMENTS, PRESENCE_DOCUMENTS};

const PIDF: &str = "urn:ietf:params:xml:ns:pidf";

/// Both readers; nobody knows which of them hostile bytes will reach.
#[allow(clippy::disallowed_methods, reason = "how long it takes is what is tested")]
fn read(document: &[u8]) -> Result<(), DocumentError> {
    let begun = Instant::now();
    let presence = pidf_read::read(document).map(|_| ());
    let dialogs = dialog_info_read::read(document).map(|_| ());
    assert!(begun.elapsed() < Duration::from_secs(5), "{} bytes took {:?}", document.len(), begun.elapsed());
    presence.or(dialogs)
}

fn presence(content: &str) -> Vec<u8> {
    format!("<presence xmlns='{PIDF}' entity='sip:alice@example.com'>{content}</presence>").into_bytes()
}

fn why(document: &[u8]) -> String {
    let why = pidf_read::read(document).unwrap_err().to_string();
    assert!(why.len() < 200, "a reason is short, whatever it was: {why}");
    read(document).unwrap_err();
    why
}

#[test]
fn an_entity_cannot_be_declared_and_one_that_is_not_cannot_be_used() {
    let mut laughs = String::from("<!DOCTYPE presence [<!ENTITY a0 'ha'>");
    for number in 1..20 {
        let before = format!("&a{};", number - 1).repeat(10);
        laughs.push_str(&format!("<!ENTITY a{number} '{before}'>"));
    }
    laughs.push_str("]>");
    let notes = String::from_utf8(presence("<note>&a19;</note>")).unwrap();
    assert!(why(format!("{laughs}{notes}").as_bytes()).contains("document type"));
    assert!(why(notes.as_bytes()).contains("entity"));

    for declared in [
        "<!DOCTYPE presence [<!ENTITY a19 SYSTEM 'file:///etc/passwd'>]>",
        "<!DOCTYPE presence SYSTEM 'http://192.0.2.1/a.dtd'>",
        "<!doctype presence>",
        "<!DOCTYPE presence [<!ENTITY % a SYSTEM 'http://192.0.2.1/a.dtd'> %a;]>",
    ] {
        assert!(why(format!("{declared}{notes}").as_bytes()).contains("document type"), "{declared}");
    }
    assert!(why(&presence("<x:y xmlns:x='urn:x'>&a19;</x:y>")).contains("entity"), "where nobody looks, too");
    assert!(why(&presence("<x:y xmlns:x='urn:x' z='&a19;'/>")).contains("entity"));
}

#[test]
fn nesting_and_numbers_are_bounded() {
    let deep = format!("{}{}", "<a>".repeat(100_000), "</a>".repeat(100_000));
    assert_eq!(read(&presence(&deep)), read(&presence(&"<a>".repeat(100_000))), "both are given up early");
    assert_eq!(why(&presence(&deep)), "it has too many elements inside elements");
    assert_eq!(why(&presence(&"<a/>".repeat(100_000))), "it has too many elements");

    let attributes: String = (0..100_000).map(|number| format!(" a{number}='1'")).collect();
    assert_eq!(why(&presence(&format!("<a{attributes}/>"))), "it has too many attributes");
    assert!(why(&presence(&format!("<a{}/>", " a='1'".repeat(100_000)))).contains("attribute"));
    let namespaces: String = (0..100_000).map(|number| format!(" xmlns:a{number}='urn:a'")).collect();
    assert!(why(&presence(&format!("<a{namespaces}/>"))).contains("namespace"));
    let scattered: String = (0..20)
        .map(|depth| {
            let some: String = (0..60).map(|number| format!(" xmlns:a{depth}-{number}='urn:a'")).collect();
            format!("<a{some}>")
        })
        .collect();
    assert!(why(&presence(&scattered)).contains("namespace"));

    let tuples =
        |count: usize| -> String { (0..count).map(|number| format!("<tuple id='t{number}'/>")).collect() };
    let most = pidf_read::MAX_TUPLES;
    assert_eq!(pidf_read::read(&presence(&tuples(most))).unwrap().tuples.len(), most);
    assert_eq!(why(&presence(&tuples(most + 1))), "it has too many tuples");
    assert_eq!(why(&presence(&"<note>a</note>".repeat(pidf_read::MAX_NOTES + 1))), "it has too many notes");
    assert_eq!(
        why(&presence(&format!("<note>{}</note>", "a".repeat(1 << 20)))),
        "it has too many bytes of text"
    );

    let dialogs = |count: usize| {
        let dialogs: String =
            (0..count).map(|number| format!("<dialog id='{number}'><state>early</state></dialog>")).collect();
        format!(
            "<dialog-info xmlns='urn:ietf:params:xml:ns:dialog-info' entity='sip:a@b'>{dialogs}</dialog-info>"
        )
    };
    let most = dialog_info_read::MAX_DIALOGS;
    assert_eq!(dialog_info_read::read(dialogs(most).as_bytes()).unwrap().dialogs.len(), most);
    assert_eq!(dialog_info_read::read(dialogs(most + 1).as_bytes()), Err(DocumentError::TooMany("dialogs")));
}

#[test]
fn a_mebibyte_of_nothing_is_refused() {
    for byte in [
        "<",
        ">",
        "&",
        "\0",
        " ",
        "a",
        "<!--",
        "<![CDATA[",
        "<?",
        "<a ",
        "<a b=\"",
        "</",
        "\u{feff}",
        "<!DOCTYPE ",
    ] {
        let many = byte.repeat((1 << 20) / byte.len());
        assert!(read(many.as_bytes()).is_err(), "{byte}");
        assert!(
            read(&presence(&many)).is_err()
                || byte.trim().is_empty()
                || byte.starts_with(['a', '>', '\u{feff}']),
            "{byte}"
        );
    }
    assert!(read(b"").is_err());
}

#[test]
fn a_document_that_is_cut_off_is_refused_wherever() {
    for (name, document) in PRESENCE_DOCUMENTS.iter().chain(DIALOG_DOCUMENTS) {
        let document = document.trim_end().as_bytes();
        assert_eq!(read(document), Ok(()), "{name}");
        for end in 0..document.len() {
            assert!(read(&document[..end]).is_err(), "{name}, {end} bytes of it");
        }
    }
}

#[test]
fn a_document_in_another_encoding_is_refused() {
    for (name, document) in PRESENCE_DOCUMENTS {
        for encode in [u16::to_le_bytes, u16::to_be_bytes] {
            let marked = format!("\u{feff}{document}");
            let bytes: Vec<u8> = marked.encode_utf16().flat_map(encode).collect();
            assert!(read(&bytes).is_err(), "{name}");
            assert!(read(&bytes[2..]).is_err(), "{name}");
        }
        let latin: Vec<u8> = document
            .replace("entity=\"sip:", "entity=\"sip:~")
            .bytes()
            .map(|byte| if byte == b'~' { 0xe9 } else { byte })
            .collect();
        assert!(read(&latin).unwrap_err().to_string().contains("not UTF-8"), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_048))]

    #[test]
    fn bytes_changed_at_random_never_panic(
        which in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 0..4_u8, any::<u8>(), 1..40_usize), 1..12),
    ) {
        let all: Vec<&str> = PRESENCE_DOCUMENTS.iter().chain(DIALOG_DOCUMENTS).map(|(_, document)| *document).collect();
        let mut bytes = which.get(&all).as_bytes().to_vec();
        for (place, kind, byte, length) in edits {
            if bytes.is_empty() {
                break;
            }
            let at = place.index(bytes.len());
            let end = (at + length).min(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => drop(bytes.drain(at..end)),
                2 => bytes.insert(at, *b"<>&'\"/=:! ;#x?]-".get(usize::from(byte) % 16).unwrap()),
                _ => {
                    let piece = bytes[at..end].to_vec();
                    bytes.splice(at..at, piece);
                }
            }
        }
        let _ = read(&bytes);
    }

    #[test]
    fn any_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(read(&bytes).is_err());
    }

    #[test]
    fn any_markup_never_panics(
        pieces in prop::collection::vec(prop::sample::select(&[
            "<", ">", "/>", "</", "a", "tuple", " id='", "'", "\"", "=", "&", ";", "#", "x", "<!--", "-->", "--", "<![CDATA[",
            "]]>", "<?", "?>", "<!DOCTYPE", "[", "]", "xmlns", ":", " ", "<tuple id='a'>", "</tuple>", "\u{e9}", "<!", "<!>", "xml",
        ][..]), 0..40)
    ) {
        let _ = read(&presence(&pieces.concat()));
        let _ = read(pieces.concat().as_bytes());
    }
}
