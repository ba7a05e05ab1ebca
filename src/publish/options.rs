//! How to publish, as an operator may choose.
//! In: nothing. Out: vocabulary. Knows nothing of publications, servers.

use crate::publish::EventPackage;

/// What a clean stop does with what is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStop {
    /// Takes it back.
    #[default]
    Remove,
    /// Leaves it until it expires.
    Keep,
}

/// How to publish. `Debug` does not show the password.
#[derive(Clone)]
pub struct PublishOptions {
    /// The URI in From; `None`: the presentity itself.
    pub from: Option<String>,
    /// The digest user, its own and the same for all presentities.
    pub user: Option<String>,
    /// The digest user's password.
    pub password: Option<String>,
    /// Seconds that are asked for in Expires; also the longest time between refreshes.
    pub expires_s: u32,
    /// The packages that are published.
    pub events: Vec<EventPackage>,
    /// What a clean stop does.
    pub on_stop: OnStop,
    /// See [`DialogInfoOptions::placeholder`].
    pub placeholder: bool,
    /// See [`DialogInfoOptions::remote_identity`].
    pub remote_identity: bool,
    /// Where tags, branches and jitter come from. Two runs against one server must not share it: their branches
    /// would be equal, and a server takes the second's requests for retransmissions of the first's.
    pub seed: u64,
    /// Requests that may await a server's answer at once; further ones wait their turn.
    pub outstanding: usize,
    /// Requests that may be sent in a second, retransmissions aside.
    pub per_s: u32,
}

/// Both packages, for 600 s, without credentials.
impl Default for PublishOptions {
    fn default() -> Self {
        Self {
            from: None,
            user: None,
            password: None,
            expires_s: 600,
            events: EventPackage::ALL.to_vec(),
            on_stop: OnStop::default(),
            placeholder: true,
            remote_identity: true,
            seed: 0,
            outstanding: 64,
            per_s: 1_000,
        }
    }
}

impl std::fmt::Debug for PublishOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PublishOptions")
            .field("events", &self.events)
            .field("expires_s", &self.expires_s)
            .finish_non_exhaustive()
    }
}
