//! Registrations that were challenged, or sent without credentials, and of which no more was seen: a call that reaches their
//! contact proves them.
//! In: such REGISTERs, INVITEs. Out: the REGISTER that an INVITE proves to have been accepted. Knows nothing of
//! bindings.
//! RFC 3261 sections 10.3, 22.1: a phone answers a challenge at once, and only an accepted contact is a Request-URI.

use std::collections::VecDeque;
use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap};

use super::heard::Heard;
use super::pending::Pending;
use crate::base::Timestamp;

/// What a REGISTER without any expiry asks for (RFC 3261 section 10.2.1.1 leaves it to the registrar; most grant this).
const USUAL_EXPIRES_S: u32 = 3_600;

/// Buffers that are kept for the next ones.
const SPARE_CALL_IDS: usize = 64;

/// A challenged REGISTER, and until when what it asked for would last.
struct Challenged {
    /// Its own, and that of its place in the queue.
    number: u64,
    call_id: Vec<u8>,
    pending: Pending,
    until: Timestamp,
}

/// By the hash of the first contact, in the order in which they were challenged; at most so many.
pub(super) struct ChallengedRegistrations {
    by_contact: HashMap<u64, Challenged>,
    /// Numbers and hashes.
    order: VecDeque<(u64, u64)>,
    numbered: u64,
    hasher: DefaultHashBuilder,
    most: usize,
    /// Buffers of those that are gone: most are, a moment later.
    spare_call_ids: Vec<Vec<u8>>,
}

impl ChallengedRegistrations {
    pub(super) fn new(most: usize) -> Self {
        Self {
            by_contact: HashMap::default(),
            order: VecDeque::new(),
            numbered: 0,
            hasher: DefaultHashBuilder::default(),
            most,
            spare_call_ids: Vec::new(),
        }
    }

    /// A REGISTER with this Call-ID was challenged, or its answer was not seen and it does not say who sent it. Only one that asks for a binding can be proved.
    pub(super) fn remember(&mut self, call_id: &[u8], pending: Pending, now: Timestamp) {
        let Some(contact) = pending.contacts.first() else { return };
        let expires_s = contact.expires_s.or(pending.expires_s).unwrap_or(USUAL_EXPIRES_S);
        if expires_s == 0 {
            return;
        }
        self.make_room();
        let hash = self.hasher.hash_one(contact.uri.as_bytes());
        let until = now.after_s(expires_s);
        let mut own_call_id = self.spare_call_ids.pop().unwrap_or_default();
        own_call_id.extend_from_slice(call_id);
        self.numbered += 1;
        let challenged = Challenged { number: self.numbered, call_id: own_call_id, pending, until };
        if let Some(older) = self.by_contact.insert(hash, challenged) {
            self.spare(older.call_id);
        }
        self.order.push_back((self.numbered, hash));
    }

    /// The oldest go, and those that were answered since: they have left their place in the queue.
    fn make_room(&mut self) {
        let Self { by_contact, order, .. } = self;
        if order.len() > 2 * by_contact.len() + 64 {
            order.retain(|(number, hash)| by_contact.get(hash).is_some_and(|known| known.number == *number));
        }
        while by_contact.len() >= self.most {
            let Some((number, hash)) = order.pop_front() else { return };
            if by_contact.get(&hash).is_some_and(|known| known.number == number) {
                by_contact.remove(&hash);
            }
        }
    }

    /// The registrar has said what became of this contact. Says whether that answers one that came after the challenge.
    pub(super) fn forget(&mut self, contact: &[u8], answer: &Heard<'_, '_>) -> bool {
        if self.by_contact.is_empty() {
            return false;
        }
        let Some(gone) = self.by_contact.remove(&self.hasher.hash_one(contact)) else { return false };
        let goes_on = gone.call_id == answer.message.call_id()
            && gone.pending.cseq < answer.message.cseq().number
            && gone.pending.registrar == answer.source;
        self.spare(gone.call_id);
        goes_on
    }

    fn spare(&mut self, mut call_id: Vec<u8>) {
        if self.spare_call_ids.len() < SPARE_CALL_IDS {
            call_id.clear();
            self.spare_call_ids.push(call_id);
        }
    }

    /// The REGISTER that this INVITE proves: its registrar calls the very contact, for the user who asked for it. Gives its
    /// Call-ID, too; what it asked for lasts as long as it would have from the challenge on.
    pub(super) fn proved_by(&mut self, heard: &Heard<'_, '_>) -> Option<(Vec<u8>, Pending)> {
        if self.by_contact.is_empty() {
            return None;
        }
        let contact = heard.message.request_uri()?;
        let hash = self.hasher.hash_one(contact);
        let known = self.by_contact.get(&hash)?;
        let asked = known.pending.contacts.first()?;
        let is_this = asked.uri.as_bytes() == contact
            && known.pending.registrar.ip() == heard.source.ip()
            && heard.aor(&heard.message.to()).is_some_and(|to| to.user() == known.pending.aor.user());
        if !is_this {
            return None;
        }
        let Challenged { call_id, mut pending, until, .. } = self.by_contact.remove(&hash)?;
        let left_s = u32::try_from(until.since(heard.at).as_secs()).unwrap_or(u32::MAX);
        pending.contacts.truncate(1);
        pending.contacts.first_mut()?.expires_s = Some(left_s);
        (left_s > 0).then_some((call_id, pending))
    }
}
