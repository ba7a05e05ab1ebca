//! Several inputs as one, in the order of time.
//! In: paths. Out: `Captured`. Knows nothing of formats.

use std::collections::VecDeque;

use crate::base::FrameId;
use crate::decode::Frame;

use super::Captured;
use super::error::CaptureError;
use super::filter::{self, Filter};
use super::reader::CaptureReader;
use super::source;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its current record was given away, or there is none yet.
    Behind,
    /// Its current record waits for its turn.
    Ready,
    Ended,
}

struct Input {
    reader: CaptureReader,
    /// Its index on the command line.
    source: u16,
    state: State,
}

/// Frames of several captures, merged by time. Frames of one time come in command-line order; the order
/// inside each capture is never changed, not even where its time goes back.
pub struct MergedCapture {
    inputs: Vec<Input>,
    names: Vec<String>,
    filter: Option<Filter>,
    /// What was wrong with inputs whose content could not be read from its beginning.
    unread: VecDeque<CaptureError>,
    warnings: Vec<String>,
    warned_of_tags: bool,
}

impl MergedCapture {
    /// Opens all paths (`-` is standard input). Frames that do not match the filter, in tcpdump's language,
    /// are counted but not given.
    ///
    /// # Errors
    /// One of them cannot be opened, or the filter does not compile for one of them. An input whose content
    /// is no capture is an error of [`Self::next`]: the others are read.
    pub fn open(paths: &[String], filter: Option<&str>) -> Result<Self, CaptureError> {
        let mut merged = Self {
            inputs: Vec::with_capacity(paths.len()),
            names: paths.iter().map(|path| source::name_of(path)).collect(),
            filter: filter.map(Filter::new),
            unread: VecDeque::new(),
            warnings: Vec::new(),
            warned_of_tags: false,
        };
        for (index, path) in paths.iter().enumerate() {
            match CaptureReader::open(path) {
                Ok(reader) => {
                    let prepared = match (&mut merged.filter, reader.only_link()) {
                        (Some(filter), Some(link)) => filter.prepare(link),
                        _ => Ok(()),
                    };
                    if let (Err(reason), Some(filter)) = (prepared, &merged.filter) {
                        return Err(filter_error(filter, reader.name(), reason));
                    }
                    merged.inputs.push(Input {
                        reader,
                        source: u16::try_from(index).unwrap_or(u16::MAX),
                        state: State::Behind,
                    });
                }
                Err(error) if error.is_unopened() => return Err(error),
                Err(error) => merged.unread.push_back(error),
            }
        }
        Ok(merged)
    }

    /// The next frame or event; `None` when all inputs are at their end.
    ///
    /// # Errors
    /// Those of one input, each once. That input then ends, unless only one of its interfaces is unreadable;
    /// the others go on.
    #[expect(clippy::should_implement_trait, reason = "the frame is lent, which no Iterator can do")]
    pub fn next(&mut self) -> Option<Result<Captured<'_>, CaptureError>> {
        if let Some(error) = self.unread.pop_front() {
            return Some(Err(error));
        }
        for index in 0..self.inputs.len() {
            if let Err(error) = self.make_ready(index) {
                return Some(Err(error));
            }
        }
        let earliest = self
            .inputs
            .iter_mut()
            .filter(|input| input.state == State::Ready)
            .filter_map(|input| Some((input.reader.current_at()?, input)))
            .min_by_key(|(at, _)| *at)
            .map(|(_, input)| input)?;
        earliest.state = State::Behind;
        let source = earliest.source;
        if let Some(event) = earliest.reader.event.take() {
            return Some(Ok(Captured::Event(event)));
        }
        let record = earliest.reader.current()?;
        Some(Ok(Captured::Frame(Frame {
            at: record.at,
            id: FrameId::new(source, record.number),
            link: record.link,
            bytes: record.bytes,
            wire_length: record.wire_length,
        })))
    }

    /// Bytes read and bytes there are, of all inputs, compressed as they are. The latter is unknown as soon
    /// as one of them is a pipe.
    pub fn progress(&self) -> (u64, Option<u64>) {
        let readers = || self.inputs.iter().map(|input| &input.reader);
        (readers().map(CaptureReader::position).sum(), readers().map(CaptureReader::size).sum())
    }

    /// What the inputs are called, by [`FrameId::source`].
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What the user should know, one sentence each; it grows while frames are read.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Goes on in one input until a frame matches, or something happened to the capture.
    fn make_ready(&mut self, index: usize) -> Result<(), CaptureError> {
        let Some(input) = self.inputs.get_mut(index) else {
            return Ok(());
        };
        while input.state == State::Behind {
            match input.reader.advance() {
                Ok(true) => {}
                Ok(false) => {
                    input.state = State::Ended;
                    return Ok(());
                }
                Err(error) => {
                    if input.reader.has_ended() {
                        input.state = State::Ended;
                    }
                    return Err(error);
                }
            }
            let Some(filter) = &mut self.filter else {
                input.state = State::Ready;
                return Ok(());
            };
            let Some(record) = input.reader.current() else {
                input.state = State::Ready;
                return Ok(());
            };
            let is_tagged = || filter::is_tagged(record.link, record.bytes);
            if !self.warned_of_tags && is_tagged() && !filter::knows_tags(filter.expression()) {
                self.warned_of_tags = true;
                self.warnings.push(format!(
                    "{}: record {} has a VLAN tag, which the filter \"{}\" does not look behind; \"vlan and ({})\" would",
                    input.reader.name(),
                    record.number,
                    filter.expression(),
                    filter.expression(),
                ));
            }
            match filter.matches(record.link, record.bytes) {
                Ok(true) => input.state = State::Ready,
                Ok(false) => {}
                Err(reason) => {
                    input.state = State::Ended;
                    return Err(filter_error(filter, input.reader.name(), reason));
                }
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for MergedCapture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MergedCapture").field("names", &self.names).finish_non_exhaustive()
    }
}

fn filter_error(filter: &Filter, name: &str, reason: String) -> CaptureError {
    CaptureError::Filter { name: name.to_owned(), expression: filter.expression().to_owned(), reason }
}
