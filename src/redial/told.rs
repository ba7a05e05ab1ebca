//! What is told of wishes.
//! In: nothing. Out: vocabulary for lines, ladders and explanations. Knows nothing of how they are written.

use super::Manner;
use crate::base::Timestamp;
use crate::sip::Aor;
use crate::track::Evidence;

/// One step of one wish: a line of kind `redial`.
#[derive(Clone, Debug)]
pub struct RedialTold {
    /// When.
    pub at: Timestamp,
    /// Which wish: counted from 1, never used twice.
    pub wish: u64,
    /// Who called.
    pub caller: Aor,
    /// Who was called.
    pub callee: Aor,
    /// How long the wish lasts.
    pub until: Timestamp,
    /// What happened.
    pub step: Step,
    /// Nobody is really asked.
    pub dry_run: bool,
    /// Which message brought it about; what a phone answered us cites why it was asked.
    pub because: Evidence,
}

/// What happened to a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It was made.
    Wished(Why),
    /// The caller tried again, in vain again: it lasts longer.
    Renewed(Why),
    /// The callee can be called.
    Back(BackBy),
    /// It cannot any more.
    Gone,
    /// The callee can be called, but the caller is not asked yet.
    Waits(WaitsFor),
    /// The caller's phone is asked. In a dry run: would be.
    Asked(Manner),
    /// The phone that is recalled rings.
    Ringing,
    /// It was picked up.
    PickedUp,
    /// The phone will call: this 2xx to REFER.
    Accepted(u16),
    /// The phone says how its call goes.
    Progress(u16),
    /// The caller's own INVITE to the callee was seen.
    Dialled,
    /// The wish is over.
    Closed(Outcome),
}

impl Step {
    /// The word in JSON lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Wished(_) => "wished",
            Self::Renewed(_) => "renewed",
            Self::Back(_) => "back",
            Self::Gone => "gone",
            Self::Waits(_) => "waits",
            Self::Asked(_) => "asked",
            Self::Ringing => "ringing",
            Self::PickedUp => "picked-up",
            Self::Accepted(_) => "accepted",
            Self::Progress(_) => "progress",
            Self::Dialled => "dialled",
            Self::Closed(_) => "closed",
        }
    }
}

/// Why somebody wishes to call again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// The callee was not registered, and the call was refused with this status.
    Status(u16),
    /// The callee was not registered, and the call was given up, or nobody answered.
    Unanswered,
    /// The callee was not registered, and somebody else answered, as voicemail does.
    AnsweredElsewhere,
    /// The callee was busy: 486 or 600.
    Busy(u16),
}

impl Why {
    /// The word in JSON lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Status(_) => "refused",
            Self::Unanswered => "unanswered",
            Self::AnsweredElsewhere => "answered-elsewhere",
            Self::Busy(_) => "busy",
        }
    }

    /// The final response, if there was one.
    pub const fn status(self) -> Option<u16> {
        match self {
            Self::Status(status) | Self::Busy(status) => Some(status),
            Self::Unanswered | Self::AnsweredElsewhere => None,
        }
    }
}

/// What shows that the callee can be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackBy {
    /// It registered.
    Registered,
    /// It is busy no more.
    Idle,
    /// It answered a probe.
    Probe,
}

impl BackBy {
    /// The word in JSON lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Registered => "registered",
            Self::Idle => "idle",
            Self::Probe => "probe",
        }
    }
}

/// Why a caller is not asked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WaitsFor {
    /// Its phone is in a call, or is being asked for another wish.
    Caller,
    /// It is not registered.
    CallerRegistration,
    /// The callee is in a call, or was just now.
    Callee,
    /// Another caller of the same callee was asked just now.
    Turn,
    /// A rate limit.
    Rate,
}

impl WaitsFor {
    /// The word in JSON lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::CallerRegistration => "caller-registration",
            Self::Callee => "callee",
            Self::Turn => "turn",
            Self::Rate => "rate",
        }
    }
}

/// How a wish ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The two talk, after the caller's phone was asked.
    Talked,
    /// The caller's phone accepted the REFER, and no more was wanted.
    Asked,
    /// The phone refused, or the PBX did, before the phone rang.
    Refused {
        /// How.
        status: u16,
    },
    /// The phone was rung, and nobody picked it up, or it was declined or busy, or somebody hung up before it could be asked.
    NotPickedUp,
    /// The phone did not answer, nor did it ring.
    Silent,
    /// The phone could not be reached.
    Undeliverable,
    /// The call that the phone was asked for was in vain too.
    FailedAgain,
    /// Its time is over.
    Expired,
    /// The caller reached the callee by itself.
    Reached,
    /// The caller dialled a cancel code.
    Cancelled,
    /// There were too many wishes.
    Evicted,
}

impl Outcome {
    /// The word in JSON lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Talked => "talked",
            Self::Asked => "asked",
            Self::Refused { .. } => "refused",
            Self::NotPickedUp => "not-picked-up",
            Self::Silent => "silent",
            Self::Undeliverable => "undeliverable",
            Self::FailedAgain => "failed-again",
            Self::Expired => "expired",
            Self::Reached => "withdrawn-reached",
            Self::Cancelled => "withdrawn-code",
            Self::Evicted => "evicted",
        }
    }
}
