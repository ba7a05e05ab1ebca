//! Keeps what a tap was given, so that a replay gives the same statuses: `offhook tap --write`.
//! In: frames and events, in the order in which the tap took them. Out: pcapng files, the newest under the name that was
//! given. Knows nothing of SIP.
//!
//! Each file can be read by itself: it describes its interfaces anew, and says which of them were blind as it began.

mod blocks;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::base::{CaptureChange, CaptureEvent, FrameCounts, LinkType, Timestamp};
use crate::config::CaptureSection;
use crate::decode::Frame;

/// What is gathered before it goes to the file.
const GATHER_BYTES: usize = 64 << 10;
/// And for so long at most, in packet time.
const GATHER: Duration = Duration::from_secs(1);
/// Calls and names of people: for nobody else's eyes.
const MODE: u32 = 0o600;
/// How the frames of an interface begin that has shown none yet.
const ETHERNET: LinkType = LinkType(1);

/// Why nothing can be kept.
#[derive(Debug, thiserror::Error)]
#[error("{file} cannot be written: {reason}")]
pub struct RecordingError {
    file: String,
    reason: io::Error,
}

/// One interface in the file that is being written.
#[derive(Clone)]
struct Described {
    name: Arc<str>,
    /// Its number in this file, and how its frames begin there.
    number: Option<(u32, LinkType)>,
    counts: FrameCounts,
    began: bool,
    blind: Option<CaptureChange>,
}

/// Writes.
pub(super) struct Recording {
    path: PathBuf,
    file: File,
    gathered: Vec<u8>,
    gathered_since: Option<Timestamp>,
    interfaces: Vec<Described>,
    filter: Option<String>,
    section: CaptureSection,
    /// Of this file: when its first record is from, its bytes, interfaces that it describes.
    began_at: Option<Timestamp>,
    bytes: u64,
    described: u32,
    /// The latest moment that the records so far have reached.
    reached: Timestamp,
}

impl Recording {
    /// Begins a file. One of that name is there already: it is kept under the name that it would have got by and by.
    pub(super) fn begin(
        path: &Path,
        interfaces: &[String],
        filter: Option<&str>,
        section: &CaptureSection,
    ) -> Result<Self, RecordingError> {
        let begin = || -> io::Result<File> {
            if fs::metadata(path).is_ok_and(|facts| facts.is_file() && facts.len() > 0) {
                let modified = fs::metadata(path)?.modified()?;
                let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                set_aside(path, Timestamp::EPOCH.after(since))?;
                forget_oldest(path, section.write_files)?;
            }
            create(path)
        };
        let file = begin().map_err(|reason| RecordingError { file: path.display().to_string(), reason })?;
        let described = |name: &String| Described {
            name: name.as_str().into(),
            number: None,
            counts: FrameCounts::default(),
            began: false,
            blind: None,
        };
        let mut recording = Self {
            path: path.to_owned(),
            file,
            gathered: Vec::new(),
            gathered_since: None,
            interfaces: interfaces.iter().map(described).collect(),
            filter: filter.map(str::to_owned),
            section: section.clone(),
            began_at: None,
            bytes: 0,
            described: 0,
            reached: Timestamp::EPOCH,
        };
        blocks::section_header(&mut recording.gathered);
        Ok(recording)
    }

    /// Keeps a frame. `tap_at` is how far the tap was before it: a frame that comes too late for it comes too late for
    /// the reader of this, too.
    pub(super) fn frame(&mut self, frame: &Frame<'_>, tap_at: Timestamp) -> Result<(), RecordingError> {
        if frame.at < tap_at {
            self.reached(tap_at)?;
        } else {
            self.rotate(frame.at)?;
        }
        let number = self.number(usize::from(frame.id.source()), Some(frame.link));
        blocks::frame(&mut self.gathered, number, frame);
        self.added(frame.at)
    }

