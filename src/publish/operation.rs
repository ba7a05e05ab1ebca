//! What is asked of a presence server for one publication, and what it answers.
//! In: nothing. Out: vocabulary. Knows nothing of publications' states, messages.
//! RFC 3903 section 4.1; the operations' names from its table 1.

/// What a request does with a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Body, no entity-tag.
    Initial,
    /// Entity-tag, no body. A REGISTER carries the body all the same.
    Refresh,
    /// Body and entity-tag.
    Modify,
    /// Entity-tag and Expires 0.
    Remove,
}

impl Operation {
    /// The word in JSON lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Refresh => "refresh",
            Self::Modify => "modify",
            Self::Remove => "remove",
        }
    }
}

/// A request that is due.
#[derive(Clone, Debug)]
pub(crate) struct Due {
    pub(crate) operation: Operation,
    pub(crate) entity_tag: Option<String>,
    pub(crate) expires_s: u32,
    pub(crate) body: Vec<u8>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer<'a> {
    /// A final response, other than a challenge that can be answered.
    Response {
        status: u16,
        entity_tag: Option<&'a str>,
        expires_s: Option<u32>,
        min_expires_s: Option<u32>,
        retry_after_s: Option<u32>,
    },
    /// None came, or the request could not be delivered.
    Silence,
}

impl Answer<'static> {
    /// A response of this status that says no more.
    pub(crate) const fn refusal(status: u16) -> Self {
        Self::Response { status, entity_tag: None, expires_s: None, min_expires_s: None, retry_after_s: None }
    }
}

/// What an answer meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Acknowledged {
        expires_s: u32,
    },
    Failed,
    /// Failed: this server does not know what another one stored.
    NotShared,
    /// 423: the same again, with a longer time.
    Again,
}
