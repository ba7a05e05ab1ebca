//! Methods.
//! In: the method's text. Out: `Method`. Knows nothing of messages.

/// A SIP method. Methods are case-sensitive (RFC 3261 section 7.1): `invite` is [`Method::Other`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Method {
    /// RFC 3261 section 13.
    Invite,
    /// RFC 3261 section 13.
    Ack,
    /// RFC 3261 section 15.
    Bye,
    /// RFC 3261 section 9.
    Cancel,
    /// RFC 3261 section 10.
    Register,
    /// RFC 3261 section 11.
    Options,
    /// RFC 3262.
    Prack,
    /// RFC 3311.
    Update,
    /// RFC 6086.
    Info,
    /// RFC 3515.
    Refer,
    /// RFC 6665.
    Notify,
    /// RFC 6665.
    Subscribe,
    /// RFC 3903.
    Publish,
    /// RFC 3428.
    Message,
    /// Any other; the message keeps its text.
    Other,
}

impl Method {
    /// The method that this text names.
    pub fn of(text: &[u8]) -> Self {
        match text {
            b"INVITE" => Self::Invite,
            b"ACK" => Self::Ack,
            b"BYE" => Self::Bye,
            b"CANCEL" => Self::Cancel,
            b"REGISTER" => Self::Register,
            b"OPTIONS" => Self::Options,
            b"PRACK" => Self::Prack,
            b"UPDATE" => Self::Update,
            b"INFO" => Self::Info,
            b"REFER" => Self::Refer,
            b"NOTIFY" => Self::Notify,
            b"SUBSCRIBE" => Self::Subscribe,
            b"PUBLISH" => Self::Publish,
            b"MESSAGE" => Self::Message,
            _ => Self::Other,
        }
    }

    /// The method as it is written in a message; `OTHER` for those that have no name here.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Invite => "INVITE",
            Self::Ack => "ACK",
            Self::Bye => "BYE",
            Self::Cancel => "CANCEL",
            Self::Register => "REGISTER",
            Self::Options => "OPTIONS",
            Self::Prack => "PRACK",
            Self::Update => "UPDATE",
            Self::Info => "INFO",
            Self::Refer => "REFER",
            Self::Notify => "NOTIFY",
            Self::Subscribe => "SUBSCRIBE",
            Self::Publish => "PUBLISH",
            Self::Message => "MESSAGE",
            Self::Other => "OTHER",
        }
    }
}
