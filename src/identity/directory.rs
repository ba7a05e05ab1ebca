//! Which binding has which contact, address and digest user.
//! In: bindings that came and went. Out: the bindings that fit. Knows nothing of ends.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::hash_map::Entry;
use hashbrown::{DefaultHashBuilder, HashMap};
use smallvec::{SmallVec, smallvec};

use crate::base::{Flow, Limits, Oddities, Oddity};
use crate::sip::{Aor, Uri, uri};
use crate::track::{AuthUser, Binding, EndIdentity};

/// AORs remembered for one digest user: one, where things are in order.
const AORS_PER_USER: usize = 8;

/// Stands for one of the things by which an end may be told: a contact's user, host and port, an address, a
/// digest user. Different things may share a key: whoever finds something by it compares the thing itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Key(u64);

/// All keys of one end or binding.
pub(super) type Keys = SmallVec<[Key; 6]>;

/// More ids than this of one key are more than one phone, or one AOR, has.
const FEW: usize = 32;

/// Many ids by key.
#[derive(Default)]
pub(super) struct Multimap {
    entries: HashMap<Key, Ids>,
}

/// The ids of one key. A tree where they are several: thousands of ends may wait for the same key (a gateway's
/// address), and one of them must be found among the others without walking them.
enum Ids {
    One(u64),
    #[expect(
        clippy::box_collection,
        reason = "few keys have several ids: the entries of the others stay small"
    )]
    Several(Box<BTreeSet<u64>>),
}

impl Multimap {
    pub(super) fn insert(&mut self, key: Key, id: u64) {
        match self.entries.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(Ids::One(id));
            }
            Entry::Occupied(mut entry) => match entry.get_mut() {
                Ids::One(known) if *known == id => {}
                Ids::One(known) => {
                    let several = BTreeSet::from([*known, id]);
                    entry.insert(Ids::Several(Box::new(several)));
                }
                Ids::Several(several) => {
                    several.insert(id);
                }
            },
        }
    }

    pub(super) fn remove(&mut self, key: Key, id: u64) {
        let Entry::Occupied(mut entry) = self.entries.entry(key) else { return };
        let was_last = match entry.get_mut() {
            Ids::One(known) => *known == id,
            Ids::Several(several) => several.remove(&id) && several.is_empty(),
        };
        if was_last {
            entry.remove();
        }
    }

    /// More ids than one phone could have.
    pub(super) fn is_crowded(&self, key: Key) -> bool {
        matches!(self.entries.get(&key), Some(Ids::Several(several)) if several.len() > FEW)
    }

    /// The ids of a key, smallest first: the order in which they came.
    pub(super) fn ids(&self, key: Key) -> impl Iterator<Item = u64> + '_ {
        let (one, several) = match self.entries.get(&key) {
            Some(Ids::One(one)) => (Some(*one), None),
            Some(Ids::Several(several)) => (None, Some(several)),
            None => (None, None),
        };
        one.into_iter().chain(several.into_iter().flat_map(|several| several.iter().copied()))
    }
}

/// All bindings that now are.
pub(super) struct Directory {
    /// By registration.
    bindings: Vec<SmallVec<[Arc<Binding>; 1]>>,
    /// How many those are.
    count: usize,
    /// Registrations by what their bindings are found by.
    by_key: Multimap,
    /// The AORs of digest users whose bindings are gone.
    users: HashMap<AuthUser, SmallVec<[Aor; 1]>>,
    hasher: DefaultHashBuilder,
    /// Room for the key of a URI, used again.
    scratch: RefCell<String>,
    most: usize,
}

