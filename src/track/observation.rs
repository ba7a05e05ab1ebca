//! What the tracker found out: facts about one binding, one dialog end or one subscription.
//! In: what the machines of this room saw. Out: `Observation`, owned and small. Knows nothing of presence.
//! This is where borrowing ends and where the work could be spread over machines.

use std::net::IpAddr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::base::{Address, Flow, FrameId, Timestamp};
use crate::sip::Aor;

macro_rules! names {
    ($(#[doc = $type_doc:literal])+ $type:ident { $($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+ }) => {
        $(#[doc = $type_doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $type { $($(#[doc = $doc])+ $variant,)+ }

        impl $type {
            /// All of them, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name in JSON lines.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

names! {
    /// Why something is believed.
    Rule {
        /// A 2xx to REGISTER lists the binding.
        Register200 = "register-200",
        /// A REGISTER whose answer was not seen, though its registrar went on speaking.
        RegisterPresumed = "register-presumed",
        /// A call to the contact that a REGISTER had asked for: it was accepted, though that was not seen.
        RegisterProved = "register-proved",
        /// A REGISTER that was believed was refused, or repeated, after all.
        RegisterDisproved = "register-disproved",
        /// A 2xx to a REGISTER that took the binding back (Expires 0 or `*`).
        Unregister200 = "unregister-200",
        /// A 2xx to REGISTER from the same registrar no longer lists the binding.
        RegisterMissing = "register-missing",
        /// The granted time ran out.
        RegisterExpired = "register-expired",
        /// An INVITE left.
        Invite = "invite",
        /// The called phone said 180.
        Invite180 = "invite-180",
        /// The other leg of a call through a back-to-back user agent showed it, where the mirror loses messages: the caller
        /// heard ringing, or a BYE ended that leg.
        OtherLeg = "other-leg",
        /// A 2xx to INVITE.
        Invite200 = "invite-200",
        /// The ACK to the 2xx.
        Ack = "ack",
        /// The 2xx carried the first offer, no ACK was seen, and the 2xx came but once in 4 s.
        AckPresumed = "ack-presumed",
        /// An ACK that only a 2xx can have brought about; the 2xx itself was not seen.
        AckWithout200 = "ack-without-200",
        /// A final response other than 2xx to INVITE.
        InviteFailed = "invite-failed",
        /// An ACK that only a final response other than 2xx can have brought about.
        AckWithoutFinal = "ack-without-final",
        /// 401, 407, 422 or 3xx, and no new INVITE within 4 s.
        NotRetried = "not-retried",
        /// A CANCEL, its 200, or the 487.
        Cancel = "cancel",
        /// A BYE.
        Bye = "bye",
        /// The final response to a BYE.
        Bye200 = "bye-200",
        /// No final response to a BYE for 64·T1.
        ByeTimeout = "bye-timeout",
        /// A 2xx accepted a session description that holds.
        Hold = "hold",
        /// A 2xx accepted a session description that no longer holds.
        Resume = "resume",
        /// A request inside a dialog was answered 2xx: the dialog is up, though its beginning was not seen, or
        /// carries other media from now on.
        InDialog200 = "in-dialog-200",
        /// A fork that lost: 64·T1 after another one's 2xx, or after the caller's final response.
        ForkLost = "fork-lost",
        /// No response to an INVITE for 64·T1, or none after a 1xx until the INVITE's Expires, else for 3 min.
        NoResponse = "no-response",
        /// The 2xx was repeated for 64·T1 and no ACK came.
        NoAck = "no-ack",
        /// 481 or 408 to a request inside the dialog.
        DialogGone = "dialog-gone",
        /// The session timer ran out (RFC 4028).
        SessionExpired = "session-expired",
        /// No packet of the call's media passes any more, either way, while the capture sees.
        MediaSilent = "media-silent",
        /// The media of a call flow again that was held to be over because they had ceased.
        MediaHeard = "media-heard",
        /// The other copy of the call, on another hop, ended.
        CopyEnded = "copy-ended",
        /// The dialog reached the longest time that one is believed.
        DialogCap = "dialog-cap",
        /// A table was full and the dialog or binding had to go.
        Evicted = "evicted",
        /// A 2xx to SUBSCRIBE.
        Subscribe200 = "subscribe-200",
        /// A 2xx to a SUBSCRIBE with Expires 0, or a NOTIFY that says terminated.
        Unsubscribed = "unsubscribed",
        /// The subscription's time ran out.
        SubscriptionExpired = "subscription-expired",
        /// A registration showed whose dialog it is.
        Attributed = "attributed",
        /// `registration.grace_s` passed without a new registration.
        GraceOver = "grace-over",
    }
}

impl Rule {
    /// It is a conclusion from what did not come within a time: that may have come unseen.
    pub const fn rests_on_silence(self) -> bool {
        matches!(
            self,
            Self::RegisterPresumed
                | Self::RegisterExpired
                | Self::AckPresumed
                | Self::AckWithoutFinal
                | Self::NotRetried
                | Self::ByeTimeout
                | Self::ForkLost
                | Self::NoResponse
                | Self::NoAck
                | Self::SessionExpired
                | Self::MediaSilent
                | Self::CopyEnded
                | Self::DialogCap
                | Self::SubscriptionExpired
                | Self::GraceOver
        )
    }
}

names! {
    /// How a dialog end ended.
    EndReason {
        /// A BYE.
        Bye = "bye",
        /// A BYE that was never answered, where `ended_on = "200"`.
        ByeTimeout = "bye_timeout",
        /// Cancelled.
        Cancelled = "cancelled",
        /// A final response other than 2xx.
        Rejected = "rejected",
        /// 401, 407, 422 or 3xx that was not followed by a new INVITE.
        NotRetried = "not_retried",
        /// Another fork won.
        ForkLost = "fork_lost",
        /// No response.
        NoResponse = "no_response",
        /// No ACK.
        NoAck = "no_ack",
        /// 481 or 408.
        DialogGone = "dialog_gone",
        /// The session timer.
        SessionExpired = "session_expired",
        /// Its media ceased.
        MediaSilent = "media_silent",
        /// The copy of the call on another hop ended.
        CopyEnded = "copy_ended",
        /// The longest time that a dialog is believed.
        DialogCap = "dialog_cap",
        /// A table was full.
        Evicted = "evicted",
    }
}

impl EndReason {
    /// Nobody said so: it was worked out, and a later sign of life revokes it.
    pub const fn is_inferred(self) -> bool {
        !matches!(self, Self::Bye | Self::Cancelled | Self::Rejected)
    }
}

/// Why something is believed: which message, by which rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The rule.
    pub rule: Rule,
    /// The frame that completed the message; for a timer, of the message that armed it.
    pub frame: FrameId,
    /// The message's Call-ID.
    pub call_id: Arc<str>,
}

/// How far something is to be believed; the greater, the less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// Seen.
    #[default]
    Full,
    /// Believed on partial evidence: half a transaction, an inferred end, an unmanaged domain.
    Weak,
    /// The capture began in the middle, or was blind: what began before it, or ended meanwhile, was not seen.
    Degraded,
}

impl Confidence {
    /// The word in JSON lines.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Weak => "weak",
            Self::Degraded => "degraded",
        }
    }

    /// Whose word it is.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Full, Self::Weak, Self::Degraded].into_iter().find(|known| known.name() == name)
    }
}

