//! Random statuses, with everything in their texts that could break a document.

use std::collections::HashSet;
use std::sync::Arc;

use offhook::base::Timestamp;
use offhook::presence::dialog_info::DialogInfoOptions;
use offhook::presence::pidf::Facet;
use offhook::presence::{BindingView, DialogView, PresentityState, Session, Terminal};
use offhook::sip::Aor;
use offhook::track::{Confidence, DialogState, EndId, Media, Side};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

const NASTY: [&str; 24] = [
    "<", ">", "&", "\"", "'", "]]>", "<!--", "-->", "<?", "&amp;", "&#0;", "%", "%zz", "%41", "#", " ", "\t",
    "\r\n", "\u{0}", "\u{b}", "\u{85}", "\u{fffe}", "\u{feff}", "é",
];

pub fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(&NASTY[..]).prop_map(str::to_owned),
        "[a-z0-9@.:;=-]{0,8}",
        any::<char>().prop_map(String::from),
    ];
    vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn shared() -> impl Strategy<Value = Arc<str>> {
    text().prop_map(Arc::from)
}

/// Contacts and other parties are URIs to whoever reads SIP: there is a scheme and something behind it.
fn uri() -> impl Strategy<Value = Arc<str>> {
    text().prop_map(|text| Arc::from(format!("sip:alice@192.0.2.1{text}")))
}

pub fn aor() -> impl Strategy<Value = Aor> {
    text().prop_map(|user| {
        let strange = Aor::from_uri(format!("sip:{user}@example.com").as_bytes());
        strange.unwrap_or_else(|| Aor::from_uri(b"sip:alice@example.com").unwrap())
    })
}

fn media() -> impl Strategy<Value = Media> {
    (shared(), option::of(shared()), any::<Option<u32>>(), any::<Option<u32>>())
        .prop_map(|(kind, codec, clock_rate_hz, bit_rate)| Media { kind, codec, clock_rate_hz, bit_rate })
}

fn dialog() -> impl Strategy<Value = DialogView> {
    let names = (shared(), option::of(shared()), option::of(shared()), option::of(uri()));
    let state = prop::sample::select(vec![
        DialogState::Trying,
        DialogState::Early,
        DialogState::Confirmed,
        DialogState::Terminated,
    ]);
    let side = prop::sample::select(vec![Side::Caller, Side::Called]);
    (names, state, side, any::<bool>(), 0..3_u32).prop_map(
        |((call_id, local_tag, remote_tag, remote), state, side, held, revoked_ends)| DialogView {
            end: EndId(1),
            call_id,
            local_tag,
            remote_tag,
            revoked_ends,
            side,
            state,
            held,
            remote,
        },
    )
}

pub fn dialogs() -> impl Strategy<Value = Vec<DialogView>> {
    // Some twice: whoever calls himself has both ends.
    (vec(dialog(), 0..6), any::<bool>()).prop_map(|(mut dialogs, twice)| {
        if let Some(first) = dialogs.first().cloned().filter(|_| twice) {
            dialogs.push(DialogView { local_tag: first.remote_tag, remote_tag: first.local_tag, ..first });
        }
        dialogs
    })
}

fn bindings() -> impl Strategy<Value = Vec<BindingView>> {
    vec((uri(), option::of(shared())), 0..4).prop_map(|bindings| {
        // The registrar's table has a contact once.
        let mut seen = HashSet::new();
        bindings
            .into_iter()
            .filter(|(contact, _)| seen.insert(Arc::clone(contact)))
            .map(|(contact, user_agent)| BindingView { contact, user_agent, expires_at: Timestamp::MAX })
            .collect()
    })
}

fn terminal() -> impl Strategy<Value = Terminal> {
    prop::sample::select(vec![
        Terminal::Unknown,
        Terminal::Online,
        Terminal::OfflineWaiting,
        Terminal::Offline,
    ])
}

pub fn state() -> impl Strategy<Value = PresentityState> {
    let session = prop::sample::select(vec![
        Session::Idle,
        Session::Calling,
        Session::Ringing,
        Session::Held,
        Session::Talking,
    ]);
    let confidence = prop::sample::select(vec![Confidence::Full, Confidence::Weak, Confidence::Degraded]);
    let status = (terminal(), terminal(), session, any::<bool>(), confidence);
    let texts = (option::of(shared()), option::of(shared()), vec(media(), 0..3));
    (status, texts, bindings(), dialogs()).prop_map(
        |(
            (terminal, registered, session, watching, confidence),
            (user_agent, session_type, media),
            bindings,
            dialogs,
        )| {
            PresentityState {
                terminal,
                registered,
                session,
                watching,
                confidence,
                publishable: true,
                contact: None,
                user_agent,
                peer: None,
                session_type,
                media: media.into(),
                bindings,
                dialogs,
            }
        },
    )
}

pub fn facet() -> impl Strategy<Value = Facet> {
    prop::sample::select(vec![Facet::Combined, Facet::Terminal, Facet::Session])
}

pub fn moment() -> impl Strategy<Value = Option<Timestamp>> {
    // To the year 2554, which is as far as nanoseconds go.
    option::of(any::<u64>().prop_map(Timestamp::from_nanos))
}

pub fn options() -> impl Strategy<Value = DialogInfoOptions> {
    (any::<bool>(), any::<bool>(), 0_usize..8).prop_map(
        |(placeholder, remote_identity, dialogs_per_document)| DialogInfoOptions {
            placeholder,
            remote_identity,
            dialogs_per_document,
        },
    )
}
