//! The choices that an operator makes about what counts as what.
//! In: the configuration. Out: plain data for the machines. Knows nothing of files.

/// When a session begins to be talking (SPEC section 5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TalkingOn {
    /// At the 2xx; at the ACK where the 2xx carries the first offer.
    #[default]
    Auto,
    /// At the 2xx to INVITE.
    Response,
    /// At the ACK to the 2xx.
    Ack,
}

/// When a session is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EndedOn {
    /// At the BYE.
    #[default]
    Bye,
    /// At the final response to the BYE.
    Response,
}

/// What a registrar lists in its 2xx to REGISTER.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RegistrarLists {
    /// All bindings of the address of record (RFC 3261 section 10.3): what it does not list is gone.
    #[default]
    All,
    /// Only what was asked for, whatever else there is.
    Own,
}

/// What counts as what.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// When talking begins.
    pub talking_on: TalkingOn,
    /// When talking ends.
    pub ended_on: EndedOn,
    /// Managed domains: names, IP addresses, or `any`. Empty: those seen in successful registrations, and
    /// the ends of other domains are shown as weak.
    pub domains: Vec<String>,
    /// Seconds that an AOR without bindings still counts as online.
    pub grace_s: u32,
    /// What registrars list.
    pub registrar_lists: RegistrarLists,
    /// Patterns of the dialled URI (`*` stands for any run of characters) and the session type each gives; the first match counts.
    pub session_types: Vec<(String, String)>,
    /// Telephone numbers, or what they begin with and `*`, and the AOR that is meant (`*` is the rest); the first
    /// match counts.
    pub numbers: Vec<(String, String)>,
    /// Seconds after which a dialog without a sign of life is no longer believed.
    pub dialog_cap_s: u32,
    /// Seconds without a packet of its media after which a dialog whose media passed before is no longer believed; 0: media
    /// say nothing.
    pub media_silence_s: u32,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            talking_on: TalkingOn::Auto,
            ended_on: EndedOn::Bye,
            domains: Vec::new(),
            grace_s: 0,
            registrar_lists: RegistrarLists::All,
            session_types: Vec::new(),
            numbers: Vec::new(),
            dialog_cap_s: 4 * 3_600,
            media_silence_s: 60,
        }
    }
}
