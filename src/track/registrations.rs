//! All registrations: found by AOR, ended in time, at most so many.
//! In: AORs, and REGISTERs to be believed without their answer. Out: registrations, what was found out of them. Knows nothing
//! of messages.

use hashbrown::HashMap;

use super::heard::Heard;
use super::pending::Pending;
use super::registrar::List;
use super::registration::{Order, Registration, Step};
use super::{Confidence, Findings, RegistrationId, Rule};
use crate::base::{Deadlines, Flow, FrameId, Limits, Oddities, Oddity, Places, Timestamp};
use crate::sip::{Aor, Method};

/// So many phones are listened for that may have renewed, unseen, what ran out.
const LAPSED: usize = 4_096;

/// All addresses of record with bindings.
pub(super) struct Registrations {
    /// By AOR.
    pub by_aor: Places<Registration>,
    deadlines: Deadlines<u32>,
    most: usize,
    bindings_per_aor: usize,
    pub next_binding: u64,
    /// Where those phones were whose granted time ran out while the mirror was known to lose messages, and the places of
    /// their registrations.
    lapsed: HashMap<Flow, u32>,
}

impl Registrations {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            by_aor: Places::default(),
            deadlines: Deadlines::new(),
            most: limits.registered_aors,
            bindings_per_aor: limits.bindings_per_aor,
            next_binding: 0,
            lapsed: HashMap::new(),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.deadlines.next()
    }

    /// Removes bindings whose granted time ran out.
    pub(super) fn handle_timeout(&mut self, now: Timestamp, out: &mut Findings) {
        while let Some((_, id)) = self.deadlines.pop_due(now) {
            if let Some(registration) = self.by_aor.get_mut(id) {
                registration.deadline = None;
                registration.renew_lapsed(now, out, self.bindings_per_aor);
                let known_lossy = out.losses.are_known(now);
                let lapsed = registration.expire(now, out);
                for flow in lapsed.into_iter().filter(|_| known_lossy) {
                    if self.lapsed.len() < LAPSED {
                        self.lapsed.insert(flow, id);
                    }
                }
                if !known_lossy {
                    registration.forget_lapsed();
                    self.lapsed.clear();
                }
            }
            self.settle(id);
        }
    }

    /// A phone that goes on to speak after its granted time has renewed that: what is lost of it are the REGISTER and its answer.
    pub(super) fn notice(&mut self, heard: &Heard<'_, '_>) {
        if self.lapsed.is_empty() || heard.message.cseq().method == Method::Register {
            return;
        }
        let message = heard.message;
        let flow = heard.source_flow();
        let Some(&id) = self.lapsed.get(&flow) else { return };
        let sender = if message.status().is_none() { message.from() } else { message.to() };
        let Some(registration) = self.by_aor.get_mut(id) else {
            self.lapsed.remove(&flow);
            return;
        };
        // Others may share the address with it, behind a server.
        if heard.aor(&sender).is_none_or(|sender| sender.user() != registration.aor.user()) {
            return;
        }
        self.lapsed.remove(&flow);
        registration.speaks_on(flow, heard.at);
        self.settle(id);
    }

    /// The registration of `aor`, made when there is none; another one goes when the table is full.
    pub(super) fn registration(
        &mut self,
        aor: &Aor,
        out: &mut Findings,
        oddities: &mut Oddities,
    ) -> Option<u32> {
        if self.by_aor.len() >= self.most && self.find(aor.as_str()).is_none() {
            oddities.note(Oddity::TableFull);
            self.drop_one(out);
        }
        self.registration_if_room(aor)
    }

    fn registration_if_room(&mut self, aor: &Aor) -> Option<u32> {
        if let Some(id) = self.find(aor.as_str()) {
            return Some(id);
        }
        if self.by_aor.len() >= self.most {
            return None;
        }
        let new = |id| Registration::new(aor.clone(), RegistrationId(id));
        Some(self.by_aor.insert(aor.as_str(), new))
    }

    /// Does what a REGISTER asked for, though its 2xx was not seen. Says whether that is news.
    pub(super) fn believe(
        &mut self,
        call_id: &[u8],
        pending: &Pending,
        rule: Rule,
        frame: FrameId,
        out: &mut Findings,
    ) -> bool {
        let Some(id) = self.registration_if_room(&pending.aor) else { return false };
        let Some(registration) = self.by_aor.get_mut(id) else { return false };
        let (call_id, order) =
            registration.order(call_id, pending.cseq, pending.registrar, None, true, out.at);
        if order != Order::Newer {
            return false;
        }
        let step = Step {
            frame,
            call_id,
            cseq: pending.cseq,
            registrar: pending.registrar,
            sole_hop: None,
            sole_contact: false,
            expires_s: None,
            rule,
            confidence: Confidence::Weak,
            list: List::Whole,
            asked: Some(pending),
        };
        registration.believe(&step, &[], out, self.bindings_per_aor, &mut self.next_binding);
        self.settle(id);
        true
    }

    /// A REGISTER that was believed was refused or repeated after all: what only it brought about is not so.
    pub(super) fn disbelieve(
        &mut self,
        pending: &Pending,
        call_id: &[u8],
        frame: FrameId,
        out: &mut Findings,
    ) {
        let Some(id) = self.find(pending.aor.as_str()) else { return };
        if let Some(registration) = self.by_aor.get_mut(id) {
            registration.disbelieve(call_id, pending.cseq, frame, out, self.bindings_per_aor);
        }
        self.settle(id);
    }

    pub(super) fn get(&self, id: u32) -> Option<&Registration> {
        self.by_aor.get(id)
    }

    /// The place where `aor` was found before, if it is still there.
    pub(super) fn still(&self, id: u32, aor: &Aor) -> Option<u32> {
        self.get(id).is_some_and(|known| known.aor == *aor).then_some(id)
    }

    pub(super) fn find(&self, aor: &str) -> Option<u32> {
        self.by_aor.find(aor, |known| known.aor.as_str() == aor)
    }

    /// Room for another: the registration that ends soonest goes, else any.
    fn drop_one(&mut self, out: &mut Findings) {
        let soonest = self.ends_soonest();
        let id = soonest.or_else(|| self.by_aor.any());
        let Some(id) = id else { return };
        if let Some(mut gone) = self.by_aor.remove(id) {
            self.deadlines.set(&mut gone.deadline, id, None);
            gone.evict(out);
        }
    }

    /// The first whose deadline is where its bindings have it: those that moved away are set again.
    fn ends_soonest(&mut self) -> Option<u32> {
        loop {
            let id = self.deadlines.first_key()?;
            let registration = self.by_aor.get_mut(id)?;
            let (armed, next) = (registration.deadline, registration.next_expiry());
            if armed == next {
                return Some(id);
            }
            self.deadlines.set(&mut registration.deadline, id, next);
        }
    }

    /// A refresh costs nothing here: see [`Deadlines::set_lazily`].
    pub(super) fn settle(&mut self, id: u32) {
        if let Some(registration) = self.by_aor.get_mut(id) {
            let next = registration.next_expiry();
            self.deadlines.set_lazily(&mut registration.deadline, id, next);
        }
    }
}
