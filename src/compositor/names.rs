//! Tags, branches and entity-tags: never the same twice, and for nobody to guess.
//! In: a secret. Out: texts. Knows nothing of what they name.

use crate::base::Secret;

/// Counts under a keyed hash: with another secret, as after a restart, all are others.
#[derive(Debug)]
pub(super) struct Names {
    secret: Secret,
    given: u64,
}

impl Names {
    pub(super) const fn new(secret: Secret) -> Self {
        Self { secret, given: 0 }
    }

    /// The next text for a purpose.
    pub(super) fn next(&mut self, purpose: &str) -> String {
        self.given += 1;
        self.secret.text(purpose, &self.given.to_be_bytes())
    }
}
