//! The captures that are changed: ours, those of other projects, and recorded traffic whose truth is known.
//! In: `captures/`, and beside the project `captures` and `truth`. Out: [`Capture`]. Knows nothing of what they mean.

use std::path::{Path, PathBuf};

use offhook::base::{LinkType, Rules, Timestamp};
use offhook::config::{Config, managed_domain};
use offhook::io::capture::CaptureReader;

/// One frame of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub at: Timestamp,
    pub link: LinkType,
    pub bytes: Vec<u8>,
    /// More than `bytes.len()` where a snapshot length cut the frame.
    pub wire_length: usize,
}

impl Seen {
    /// The same frame with other bytes, and as many missing behind them as before.
    pub fn with(&self, bytes: Vec<u8>) -> Self {
        let missing = self.wire_length.saturating_sub(self.bytes.len());
        Self { wire_length: bytes.len() + missing, bytes, ..*self }
    }
}

/// A capture, and the rules by which its case is read.
#[derive(Clone)]
pub struct Capture {
    pub name: String,
    pub rules: Rules,
    pub frames: Vec<Seen>,
}

/// `captures/`, each with the configuration and the domains of its case.
pub fn ours() -> Vec<Capture> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let captures: Vec<Capture> = files(&directory, &["pcap"])
        .iter()
        .map(|path| Capture { rules: rules_of(path), ..read(path).expect("one of our captures") })
        .collect();
    assert!(captures.len() > 30, "the captures are beside the tests");
    captures
}

/// What people who recorded calls saw; empty, and said so, where this machine has none.
pub fn of_others() -> Vec<Capture> {
    beside("captures", &["pcap", "pcapng", "cap", "libpcap"])
}

/// Traffic of many phones; empty, and said so, where this machine has none.
pub fn recordings() -> Vec<Capture> {
    beside("truth", &["gz"])
}

/// All of these, but no recording that is another one in other envelopes: that is done here to all.
pub fn all() -> Vec<Capture> {
    let mut all = ours();
    all.extend(of_others());
    let envelopes = ["vlan", "qinq", "gre", "erspan1", "erspan2", "erspan3", "vxlan", "dup-routed"];
    let is_envelope = |capture: &Capture| {
        let name = capture.name.strip_prefix("small-").and_then(|name| name.strip_suffix(".pcap"));
        name.is_some_and(|name| envelopes.contains(&name))
    };
    all.extend(recordings().into_iter().filter(|capture| !is_envelope(capture)));
    all
}

/// Whether it is one of [`recordings`] that is not another one in other envelopes.
pub fn recording(capture: &Capture) -> bool {
    ["small.pcap", "b2bua.pcap"].contains(&capture.name.as_str())
}

/// One of [`ours`].
pub fn our(name: &str) -> Capture {
    ours().into_iter().find(|capture| capture.name == name).expect("a capture of this name")
}

fn beside(kind: &str, extensions: &[&str]) -> Vec<Capture> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared").join(kind);
    if !directory.is_dir() {
        say(&format!("skipped: {} is not here", directory.display()));
        return Vec::new();
    }
    files(&directory, extensions).iter().filter_map(|path| read(path)).collect()
}

/// Past the test runner, which shows nothing of a test that passes.
pub fn say(line: &str) {
    let _ = std::io::Write::write_all(&mut std::io::stderr(), format!("{line}\n").as_bytes());
}

fn files(directory: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| extensions.iter().any(|wanted| found == *wanted)))
        .collect();
    paths.sort();
    paths
}

/// A file up to where it is damaged; `None` where not even its head can be read: then it has no frames.
fn read(path: &Path) -> Option<Capture> {
    let mut reader = CaptureReader::open(path.to_str()?).ok()?;
    let mut frames = Vec::new();
    while let Ok(Some(record)) = reader.next() {
        let (at, link, wire_length) = (record.at, record.link, record.wire_length);
        frames.push(Seen { at, link, bytes: record.bytes.to_vec(), wire_length });
    }
    let name = path.file_stem()?.to_string_lossy().into_owned();
    Some(Capture { name, rules: Rules::default(), frames })
}

/// What `NAME.toml` and the ladder's `# options: --domain …` say.
fn rules_of(path: &Path) -> Rules {
    let mut rules = match std::fs::read_to_string(path.with_extension("toml")) {
        Ok(text) => Config::parse("case.toml", &text).unwrap().rules,
        Err(_) => Rules::default(),
    };
    let ladder = std::fs::read_to_string(path.with_extension("ladder")).unwrap_or_default();
    for options in ladder.lines().filter_map(|line| line.strip_prefix("# options:")) {
        let mut words = options.split_whitespace();
        while let Some(word) = words.next() {
            assert_eq!(word, "--domain", "{}: an option that these tests do not know", path.display());
            rules.domains.extend(words.next().and_then(managed_domain));
        }
    }
    rules
}