impl Directory {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            bindings: Vec::new(),
            count: 0,
            by_key: Multimap::default(),
            users: HashMap::new(),
            hasher: DefaultHashBuilder::default(),
            scratch: RefCell::default(),
            most: limits.registered_aors.saturating_mul(2),
        }
    }

    fn key<T: Hash>(&self, kind: u8, thing: T) -> Key {
        Key(self.hasher.hash_one((kind, thing)))
    }

    fn contact_key(&self, uri: &str) -> Option<Key> {
        let uri = Uri::parse(uri.as_bytes())?;
        let mut text = self.scratch.borrow_mut();
        text.clear();
        uri.push_key(&mut text);
        Some(self.key(0, text.as_str()))
    }

    pub(super) fn address_key(&self, address: IpAddr) -> Key {
        self.key(3, address)
    }

    /// All by which this end may be told.
    pub(super) fn keys_of_end(&self, identity: &EndIdentity) -> Keys {
        let contacts = [&identity.contact, &identity.request_uri].into_iter().flatten();
        let mut keys: Keys = contacts.filter_map(|uri| self.contact_key(uri)).collect();
        keys.extend(identity.flow.map(|flow| self.key(1, flow)));
        keys.extend(identity.auth.as_ref().map(|auth| self.key(2, auth)));
        keys.extend(identity.flow.map(|flow| self.address_key(flow.address.ip())));
        keys.extend(identity.claimed.iter().chain(&identity.called).map(|aor| self.aor_key(aor)));
        keys
    }

    /// What is common to the bindings of an AOR, and to the ends that say that they are its.
    pub(super) fn aor_key(&self, aor: &Aor) -> Key {
        self.key(4, aor)
    }

    /// All by which this binding is found where ends do not name its AOR: all its keys but the AOR's own key.
    fn keys_of(&self, binding: &Binding) -> Keys {
        let mut keys: Keys = uris(binding).filter_map(|uri| self.contact_key(uri)).collect();
        keys.extend(binding.flow.map(|flow| self.key(1, flow)));
        keys.extend(binding.auth.as_ref().map(|auth| self.key(2, auth)));
        keys
    }

    /// Enters a binding or what changed of it; gives the keys of ends that may be told by it and were not before.
    pub(super) fn put(&mut self, binding: &Arc<Binding>, oddities: &mut Oddities) -> Option<Keys> {
        let at = binding.registration.0 as usize;
        if self.bindings.get(at).is_some_and(|bindings| bindings.contains(binding)) {
            return None;
        }
        if !self.remove(binding) && self.count >= self.most {
            oddities.note(Oddity::TableFull);
            return None;
        }
        let keys = self.keys_of(binding);
        for &key in keys.iter().chain([&self.aor_key(&binding.aor)]) {
            self.by_key.insert(key, at as u64);
        }
        if at >= self.bindings.len() {
            self.bindings.resize_with(at + 1, SmallVec::new);
        }
        self.bindings.get_mut(at)?.push(Arc::clone(binding));
        self.count += 1;
        Some(keys)
    }

    /// Says whether there was such a binding.
    pub(super) fn remove(&mut self, binding: &Binding) -> bool {
        let at = binding.registration.0 as usize;
        let Some(bindings) = self.bindings.get_mut(at) else { return false };
        let Some(known) = bindings.iter().position(|known| known.id == binding.id) else { return false };
        let gone = bindings.remove(known);
        self.count -= 1;
        let left = self.bindings.get(at).into_iter().flatten();
        let is_last = left.clone().next().is_none();
        let kept: Keys = left.flat_map(|binding| self.keys_of(binding)).collect();
        let of_aor = is_last.then(|| self.aor_key(&gone.aor));
        for key in self.keys_of(&gone).into_iter().chain(of_aor).filter(|key| !kept.contains(key)) {
            self.by_key.remove(key, at as u64);
        }
        if let Some(auth) = &gone.auth {
            self.remember_user(auth, &gone.aor);
        }
        true
    }

    fn remember_user(&mut self, auth: &AuthUser, aor: &Aor) {
        if let Some(aors) = self.users.get_mut(auth) {
            if !aors.contains(aor) && aors.len() < AORS_PER_USER {
                aors.push(aor.clone());
            }
        } else if self.users.len() < self.most {
            self.users.insert(auth.clone(), smallvec![aor.clone()]);
        }
    }

    /// The bindings with this key. Where they are many, only those of the AORs by which [`super::choose`]
    /// would tell them apart: digest user, From and To.
    fn with_key(&self, key: Option<Key>, identity: &EndIdentity) -> impl Iterator<Item = &Arc<Binding>> + '_ {
        let ids = match key {
            Some(key) if self.by_key.is_crowded(key) => self.ids_of_named(identity),
            Some(key) => self.by_key.ids(key).collect(),
            None => Vec::new(),
        };
        ids.into_iter().filter_map(|id| self.bindings.get(id as usize)).flatten()
    }

    fn ids_of_named(&self, identity: &EndIdentity) -> Vec<u64> {
        let users = identity.auth.as_ref().map(|auth| self.by_digest(auth)).unwrap_or_default();
        let aors = users.iter().chain(&identity.claimed).chain(&identity.called);
        let mut ids: Vec<u64> = aors.flat_map(|aor| self.by_key.ids(self.aor_key(aor))).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Bindings whose contact, on any hop, is this URI (RFC 3261 section 19.1.4).
    pub(super) fn by_contact<'a>(
        &'a self,
        uri: &'a str,
        identity: &EndIdentity,
    ) -> impl Iterator<Item = &'a Arc<Binding>> + 'a {
        self.with_key(self.contact_key(uri), identity)
            .filter(move |binding| uris(binding).any(|own| uri::same(own, uri)))
    }

    /// Bindings that were registered from this address.
    pub(super) fn by_flow(
        &self,
        flow: Flow,
        identity: &EndIdentity,
    ) -> impl Iterator<Item = &Arc<Binding>> + '_ {
        self.with_key(Some(self.key(1, flow)), identity).filter(move |binding| binding.flow == Some(flow))
    }

    /// AORs whose accepted REGISTER used this digest user, also when their bindings are gone.
    pub(super) fn by_digest(&self, auth: &AuthUser) -> SmallVec<[Aor; 1]> {
        let mut aors: SmallVec<[Aor; 1]> = self.users.get(auth).cloned().unwrap_or_default();
        let registrations = self.by_key.ids(self.key(2, auth));
        let bindings = registrations.filter_map(|at| self.bindings.get(at as usize)).flatten();
        for binding in bindings.filter(|binding| binding.auth.as_ref() == Some(auth)) {
            if aors.len() >= AORS_PER_USER {
                break;
            }
            if !aors.contains(&binding.aor) {
                aors.push(binding.aor.clone());
            }
        }
        aors
    }
}

fn uris(binding: &Binding) -> impl Iterator<Item = &Arc<str>> + '_ {
    std::iter::once(&binding.contact).chain(&binding.aliases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_a_key_come_in_their_order_and_go_one_by_one() {
        let mut map = Multimap::default();
        let (key, other) = (Key(1), Key(2));
        map.insert(other, 7);
        for id in (0..=FEW as u64).rev() {
            assert!(!map.is_crowded(key));
            map.insert(key, id);
            map.insert(key, id);
        }
        assert!(map.is_crowded(key));
        assert!(map.ids(key).eq(0..=FEW as u64));
        for id in 0..=FEW as u64 {
            map.remove(key, id);
            map.remove(key, id);
            assert!(map.ids(key).eq(id + 1..=FEW as u64));
        }
        map.remove(other, 8);
        assert!(map.ids(other).eq([7]));
        map.remove(other, 7);
        assert!(map.entries.is_empty());
    }
}
