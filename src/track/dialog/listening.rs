//! Whether the media of a dialog pass, and what that says of it.
//! In: descriptions that both sides agree on, moments. Out: changes of a `Call`. Knows nothing of packets.
//! RFC 3264; silence as an inferred end: SPEC section 5.

use std::net::SocketAddr;

use super::super::heard::Heard;
use super::super::{EndReason, Rule};
use super::Context;
use super::call::{Call, Dialog, Ending, Progress};
use super::media::Description;
use super::media_places::{MediaAddress, MediaPlaces, Return, Silence};
use crate::base::FrameId;
use crate::sip::Sdp;

/// Looked again so soon whether media still pass that alone show that a session goes on.
const LOOK_AGAIN_S: u32 = 10;

/// Where the sender of a description takes media.
fn addresses(sdp: &Sdp) -> impl Iterator<Item = MediaAddress> {
    sdp.media.iter().filter(|line| line.port != 0 && !line.connection_is_zero).filter_map(|line| {
        let ip = line.address?;
        Some(MediaAddress::new(SocketAddr::new(ip, line.port)))
    })
}

/// Somebody calls: media of a call before may not come back to where this one wants its own.
pub(super) fn claim(offer: &Description, places: &mut MediaPlaces) {
    if let Description::Present(sdp) = offer {
        addresses(sdp).for_each(|address| places.claim(address));
    }
}

impl Dialog {
    /// Both sides agree on where their media go from now on.
    pub(super) fn agree(
        &mut self,
        offer: &Sdp,
        answer: &Sdp,
        heard: &Heard<'_, '_>,
        context: &mut Context<'_>,
    ) {
        self.described = heard.texts.mark(heard.message.sdp().unwrap_or_default());
        let both = || addresses(offer).chain(addresses(answer));
        self.watch(heard.frame, context, both);
        self.media.replace(both(), context.now);
    }

    /// Only one of the two descriptions was seen: their media may go another way from now on.
    pub(super) fn agree_by_half(&mut self, seen: &Sdp, frame: FrameId, context: &mut Context<'_>) {
        self.watch(frame, context, || addresses(seen));
        self.media.add(addresses(seen), context.now);
        self.media.begin(context.now);
    }

    /// Another sight of a description that was agreed on already: a server may have passed it on with an address of its own.
    pub(super) fn agree_on_hop(&mut self, heard: &Heard<'_, '_>, context: &mut Context<'_>) {
        let Some(body) = heard.message.sdp() else { return };
        let described = heard.texts.mark(body);
        if std::mem::replace(&mut self.described, described) != described
            && let Some(sdp) = Description::of(heard).sdp()
        {
            self.watch(heard.frame, context, || addresses(&sdp));
            self.media.add(addresses(&sdp), context.now);
        }
    }

    fn watch<A: Iterator<Item = MediaAddress>>(
        &mut self,
        frame: FrameId,
        context: &mut Context<'_>,
        addresses: impl Fn() -> A,
    ) {
        if context.places.are_wanted() {
            addresses().for_each(|address| context.places.agree(address, context.now));
            self.media.agree(context.now);
            self.look_for_silence(frame, context);
        }
    }

    fn look_for_silence(&mut self, frame: FrameId, context: &Context<'_>) {
        self.silent_at = context.places.first_due(self.media.agreed_at()).map(|due| (due, frame));
    }

    /// It shows life. If its media have not passed lately, though nobody holds it, they go another way, or nobody speaks: that they
    /// do not says nothing then.
    pub(super) fn goes_on(&mut self, context: &Context<'_>) {
        let had_time = self.media.agreed_at().after_s(LOOK_AGAIN_S) < context.now;
        if had_time && !self.held && !context.places.pass(&self.media, context.now) {
            self.media.begin(context.now);
        }
        self.media.agree(context.now);
    }

    /// It goes on after all.
    pub(super) fn listen_again(&mut self, frame: FrameId, context: &mut Context<'_>) {
        context.places.await_no_more(&self.media);
        self.media.agree(context.now);
        self.look_for_silence(frame, context);
    }
}

impl Call {
    /// What ends a dialog that shows no sign of life waits while its media pass.
    pub(super) fn let_media_speak(&mut self, at: usize, context: &Context<'_>) {
        let Some(dialog) = self.dialogs.get_mut(at) else { return };
        let is_due = |&(at, _): &(_, FrameId)| at <= context.now;
        let (session, cap) = (dialog.session_ends_at.filter(is_due), dialog.cap_at.filter(is_due));
        if (session.or(cap)).is_none() || !context.places.pass(&dialog.media, context.now) {
            return;
        }
        if let Some((_, frame)) = session {
            dialog.session_ends_at = Some((context.now.after_s(LOOK_AGAIN_S), frame));
        }
        if let Some((_, frame)) = cap {
            dialog.cap_at = Some((context.now.after_s(context.rules.dialog_cap_s), frame));
        }
    }

    /// Whether the media of a dialog pass still.
    pub(super) fn listen_for_media(&mut self, at: usize, armed_by: FrameId, context: &mut Context<'_>) {
        let Some(dialog) = self.dialogs.get_mut(at) else { return };
        let now = context.now;
        match context.places.silence(&dialog.media, now) {
            Silence::Elsewhere => dialog.silent_at = None,
            Silence::NotBefore(due) => dialog.silent_at = Some((due, armed_by)),
            // On hold nobody need send anything.
            Silence::Since(_) if dialog.held => {
                dialog.silent_at = context.places.first_due(now).map(|due| (due, armed_by));
            }
            Silence::Since(last) => {
                context.places.await_return(&dialog.media, context.this);
                self.end_dialog(at, Ending::new(EndReason::MediaSilent, Rule::MediaSilent, last), context);
            }
        }
    }

    /// Media of a call pass again that was held to be over because they did not.
    pub(super) fn media_came_back(&mut self, back: &Return, context: &mut Context<'_>) {
        let ends_in = |dialog: &Dialog| back.ends.iter().filter(|&&end| dialog.media.contains(end)).count();
        let silent = self.dialogs.iter().enumerate().filter(|(_, dialog)| {
            dialog.progress == Progress::Ended(EndReason::MediaSilent) && ends_in(dialog) > 0
        });
        if let Some((at, _)) = silent.max_by_key(|(_, dialog)| ends_in(dialog)) {
            self.revive(at, Rule::MediaHeard, context.frame, context);
        }
    }
}
