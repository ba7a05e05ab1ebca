//! A REGISTER that was not answered yet, and why it may be believed.
//! In: what it asked for. Out: the same. Knows nothing of bindings.

use std::net::SocketAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::AuthUser;
use super::losses::{Losses, Proof};
use super::registration::Asked;
use crate::base::{Flow, FrameId, HeardTransport, Timestamp};
use crate::sip::Aor;

/// Why a REGISTER whose answer was not seen may be believed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Right {
    /// It says who sent it, or this AOR was accepted without that.
    Credentials,
    /// None, but that its registrar may let everybody in.
    Nothing,
    /// It was challenged, and is of a phone that was registered with the same contact: the phone has answered the challenge at
    /// once, though that was not seen.
    Challenge,
}

/// A REGISTER that was not answered yet.
#[derive(Clone)]
pub(super) struct Pending {
    pub aor: Aor,
    /// Where it was registered already.
    pub registered: Option<u32>,
    pub at: Timestamp,
    /// When it was sent last.
    pub again_at: Timestamp,
    pub frame: FrameId,
    /// So many bytes of its key are its Call-ID.
    pub call_id_bytes: usize,
    pub cseq: u32,
    pub flow: Option<Flow>,
    pub sender: SocketAddr,
    pub transport: HeardTransport,
    pub registrar: SocketAddr,
    pub vias: usize,
    pub contacts: SmallVec<[Asked; 1]>,
    pub star: bool,
    pub expires_s: Option<u32>,
    pub auth: Option<AuthUser>,
    pub user_agent: Option<Arc<str>>,
    /// It may be believed without its answer, once it has not been repeated until then.
    pub presume_at: Option<Timestamp>,
    /// It was.
    pub is_presumed: bool,
    pub by_right_of: Right,
    /// That it was not repeated proves that the mirror loses messages, unless its answer or its repetition is but late.
    pub unrepeated: Option<Proof>,
}

impl Pending {
    pub(super) fn is_over_udp(&self) -> bool {
        self.transport == HeardTransport::Udp
    }

    /// That it was not repeated shows it, or that the phone has bytes of its registrar which were not seen.
    pub(super) fn was_answered(&self, losses: &Losses) -> bool {
        self.again_at == self.at
            && (self.is_over_udp() || losses.lost_message((self.registrar, self.sender), self.at))
    }

    /// It asks for a binding, not only for a list or a removal.
    pub(super) fn wants_a_binding(&self) -> bool {
        self.contacts.iter().any(|contact| contact.expires_s.or(self.expires_s) != Some(0))
    }
}

/// The key of what is expected to follow a challenge, on whatever branch.
pub(super) fn expected_key(key: &mut Vec<u8>, call_id: &[u8], cseq: u32) {
    key.clear();
    key.extend_from_slice(call_id);
    key.push(0);
    key.extend_from_slice(&cseq.to_be_bytes());
}
