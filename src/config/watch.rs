//! The part of the configuration that says how to watch.
//! In: the table `[watch]`. Out: `WatchSection`. Knows nothing of files, subscriptions.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use toml::Spanned;

use super::{Place, credentials};

/// How to watch: who says that they do.
#[derive(Clone, Default, PartialEq)]
pub struct WatchSection {
    /// Digest user.
    pub user: Option<String>,
    /// Its password.
    pub password: Option<String>,
    /// A file whose first line is the password.
    pub password_file: Option<PathBuf>,
}

/// Without the password.
impl fmt::Debug for WatchSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchSection").field("user", &self.user).finish_non_exhaustive()
    }
}

/// `[watch]` as it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WatchTable {
    user: Option<Spanned<String>>,
    password: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
}

impl WatchTable {
    /// What the table says.
    pub(super) fn read(self, place: &Place<'_>) -> WatchSection {
        let said = credentials::read(self.user, self.password, self.password_file, place);
        WatchSection { user: said.user, password: said.password, password_file: said.password_file }
    }
}
