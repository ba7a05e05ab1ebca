//! What the list of wishes and the voice say to each other.
//! In: nothing. Out: vocabulary. Knows nothing of wishes, SIP messages.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::base::{Flow, Hop};
use crate::sip::Aor;

/// Tells one asking from another; never used twice in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// How a phone is asked to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Manner {
    /// A REFER outside any dialog (RFC 3515).
    Refer,
    /// The phone is rung; once it is picked up, a REFER inside that dialog.
    Recall,
    /// OPTIONS (RFC 3261 section 11): is the callee's last contact there? Nobody is asked for anything.
    Probe,
}

impl Manner {
    /// The word in JSON lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refer => "refer",
            Self::Recall => "recall",
            Self::Probe => "probe",
        }
    }
}

/// Somebody's phone is to be asked.
#[derive(Clone, Debug)]
pub struct AskOrder {
    /// Which asking this is.
    pub id: AskId,
    /// How.
    pub manner: Manner,
    /// Whose phone: the caller's; the callee's for a [`Manner::Probe`].
    pub phone: Aor,
    /// Whom it is to call; who is probed.
    pub callee: Aor,
    /// The phone's newest contact, as its registrar lists it, if it is known.
    pub contact: Option<Arc<str>>,
    /// Where that phone's REGISTER came from: the address to reach it at directly.
    pub flow: Option<Flow>,
}

/// The way to a phone.
#[derive(Clone, Debug)]
pub struct Reach {
    /// The Request-URI: the AOR where a proxy finds the phone, its contact where it is reached directly.
    pub request_uri: String,
    /// Over what, from where, to where.
    pub hop: Hop,
    /// Where media that the phone sends arrives, and silence comes from.
    pub media: SocketAddr,
}

/// What became of an asking so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskEvent {
    /// The phone that is recalled rings.
    Ringing,
    /// It was picked up.
    PickedUp,
    /// The REFER was accepted with this 2xx.
    Accepted {
        /// 200 or 202.
        status: u16,
    },
    /// A NOTIFY told how the call that was asked for goes (RFC 3515 section 2.4.5).
    Progress {
        /// What its `message/sipfrag` says.
        status: u16,
    },
    /// Nothing more follows.
    Ended(AskEnd),
}

/// How an asking ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AskEnd {
    /// The REFER was accepted and followed until it had nothing more to tell; the last status that was told, if any
    /// was.
    Followed {
        /// Of the last NOTIFY.
        status: Option<u16>,
    },
    /// A final response other than 2xx to the REFER.
    Refused {
        /// Which.
        status: u16,
    },
    /// No final response to the REFER; to an INVITE no response at all.
    Silent,
    /// The phone that was recalled was not picked up: it was refused there or on the way, or rang in vain.
    NotPickedUp {
        /// The final response, if it was not we who gave up.
        status: Option<u16>,
    },
    /// It was picked up, and hung up before the REFER was accepted.
    HungUp,
    /// The network says that nothing reaches the phone, or there is no message that could be sent there.
    Undeliverable,
    /// A [`Manner::Probe`] was answered: somebody is there.
    There {
        /// The final response.
        status: u16,
    },
}
