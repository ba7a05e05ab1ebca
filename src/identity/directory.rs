//! Which binding has which contact, address and digest user.
//! In: bindings that came and went. Out: the bindings that fit. Knows nothing of ends.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{Equivalent, HashMap};
use slab::Slab;

use crate::base::{Flow, Limits, Oddities, Oddity};
use crate::sip::{Aor, Uri};
use crate::track::{AuthUser, BindingFact, EndIdentity};

/// AORs remembered for one digest user: one, where things are in order.
const AORS_PER_USER: usize = 8;

/// One of the things by which an end may be told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// User, host and port of a contact.
    Contact(String),
    Flow(Flow),
    Digest(AuthUser),
    Address(IpAddr),
}

impl Key {
    /// All by which this end may be told.
    pub(super) fn of_end(identity: &EndIdentity) -> Vec<Self> {
        let contacts = [&identity.contact, &identity.request_uri]
            .into_iter()
            .flatten();
        let mut keys: Vec<Self> = contacts
            .filter_map(|uri| contact_key(uri))
            .map(Self::Contact)
            .collect();
        keys.extend(identity.flow.map(Self::Flow));
        keys.extend(identity.flow.map(|flow| Self::Address(flow.address.ip())));
        keys.extend(identity.auth.clone().map(Self::Digest));
        keys.sort_unstable_by_key(|key| format!("{key:?}"));
        keys.dedup();
        keys
    }
}

fn contact_key(uri: &str) -> Option<String> {
    Uri::parse(uri.as_bytes()).map(|uri| uri.key())
}

fn same_uri(one: &str, other: &str) -> bool {
    match (Uri::parse(one.as_bytes()), Uri::parse(other.as_bytes())) {
        (Some(one), Some(other)) => one.equivalent(&other),
        _ => one == other,
    }
}

/// Look-ups without building a key of its own.
struct Whose<'a>(&'a Aor, &'a str);

impl Equivalent<(Aor, Arc<str>)> for Whose<'_> {
    fn equivalent(&self, key: &(Aor, Arc<str>)) -> bool {
        *self.0 == key.0 && *self.1 == *key.1
    }
}

impl std::hash::Hash for Whose<'_> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
        self.1.hash(state);
    }
}

/// All bindings that now are.
pub(super) struct Directory {
    bindings: Slab<BindingFact>,
    index: HashMap<(Aor, Arc<str>), u32>,
    contacts: HashMap<String, Vec<u32>>,
    flows: HashMap<Flow, Vec<u32>>,
    users: HashMap<AuthUser, Vec<Aor>>,
    most: usize,
}

impl Directory {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            bindings: Slab::new(),
            index: HashMap::new(),
            contacts: HashMap::new(),
            flows: HashMap::new(),
            users: HashMap::new(),
            most: limits.registered_aors.saturating_mul(2),
        }
    }

    /// All by which ends of this binding may be told.
    pub(super) fn keys_of(binding: &BindingFact) -> Vec<Key> {
        let mut keys: Vec<Key> = uris(binding)
            .filter_map(|uri| contact_key(uri))
            .map(Key::Contact)
            .collect();
        keys.extend(binding.flow.map(Key::Flow));
        keys.extend(binding.auth.clone().map(Key::Digest));
        keys
    }

    /// Enters a binding or what changed of it; says whether ends may be told by it that were not before.
    pub(super) fn put(&mut self, binding: &BindingFact, oddities: &mut Oddities) -> bool {
        if let Some(auth) = &binding.auth {
            self.remember_user(auth, &binding.aor);
        }
        if let Some(&id) = self.index.get(&Whose(&binding.aor, &binding.contact)) {
            let same = self.bindings.get(id as usize).is_some_and(|known| {
                known.flow == binding.flow
                    && known.aliases == binding.aliases
                    && known.auth == binding.auth
            });
            if same {
                return false;
            }
            self.remove(binding);
        }
        if self.bindings.len() >= self.most {
            oddities.note(Oddity::TableFull);
            return false;
        }
        let id = self.bindings.insert(binding.clone()) as u32;
        self.index
            .insert((binding.aor.clone(), Arc::clone(&binding.contact)), id);
        for key in uris(binding).filter_map(|uri| contact_key(uri)) {
            push_once(self.contacts.entry(key).or_default(), id);
        }
        if let Some(flow) = binding.flow {
            push_once(self.flows.entry(flow).or_default(), id);
        }
        true
    }

    pub(super) fn remove(&mut self, binding: &BindingFact) {
        let Some(id) = self.index.remove(&Whose(&binding.aor, &binding.contact)) else {
            return;
        };
        let Some(known) = self.bindings.try_remove(id as usize) else {
            return;
        };
        for key in uris(&known).filter_map(|uri| contact_key(uri)) {
            drop_from(&mut self.contacts, &key, id);
        }
        if let Some(flow) = known.flow {
            drop_from(&mut self.flows, &flow, id);
        }
    }

    fn remember_user(&mut self, auth: &AuthUser, aor: &Aor) {
        if let Some(aors) = self.users.get_mut(auth) {
            if !aors.contains(aor) && aors.len() < AORS_PER_USER {
                aors.push(aor.clone());
            }
        } else if self.users.len() < self.most {
            self.users.insert(auth.clone(), vec![aor.clone()]);
        }
    }

    /// Bindings whose contact, on any hop, is this URI (RFC 3261 section 19.1.4).
    pub(super) fn by_contact<'a>(
        &'a self,
        uri: &'a str,
    ) -> impl Iterator<Item = &'a BindingFact> + 'a {
        let ids = contact_key(uri).and_then(|key| self.contacts.get(&key));
        ids.into_iter()
            .flatten()
            .filter_map(|&id| self.bindings.get(id as usize))
            .filter(move |binding| uris(binding).any(|own| same_uri(own, uri)))
    }

    /// Bindings that were registered from this address.
    pub(super) fn by_flow(&self, flow: Flow) -> impl Iterator<Item = &BindingFact> + '_ {
        let ids = self.flows.get(&flow);
        ids.into_iter()
            .flatten()
            .filter_map(|&id| self.bindings.get(id as usize))
    }

    /// AORs whose accepted REGISTER used this digest user, also when their bindings are gone.
    pub(super) fn by_digest(&self, auth: &AuthUser) -> &[Aor] {
        self.users.get(auth).map_or(&[], Vec::as_slice)
    }
}

fn uris(binding: &BindingFact) -> impl Iterator<Item = &Arc<str>> + '_ {
    std::iter::once(&binding.contact).chain(&binding.aliases)
}

fn push_once(ids: &mut Vec<u32>, id: u32) {
    if !ids.contains(&id) {
        ids.push(id);
    }
}

fn drop_from<K: std::hash::Hash + Eq>(map: &mut HashMap<K, Vec<u32>>, key: &K, id: u32) {
    if let Some(ids) = map.get_mut(key) {
        ids.retain(|&other| other != id);
        if ids.is_empty() {
            map.remove(key);
        }
    }
}
