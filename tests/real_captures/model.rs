//! How an expectation about a capture is written.
//! In: nothing. Out: the vocabulary of the tables beside this file. Knows nothing of offhook.

/// One status line that must appear.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The frame that shows it; of a timer, the frame that armed it.
    pub frame: u64,
    /// Seconds since the first frame of the file.
    pub at_s: f64,
    pub terminal: &'static str,
    pub session: &'static str,
}

/// A status of somebody registered, or talking.
pub const fn online(frame: u64, at_s: f64, session: &'static str) -> Step {
    Step { frame, at_s, terminal: "online", session }
}

/// A status of somebody about whose registration nothing is known.
pub const fn unknown(frame: u64, at_s: f64, session: &'static str) -> Step {
    Step { frame, at_s, terminal: "unknown", session }
}

pub const IDLE: &str = "idle";
pub const CALLING: &str = "calling";
pub const RINGING: &str = "ringing";
pub const TALKING: &str = "talking";
pub const HELD: &str = "held";

/// One person of a capture.
#[derive(Clone, Copy, Debug)]
pub struct Person {
    pub aor: &'static str,
    /// An accepted REGISTER of this person is in the capture.
    pub registers: bool,
    /// The histories that the packets allow. The first is the best; others are there where a question is open.
    /// An empty history: the person does not appear.
    pub readings: &'static [&'static [Step]],
    /// Damaged captures: any history will do that never has one of these sessions.
    pub anything_but: Option<&'static [&'static str]>,
}

/// Somebody whose registration is in the capture.
pub const fn registered(aor: &'static str, readings: &'static [&'static [Step]]) -> Person {
    Person { aor, registers: true, readings, anything_but: None }
}

/// Somebody who is only known from calls.
pub const fn unregistered(aor: &'static str, readings: &'static [&'static [Step]]) -> Person {
    Person { aor, registers: false, readings, anything_but: None }
}

/// How the program must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0.
    Success,
    /// A capture without a single frame: 0 with a summary, or 1 with a sentence that names the file.
    EmptyEitherWay,
}

/// What one capture shows.
#[derive(Clone, Copy, Debug)]
pub struct Capture {
    pub file: &'static str,
    /// Time of the first frame, microseconds since 1970.
    pub begins_us: u64,
    pub frames: u64,
    /// Fewest and most SIP messages that a listener may count; equal where it is certain.
    pub messages: (u64, u64),
    pub people: &'static [Person],
    /// Reasons that must be among the ends in the summary.
    pub ends: &'static [&'static str],
    /// Oddities that must be in the summary.
    pub oddities: &'static [&'static str],
    /// Why there is more than one reading.
    pub question: &'static str,
    pub exit: Exit,
}

/// A capture in which nobody is seen; the rows below change what differs.
pub const NOBODY: Capture = Capture {
    file: "",
    begins_us: 0,
    frames: 0,
    messages: (0, 0),
    people: &[],
    ends: &[],
    oddities: &[],
    question: "",
    exit: Exit::Success,
};
