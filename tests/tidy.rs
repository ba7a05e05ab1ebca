//! The architecture as a test: who may know whom, what a file looks like, where clocks and sockets live.
//! In: the source tree. Out: pass, or file and line of every breach. Knows nothing of what the code does.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// Each room, and the rooms that it may import besides itself.
const TABLE: &[(&str, &[&str])] = &[
    ("base", &[]),
    ("decode", &["base"]),
    ("stream", &["base", "decode"]),
    ("sip", &["base"]),
    ("track", &["base", "sip"]),
    ("identity", &["base", "sip", "track"]),
    ("presence", &["base", "sip", "track", "identity"]),
    ("publish", &["base", "sip", "track", "presence"]),
    ("compositor", &["base", "sip", "track", "presence"]),
    ("watch", &["base", "sip", "track", "presence"]),
    ("redial", &["base", "sip", "track", "identity"]),
    ("tap", &["base", "decode", "stream", "sip", "track", "identity", "presence"]),
    ("config", &["base", "sip", "publish", "compositor", "redial"]),
    (
        "io",
        &[
            "base",
            "decode",
            "stream",
            "sip",
            "track",
            "identity",
            "presence",
            "publish",
            "compositor",
            "watch",
            "redial",
            "tap",
            "config",
        ],
    ),
    ("cli", &["base", "sip", "presence", "config", "io"]),
    ("main", &["cli"]),
];

/// What only `io` may touch: clocks, waiting, threads, sockets, files.
const OUTSIDE_WORLD: &[&str] = &[
    "Instant",
    "SystemTime",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "std::fs",
    "std::thread",
    "tokio",
    "pcap",
];

/// Longer files are split by topic.
const MAX_LINES: usize = 900;

struct Source {
    path: PathBuf,
    text: String,
    /// The text with comments and string literals blanked, line by line the same.
    code: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.ends_with("fuzz/target") {
            // Built by hand with cargo fuzz.
            continue;
        }
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn sources(folder: &str) -> Vec<Source> {
    let mut files = Vec::new();
    rust_files(&root().join(folder), &mut files);
    files
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap();
            let code = blank_comments_and_strings(&text);
            Source { path: path.strip_prefix(root()).unwrap().to_owned(), text, code }
        })
        .collect()
}

/// Comments and literals replaced by blanks, so that only code is looked at. Newlines stay.
fn blank_comments_and_strings(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = vec![b' '; bytes.len()];
    let starts = |at: usize, what: &[u8]| bytes[at..].starts_with(what);
    let mut at = 0;
    while at < bytes.len() {
        let end = if starts(at, b"//") {
            bytes[at..].iter().position(|&byte| byte == b'\n').map_or(bytes.len(), |length| at + length)
        } else if starts(at, b"/*") {
            find(bytes, at + 2, b"*/")
        } else if let Some(hashes) = raw_string_hashes(&bytes[at..]) {
            let closing: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
            find(bytes, at + 2 + hashes, &closing)
        } else if bytes[at] == b'"' {
            closing_quote(bytes, at + 1, b'"')
        } else if bytes[at] == b'\'' && is_character(&bytes[at..]) {
            closing_quote(bytes, at + 1, b'\'')
        } else {
            out[at] = bytes[at];
            at += 1;
            continue;
        };
        for place in at..end {
            if bytes[place] == b'\n' {
                out[place] = b'\n';
            }
        }
        at = end;
    }
    // Only whole characters were blanked or kept.
    String::from_utf8_lossy(&out).into_owned()
}

fn find(bytes: &[u8], from: usize, what: &[u8]) -> usize {
    bytes[from..]
        .windows(what.len())
        .position(|window| window == what)
        .map_or(bytes.len(), |length| from + length + what.len())
}

/// `r"`, `r#"`, …: how many `#`; `None` for anything else. The byte before is not looked at: no name ends in `r"`.
fn raw_string_hashes(bytes: &[u8]) -> Option<usize> {
    let rest = bytes.strip_prefix(b"r")?;
    let hashes = rest.iter().take_while(|&&byte| byte == b'#').count();
    (rest.get(hashes) == Some(&b'"')).then_some(hashes)
}