/// A fact, when it was found, and why it is believed.
#[derive(Clone, Debug)]
pub struct Observation {
    /// Counts the observations of one tracker, from 1: the same number is the same observation.
    pub sequence: u64,
    /// When it became true.
    pub at: Timestamp,
    /// Why it is believed.
    pub evidence: Evidence,
    /// What was found.
    pub fact: Fact,
}

/// What an [`Observation`] is about.
#[derive(Clone, Debug)]
pub enum Fact {
    /// A binding came, was refreshed or went.
    Binding(BindingFact),
    /// A dialog end changed.
    Dialog(DialogFact),
    /// A subscription to the `presence` package began, was refreshed or ended.
    Subscription(Arc<SubscriptionFact>),
    /// This address serves others: it answers REGISTER, or forwards requests.
    Server(IpAddr),
    /// This domain has a registrar: a REGISTER for it was seen.
    Domain(Arc<str>),
}

/// A digest username and its realm, as used in an accepted request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AuthUser {
    /// The username.
    pub user: Arc<str>,
    /// The realm.
    pub realm: Arc<str>,
}

/// Stands for an address of record with bindings: counted from 0, so that it can be a place in a table. When all the
/// bindings are gone, another address of record may get it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistrationId(pub u32);

/// A binding (RFC 3261 section 10): kept once, shared by all rooms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Tells bindings of one tracker apart: a contact that goes and comes back is another binding.
    pub id: u64,
    /// The address of record.
    pub aor: Aor,
    /// What stands for it.
    pub registration: RegistrationId,
    /// The contact's URI, as the registrar's answer has it.
    pub contact: Arc<str>,
    /// Where the phone's REGISTER came from, if it was seen.
    pub flow: Option<Flow>,
    /// Who granted it.
    pub registrar: Address,
    /// The contact on other hops of the same REGISTER.
    pub aliases: Vec<Arc<str>>,
    /// Who the phone said it was, in the accepted request.
    pub auth: Option<AuthUser>,
    /// The phone's User-Agent.
    pub user_agent: Option<Arc<str>>,
}

/// A binding and what happened to it.
#[derive(Clone, Debug)]
pub struct BindingFact {
    /// Which.
    pub binding: Arc<Binding>,
    /// Half a transaction was all there was.
    pub confidence: Confidence,
    /// What happened.
    pub event: BindingEvent,
}

/// What happened to a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingEvent {
    /// It is there until then.
    Registered {
        /// When the granted time ends.
        expires_at: Timestamp,
    },
    /// It is gone; the evidence's rule says how.
    Removed,
}

