//! How to redial.
//! In: nothing. Out: vocabulary. Knows nothing of configuration files.

/// Which way of asking is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WayWanted {
    /// REFER first; a recall for phones that refuse that, remembered by User-Agent.
    #[default]
    Auto,
    /// REFER outside any dialog only.
    Refer,
    /// Recall only.
    Recall,
}

/// Until when a wish is watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Until {
    /// The caller's phone accepted the REFER.
    Refer,
    /// The two talk.
    #[default]
    Talking,
}

/// What is wished for, and whom to ask how. Patterns: `*` stands for any run of characters.
#[derive(Clone, Debug, PartialEq)]
pub struct RedialOptions {
    /// Nobody is asked: what would be done is only told.
    pub dry_run: bool,
    /// Managed domains as the operator gave them; none: those of the registrations that were seen.
    pub domains: Vec<String>,
    /// How to ask.
    pub way: WayWanted,
    /// When a wish is fulfilled.
    pub until: Until,
    /// Seconds that a wish lasts, where the INVITE's Expires says nothing, or less than [`Self::min_watch_s`].
    pub watch_s: u32,
    /// An INVITE's Expires below this many seconds is a limit for ringing, not for the wish.
    pub min_watch_s: u32,
    /// An INVITE's Expires counts as no more than this many seconds.
    pub max_watch_s: u32,
    /// A busy callee (486, 600) is waited for as one that is not registered is.
    pub busy: bool,
    /// So many seconds after a busy callee has become idle, the caller is asked.
    pub after_busy_s: u32,
    /// So many seconds pass between the callers of one callee.
    pub spacing_s: u32,
    /// One caller is asked at most so often in an hour.
    pub per_caller_per_h: u32,
    /// All callers together are asked at most so often in a minute.
    pub per_minute: u32,
    /// Callers that may be asked, as patterns of their AOR; none: all.
    pub allow: Vec<String>,
    /// Callers and callees that have no part in it, as patterns of their AOR.
    pub deny: Vec<String>,
    /// Patterns of a dialled URI by which a caller takes back all its wishes.
    pub cancel_codes: Vec<String>,
    /// Seconds between two probes of a callee that is waited for; 0: it is not probed.
    pub probe_s: u32,
    /// Wishes that are kept at once; the oldest makes room.
    pub most_wishes: usize,
}

impl Default for RedialOptions {
    fn default() -> Self {
        Self {
            dry_run: false,
            domains: Vec::new(),
            way: WayWanted::default(),
            until: Until::default(),
            watch_s: 3_600,
            min_watch_s: 600,
            max_watch_s: 86_400,
            busy: true,
            after_busy_s: 2,
            spacing_s: 10,
            per_caller_per_h: 20,
            per_minute: 60,
            allow: Vec::new(),
            deny: Vec::new(),
            cancel_codes: Vec::new(),
            probe_s: 0,
            most_wishes: 10_000,
        }
    }
}