fn closing_quote(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// `'a'` and `'\n'` are characters, `'a` is a lifetime.
fn is_character(bytes: &[u8]) -> bool {
    bytes.get(1) == Some(&b'\\')
        || bytes.iter().skip(2).take(4).any(|&byte| byte == b'\'') && {
            let text = String::from_utf8_lossy(&bytes[1..bytes.len().min(6)]).into_owned();
            text.chars().nth(1) == Some('\'')
        }
}

/// `src/sip/uri.rs` and `src/sip.rs` belong to `sip`.
fn room(path: &Path) -> String {
    let inside = path.strip_prefix("src").unwrap();
    let first = inside.components().next().unwrap().as_os_str().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The rooms named on a line: `crate::sip::Aor`, and in `main` `offhook::cli`.
fn rooms_named(line: &str) -> Vec<&str> {
    let mut rooms = Vec::new();
    for prefix in ["crate::", "offhook::"] {
        for (at, _) in line.match_indices(prefix) {
            rooms.push(name(&line[at + prefix.len()..]));
        }
    }
    rooms
}

fn name(text: &str) -> &str {
    text.split(|character: char| !character.is_alphanumeric() && character != '_').next().unwrap_or_default()
}

fn is_test_file(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with("tests.rs"))
        || path.components().any(|part| part.as_os_str() == "tests")
}

fn report(what: &str, breaches: &[String]) {
    assert!(breaches.is_empty(), "{what}:\n  {}", breaches.join("\n  "));
}

#[test]
fn a_room_imports_only_what_the_table_allows() {
    let mut breaches = Vec::new();
    for source in sources("src") {
        let room = room(&source.path);
        if room == "lib" {
            continue;
        }
        let Some((_, allowed)) = TABLE.iter().find(|(name, _)| *name == room) else {
            breaches.push(format!("{}:1: the room `{room}` is not in the table", source.path.display()));
            continue;
        };
        for (number, line) in (1..).zip(source.code.lines()) {
            if line.contains("crate::{") {
                breaches.push(format!(
                    "{}:{number}: name the room in each `use crate::room::…`",
                    source.path.display()
                ));
            }
            for named in rooms_named(line) {
                let is_room = TABLE.iter().any(|(name, _)| *name == named);
                if is_room && named != room && !allowed.contains(&named) {
                    breaches
                        .push(format!("{}:{number}: `{room}` may not know `{named}`", source.path.display()));
                }
            }
        }
    }
    report("imports that the table does not allow", &breaches);
}

#[test]
fn every_room_of_the_table_is_there() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for (room, _) in TABLE {
        assert!(
            *room == "main" || lib.contains(&format!("pub mod {room};")),
            "`{room}` is in the table, but not in src/lib.rs"
        );
    }
}

#[test]
fn only_io_touches_the_outside_world() {
    let mut breaches = Vec::new();
    for source in
        sources("src").iter().filter(|source| room(&source.path) != "io" && !is_test_file(&source.path))
    {
        for (number, line) in (1..).zip(source.code.lines()) {
            for forbidden in OUTSIDE_WORLD {
                if contains_word(line, forbidden) {
                    breaches.push(format!("{}:{number}: {forbidden}", source.path.display()));
                }
            }
        }
    }
    report("clocks, threads, sockets or files outside io", &breaches);
}

fn contains_word(line: &str, word: &str) -> bool {
    let is_part = |character: Option<char>| {
        character.is_some_and(|character| character.is_alphanumeric() || character == '_')
    };
    line.match_indices(word).any(|(at, _)| {
        !is_part(line[..at].chars().next_back()) && !is_part(line[at + word.len()..].chars().next())
    })
}

#[test]
fn clippy_refuses_clocks_and_sockets_too() {
    let clippy = fs::read_to_string(root().join(".clippy.toml")).unwrap();
    for banned in [
        "std::time::Instant::now",
        "std::time::SystemTime::now",
        "tokio::time::Instant::now",
        "std::thread::sleep",
        "std::thread::spawn",
        "std::net::UdpSocket",
        "std::net::TcpStream",
        "tokio::net::UdpSocket",
        "tokio::net::TcpStream",
    ] {
        assert!(clippy.contains(banned), ".clippy.toml no longer bans {banned}");
    }
}

#[test]
fn a_file_begins_with_what_it_is() {
    let mut breaches = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")) {
        let path = source.path.display();
        let head: Vec<&str> = source.text.lines().take_while(|line| line.starts_with("//!")).collect();
        let head = head.join(" ");
        if head.is_empty() {
            breaches.push(format!("{path}:1: no `//!` that says what the file is"));
            continue;
        }
        // The map of the house has a form of its own, tests say what they prove.
        let has_own_form = source.path == Path::new("src/lib.rs") || is_test_file(&source.path);
        for part in ["In:", "Out:", "Knows "] {
            if !has_own_form && !head.contains(part) {
                breaches.push(format!("{path}:1: its `//!` has no `{part}`"));
            }
        }
    }
    report("files that do not say what they are", &breaches);
}

#[test]
fn no_file_is_too_long() {
    let mut breaches = Vec::new();
    for source in sources("src").iter().chain(&sources("tests")) {
        let lines = source.text.lines().count();
        if lines > MAX_LINES {
            breaches.push(format!("{}:{lines}: more than {MAX_LINES} lines", source.path.display()));
        }
    }
    report("files that are to be split", &breaches);
}

#[test]
fn comments_and_literals_are_not_code() {
    let text = "let a = \"crate::io\"; // crate::io\nlet b = r#\"crate::io \" \"#; /* crate::io */ let c = '\"'; crate::sip::x::<'a>('\\'')";
    let code = blank_comments_and_strings(text);
    assert_eq!(code.matches("crate::").count(), 1, "{code}");
    assert_eq!(code.lines().count(), 2);
    assert_eq!(rooms_named("use crate::base::Timestamp; offhook::sip"), ["base", "sip"]);
    assert_eq!(room(Path::new("src/sip/uri.rs")), "sip");
    assert_eq!(room(Path::new("src/tap.rs")), "tap");
    assert!(contains_word("std::time::Instant::now()", "Instant") && !contains_word("an_Instant", "Instant"));
}
