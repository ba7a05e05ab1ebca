//! How to publish, as an operator may choose.
//! In: nothing. Out: vocabulary. Knows nothing of publications, servers.

use crate::presence::EventPackage;
use crate::sip::Method;

/// What a clean stop does with what is published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnStop {
    /// Takes it back.
    #[default]
    Remove,
    /// Leaves it until it expires.
    Keep,
}

/// What carries an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PublishMethod {
    /// PUBLISH (RFC 3903).
    #[default]
    Publish,
    /// REGISTER with the document as its body, and never with a Contact: to a registrar a fetch (RFC 3261
    /// section 10.2.3). The server knows a publication by its Call-ID.
    Register,
}

impl PublishMethod {
    /// The SIP method.
    pub(crate) const fn sip(self) -> Method {
        match self {
            Self::Publish => Method::Publish,
            Self::Register => Method::Register,
        }
    }
}

/// How much of a presentity's status one presence publication tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Facets {
    /// All of it, already consistent: for any presence server.
    #[default]
    Combined,
    /// Terminal and session have a publication each: for a presence server that composes.
    Separate,
}

/// When what is published is refreshed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RefreshOn {
    /// By an own timer, before the granted time is over: when offhook dies, the lamps go out soon.
    #[default]
    OwnTimer,
    /// The publication of an online terminal lasts as long as the phone's registration and is refreshed with it.
    /// All others go by the own timer.
    Registration,
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
    /// Seconds that are asked for in Expires; also the longest time between refreshes. See [`Self::refresh`].
    pub expires_s: u32,
    /// The packages that are published.
    pub events: Vec<EventPackage>,
    /// What carries the updates.
    pub method: PublishMethod,
    /// How much one presence publication tells.
    pub facets: Facets,
    /// When what is published is refreshed.
    pub refresh: RefreshOn,
    /// What a clean stop does.
    pub on_stop: OnStop,
    /// See [`crate::presence::dialog_info::DialogInfoOptions::placeholder`].
    pub placeholder: bool,
    /// See [`crate::presence::dialog_info::DialogInfoOptions::remote_identity`].
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
            method: PublishMethod::default(),
            facets: Facets::default(),
            refresh: RefreshOn::default(),
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
