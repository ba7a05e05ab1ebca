//! Registrars that let everybody in.
//! In: who accepted a REGISTER without credentials, who refused one. Out: whether one lets everybody in. Knows nothing of
//! registrations.

use std::net::{IpAddr, SocketAddr};

use hashbrown::HashMap;

/// Those that were heard, and whether they have accepted such a REGISTER and refused none so far; at most so many.
pub(super) struct OpenRegistrars {
    known: HashMap<IpAddr, bool>,
    most: usize,
}

impl OpenRegistrars {
    pub(super) fn new(most: usize) -> Self {
        Self { known: HashMap::new(), most }
    }

    /// It has let somebody in without credentials, or refused somebody, whom it may have asked for them.
    pub(super) fn note(&mut self, registrar: SocketAddr, is_open: bool) {
        let registrar = registrar.ip();
        if let Some(known) = self.known.get_mut(&registrar) {
            *known &= is_open;
        } else if self.known.len() < self.most {
            self.known.insert(registrar, is_open);
        }
    }

    /// Whether it lets everybody in, if that is known.
    pub(super) fn get(&self, registrar: SocketAddr) -> Option<bool> {
        self.known.get(&registrar.ip()).copied()
    }
}