    /// Keeps what happened to the capture at an interface.
    pub(super) fn event(&mut self, source: u16, event: &CaptureEvent) -> Result<(), RecordingError> {
        self.rotate(event.at)?;
        let source = usize::from(source);
        if let Some(interface) = self.interfaces.get_mut(source) {
            interface.counts = event.counts;
            match event.what {
                CaptureChange::Began => interface.began = true,
                CaptureChange::Blind { .. } => interface.blind = Some(event.what),
                CaptureChange::Seeing => interface.blind = None,
                CaptureChange::Continues | CaptureChange::Reached | CaptureChange::Counted => {}
            }
        }
        self.write_event(source, event)
    }

    /// The tap has come so far without a frame: a reader is to come so far, too.
    pub(super) fn reached(&mut self, at: Timestamp) -> Result<(), RecordingError> {
        if at <= self.reached {
            return Ok(());
        }
        let Some(interface) = self.interfaces.first() else { return Ok(()) };
        let event = CaptureEvent {
            at,
            interface: Arc::clone(&interface.name),
            what: CaptureChange::Reached,
            counts: interface.counts,
        };
        self.write_event(0, &event)
    }

    /// What each interface counted by now.
    pub(super) fn count(&mut self, counts: &[FrameCounts]) {
        for (interface, counts) in self.interfaces.iter_mut().zip(counts) {
            interface.counts = *counts;
        }
    }

    /// Time passes: what was gathered long enough goes to the file.
    pub(super) fn tick(&mut self, now: Timestamp) -> Result<(), RecordingError> {
        if self.gathered_since.is_some_and(|since| now.since(since) >= GATHER) {
            return self.flush();
        }
        Ok(())
    }

    /// The last word: how far the tap came, and what was counted.
    pub(super) fn end(mut self, at: Timestamp) -> Result<(), RecordingError> {
        self.reached(at)?;
        self.write_counts(self.reached)?;
        self.flush()
    }

    fn write_counts(&mut self, at: Timestamp) -> Result<(), RecordingError> {
        for (source, interface) in self.interfaces.clone().into_iter().enumerate() {
            let what = CaptureChange::Counted;
            let event = CaptureEvent { at, interface: interface.name, what, counts: interface.counts };
            self.write_event(source, &event)?;
        }
        Ok(())
    }

    fn write_event(&mut self, source: usize, event: &CaptureEvent) -> Result<(), RecordingError> {
        let number = self.number(source, None);
        blocks::event(&mut self.gathered, number, event);
        self.added(event.at)
    }

    /// The number of an interface in this file, which describes it first if need be.
    fn number(&mut self, source: usize, link: Option<LinkType>) -> u32 {
        let Some(interface) = self.interfaces.get_mut(source) else { return 0 };
        if let Some((number, _)) =
            interface.number.filter(|(_, known)| link.is_none_or(|link| link == *known))
        {
            return number;
        }
        let link = link.unwrap_or(ETHERNET);
        let number = self.described;
        self.described += 1;
        interface.number = Some((number, link));
        let filter = self.filter.as_deref();
        blocks::interface(&mut self.gathered, &interface.name, link, self.section.snap_bytes, filter);
        number
    }