/// A dialog's state, named as in RFC 4235 section 3.7.1, whose "proceeding" counts as trying here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DialogState {
    /// An INVITE, neither alerting nor answered.
    Trying,
    /// The called phone said 180.
    Early,
    /// A 2xx.
    Confirmed,
    /// Over.
    Terminated,
}

impl DialogState {
    /// The word in documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trying => "trying",
            Self::Early => "early",
            Self::Confirmed => "confirmed",
            Self::Terminated => "terminated",
        }
    }

    /// Whose word it is.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Trying, Self::Early, Self::Confirmed, Self::Terminated]
            .into_iter()
            .find(|known| known.name() == name)
    }
}

/// Which end of a dialog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Who sent the INVITE.
    Caller,
    /// Who received it.
    Called,
}

/// One end of one dialog, known to one tracker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndId(pub u64);

/// One kind of media in a session (RFC 8866 section 5.14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    /// `audio`, `video`, `image`, …
    pub kind: Arc<str>,
    /// The encoding name of the first format.
    pub codec: Option<Arc<str>>,
    /// RTP clock rate in Hz.
    pub clock_rate_hz: Option<u32>,
    /// Bits per second, where the format fixes it or the description says it.
    pub bit_rate: Option<u32>,
}

/// A dialog end as it now is.
#[derive(Clone, Debug)]
pub struct DialogFact {
    /// Which end.
    pub end: EndId,
    /// What seldom changes of it.
    pub about: Arc<EndDescription>,
    /// Caller or called.
    pub side: Side,
    /// How many ends with this Call-ID and these tags went before: their ends were inferred, and revoked.
    pub revoked_ends: u32,
    /// State after RFC 4235.
    pub state: DialogState,
    /// What this end's phone does: it alerts, it speaks. See [`Engagement`].
    pub engagement: Engagement,
    /// When the 2xx came.
    pub confirmed_at: Option<Timestamp>,
    /// How it ended.
    pub ended: Option<EndReason>,
    /// Of a calling end that no 2xx answered: the final response that it heard, once that was seen.
    pub final_status: Option<u16>,
    /// The beginning of the dialog, or its end, was seen, not only something in between.
    pub whole: bool,
    /// Half the evidence was all there was.
    pub confidence: Confidence,
}

/// What seldom changes of a dialog end: shared by all who know the end.
#[derive(Clone, Debug, Default)]
pub struct EndDescription {
    /// Its dialog's Call-ID.
    pub call_id: Arc<str>,
    /// This end's tag.
    pub local_tag: Option<Arc<str>>,
    /// The other end's tag.
    pub remote_tag: Option<Arc<str>>,
    /// What the session carries.
    pub media: Arc<[Media]>,
    /// Whom this end dialled or was called by.
    pub peer: Option<Arc<str>>,
    /// The Request-URI that the caller dialled, canonical: session types are told by it.
    pub dialled: Option<Arc<str>>,
    /// Of a calling end: the Expires of its INVITE, in seconds (RFC 3261 section 20.19).
    pub expires_s: Option<u32>,
    /// Who this end may be.
    pub identity: EndIdentity,
}

impl Deref for DialogFact {
    type Target = EndDescription;

    fn deref(&self) -> &EndDescription {
        &self.about
    }
}

/// Who changes it has his own copy from then on.
impl DerefMut for DialogFact {
    fn deref_mut(&mut self) -> &mut EndDescription {
        Arc::make_mut(&mut self.about)
    }
}

/// What an end is doing; the most engaged of a presentity's ends is its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Engagement {
    /// Nothing that a person would notice.
    None,
    /// It called.
    Calling,
    /// It rings.
    Ringing,
    /// In a session that both ends hold.
    Held,
    /// In a session.
    Talking,
}

/// All that tells whose end it is (identity/ decides).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndIdentity {
    /// The phone's own address on the hop nearest to it.
    pub flow: Option<Flow>,
    /// The other address of that hop.
    pub neighbour: Option<Address>,
    /// The end's Contact.
    pub contact: Option<Arc<str>>,
    /// The Request-URI on the hop nearest to a called end.
    pub request_uri: Option<Arc<str>>,
    /// Digest user of the end's own request.
    pub auth: Option<AuthUser>,
    /// P-Asserted-Identity, or the From of its own request: what the end says of itself.
    pub claimed: SmallVec<[Aor; 1]>,
    /// The To of a called end: who was called, not who answered.
    pub called: Option<Aor>,
    /// A 101–2xx to its INVITE, or a 2xx in its dialog, was seen.
    pub answered: bool,
}

/// A subscription to `Event: presence`.
#[derive(Clone, Debug)]
pub struct SubscriptionFact {
    /// Which subscription: its end at the subscriber.
    pub end: EndId,
    /// Until when; `None` when it is over.
    pub expires_at: Option<Timestamp>,
    /// Who the subscriber may be.
    pub identity: EndIdentity,
}

impl Binding {
    /// The IP address that the contact names, if it names one.
    pub fn contact_ip(&self) -> Option<IpAddr> {
        crate::sip::Uri::parse(self.contact.as_bytes())?.address().map(|address| address.ip())
    }
}
