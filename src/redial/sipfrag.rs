//! What a NOTIFY says of the call that a REFER asked for.
//! In: a NOTIFY. Out: the status it tells, whether it is the last. Knows nothing of dialogs, wishes.
//! RFC 3515 section 2.4, RFC 3420, RFC 6665 section 4.1.3.

use crate::sip::SipMessage;

/// What is told of a call that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CallTold {
    /// The status of the `message/sipfrag`, if it has one.
    pub(super) status: Option<u16>,
    /// Nothing more follows: the subscription is over, or the status is a final one.
    pub(super) last: bool,
}

/// Reads a NOTIFY. A body of any type is looked at: some phones forget to say which it is.
pub(super) fn read(notify: &SipMessage<'_>) -> CallTold {
    let status = status_line(notify.body());
    let terminated =
        notify.subscription_state().is_some_and(|(state, _)| state.eq_ignore_ascii_case(b"terminated"));
    CallTold { status, last: terminated || status.is_some_and(|status| status >= 200) }
}

/// A NOTIFY of another event package than `refer` tells nothing of a REFER; one that names none is believed.
pub(super) fn is_of_refer(notify: &SipMessage<'_>) -> bool {
    notify.event().is_none_or(|event| event.eq_ignore_ascii_case(b"refer"))
}

/// The status in `SIP/2.0 180 Ringing`, the first line.
fn status_line(body: &[u8]) -> Option<u16> {
    let body = body.trim_ascii_start();
    let (version, rest) = body.split_at_checked(b"SIP/2.0 ".len())?;
    let (digits, after) = rest.split_at_checked(3)?;
    let ends = after.first().is_none_or(|byte| byte.is_ascii_whitespace());
    if !version.eq_ignore_ascii_case(b"SIP/2.0 ") || !ends || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let status = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (100..=699).contains(&status).then_some(status)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Limits;
    use crate::sip::Scanner;

    #[test]
    fn a_status_line_is_one_only_as_a_whole() {
        for (body, status) in [
            ("SIP/2.0 100 Trying", Some(100)),
            ("SIP/2.0 200 OK\r\n", Some(200)),
            ("SIP/2.0 603\r\nFrom: <sip:bob@example.com>\r\n", Some(603)),
            ("\r\nsip/2.0 180 Ringing", Some(180)),
            ("SIP/2.0 486", Some(486)),
            ("SIP/2.0 4860 x", None),
            ("SIP/2.0 099 x", None),
            ("SIP/2.0 700 x", None),
            ("SIP/2.0 2+0 x", None),
            ("SIP/1.0 200 OK", None),
            ("SIP/2.0 20", None),
            ("", None),
        ] {
            assert_eq!(status_line(body.as_bytes()), status, "{body}");
        }
    }

    #[test]
    fn a_final_status_or_the_end_of_the_subscription_is_the_last() {
        for (state, body, status, last) in [
            ("active;expires=60", "SIP/2.0 100 Trying", Some(100), false),
            ("active", "SIP/2.0 486 Busy Here", Some(486), true),
            ("Terminated;reason=noresource", "SIP/2.0 100 Trying", Some(100), true),
            ("terminated", "", None, true),
            ("pending", "", None, false),
        ] {
            let text = format!(
                "NOTIFY sip:o@192.0.2.5 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.7;branch=z9hG4bKb\r\n\
                 From: <sip:alice@example.com>;tag=a\r\nTo: <sip:o@example.com>;tag=o\r\nCall-ID: call\r\n\
                 CSeq: 1 NOTIFY\r\nEvent: refer;id=2\r\nSubscription-State: {state}\r\n\r\n{body}"
            );
            let mut scanner = Scanner::new(&Limits::default());
            let notify = scanner.scan(text.as_bytes()).unwrap();
            assert_eq!(read(&notify), CallTold { status, last }, "{state} {body}");
            assert!(is_of_refer(&notify));
        }
    }
}