    fn added(&mut self, at: Timestamp) -> Result<(), RecordingError> {
        self.reached = self.reached.max(at);
        self.began_at.get_or_insert(at);
        let since = *self.gathered_since.get_or_insert(at);
        if self.gathered.len() >= GATHER_BYTES || at.since(since) >= GATHER {
            return self.flush();
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), RecordingError> {
        self.gathered_since = None;
        self.bytes += self.gathered.len() as u64;
        let written = self.file.write_all(&self.gathered);
        self.gathered.clear();
        written.map_err(|reason| self.error(reason))
    }

    /// Goes on in a new file, if this one is large or old enough. Only before a record that is in order: then the files one
    /// behind the other, and merged by time, are the same.
    fn rotate(&mut self, at: Timestamp) -> Result<(), RecordingError> {
        let Some(began_at) = self.began_at else { return Ok(()) };
        let is_large = self.bytes + self.gathered.len() as u64 >= u64::from(self.section.write_mib) << 20;
        let is_old = at.since(began_at).as_secs() >= u64::from(self.section.write_s);
        if at < self.reached || !(is_large || is_old) {
            return Ok(());
        }
        self.write_counts(self.reached)?;
        self.flush()?;
        let next = set_aside(&self.path, began_at).and_then(|()| create(&self.path));
        self.file = next.map_err(|reason| self.error(reason))?;
        forget_oldest(&self.path, self.section.write_files).map_err(|reason| self.error(reason))?;
        (self.began_at, self.bytes, self.described) = (None, 0, 0);
        blocks::section_header(&mut self.gathered);
        for interface in &mut self.interfaces {
            interface.number = None;
        }
        for (source, interface) in self.interfaces.clone().into_iter().enumerate() {
            let Described { name, counts, began, blind, .. } = interface;
            for what in [began.then_some(CaptureChange::Continues), blind].into_iter().flatten() {
                let event = CaptureEvent { at, interface: Arc::clone(&name), what, counts };
                self.write_event(source, &event)?;
            }
        }
        Ok(())
    }

    fn error(&self, reason: io::Error) -> RecordingError {
        RecordingError { file: self.path.display().to_string(), reason }
    }
}

fn create(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(MODE).open(path)?;
    // One that was there, empty, keeps its own mode else.
    if file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(MODE))?;
    }
    Ok(file)
}

/// `calls.pcapng` → `calls.20261122T060801Z.pcapng`, with a number behind the time where there is one already.
fn set_aside(path: &Path, began_at: Timestamp) -> io::Result<()> {
    let (stem, extension) = stem_and_extension(path);
    let time = compact(began_at);
    let name = |number: u32| match number {
        1 => format!("{stem}.{time}{extension}"),
        _ => format!("{stem}.{time}-{number}{extension}"),
    };
    let free = (1..).map(|number| path.with_file_name(name(number))).find(|path| !path.exists());
    free.map_or(Ok(()), |free| fs::rename(path, free))
}

/// Deletes the oldest of the files that were set aside, until so many are left with the one that is being written.
fn forget_oldest(path: &Path, files: u32) -> io::Result<()> {
    let (stem, extension) = stem_and_extension(path);
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut aside: Vec<(String, u32, PathBuf)> = Vec::new();
    for entry in fs::read_dir(directory)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let middle =
            name.strip_prefix(&stem).and_then(|rest| rest.strip_prefix('.')?.strip_suffix(&extension));
        if let Some((time, number)) = middle.and_then(set_aside_at) {
            aside.push((time.to_owned(), number, entry.path()));
        }
    }
    aside.sort();
    let most = usize::try_from(files.saturating_sub(1)).unwrap_or(usize::MAX);
    for (_, _, path) in aside.iter().take(aside.len().saturating_sub(most)) {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Time and number in the name of a file that was set aside.
fn set_aside_at(middle: &str) -> Option<(&str, u32)> {
    let (time, number) = middle.split_once('-').unwrap_or((middle, "1"));
    let is_time = time.len() == 16
        && time.char_indices().all(|(at, character)| match at {
            8 => character == 'T',
            15 => character == 'Z',
            _ => character.is_ascii_digit(),
        });
    Some((time, number.parse().ok()?)).filter(|_| is_time)
}

fn stem_and_extension(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let extension = text(path.extension()).map(|extension| format!(".{extension}")).unwrap_or_default();
    (text(path.file_stem()).unwrap_or_default(), extension)
}

/// `20261122T060801Z`.
fn compact(at: Timestamp) -> String {
    let text = at.to_string();
    let seconds = text.split('.').next().unwrap_or_default();
    let digits: String = seconds.chars().filter(|character| !matches!(character, '-' | ':')).collect();
    format!("{digits}Z")
}
