//! One message in words that do not depend on who read it.
//! In: what our scanner read, or what `rsip` read. Out: field name → value. Knows nothing of expectations.
#![allow(dead_code, missing_docs)]

use std::collections::BTreeMap;

use offhook::sip::{Scheme, SipMessage, Uri};
use rsip::prelude::*;

use super::text;

/// Field → value, as far as somebody could read it. What is absent in the message is `-`.
pub type Reading = BTreeMap<&'static str, String>;

const ABSENT: &str = "-";

fn or_absent(value: Option<String>) -> String {
    value.unwrap_or_else(|| ABSENT.to_owned())
}

/// Host in lower case, an IPv6 address without brackets and in its shortest form.
pub fn host(written: &str) -> String {
    let bare = written.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<std::net::IpAddr>() {
        Ok(address) => address.to_string(),
        Err(_) => bare.to_ascii_lowercase(),
    }
}

/// The parts of a URI that both can read: scheme, user, host, port and parameters (rsip drops headers).
pub fn uri(written: &[u8]) -> String {
    let Some(uri) = Uri::parse(written).filter(|uri| matches!(uri.scheme, Scheme::Sip | Scheme::Sips)) else {
        return text(written);
    };
    let params: Vec<_> =
        uri.params.iter().map(|(name, value)| param(&text(name), value.map(text).as_deref())).collect();
    uri_parts(
        if uri.scheme == Scheme::Sips { "sips" } else { "sip" },
        uri.user.map(text).as_deref(),
        uri.password.map(text).as_deref(),
        &text(uri.host),
        uri.port,
        &params,
    )
}

fn param(name: &str, value: Option<&str>) -> String {
    let name = name.to_ascii_lowercase();
    match value {
        // Compared without case (RFC 3261 section 19.1.4), and rsip keeps no case of these two.
        Some(value) if name == "transport" || name == "method" => {
            format!("{name}={}", value.to_ascii_lowercase())
        }
        Some(value) => format!("{name}={value}"),
        None => name,
    }
}

pub fn uri_parts(
    scheme: &str,
    user: Option<&str>,
    password: Option<&str>,
    written_host: &str,
    port: Option<u16>,
    params: &[String],
) -> String {
    format!(
        "{scheme}:{}|{}|{}|{}|{}",
        user.unwrap_or_default(),
        password.unwrap_or_default(),
        host(written_host),
        port.map(|port| port.to_string()).unwrap_or_default(),
        params.join(";")
    )
}

/// All of it, as our scanner reads it.
pub fn ours(message: &SipMessage<'_>) -> Reading {
    let mut reading = Reading::new();
    reading.insert("method", text(message.method_text()));
    reading.insert("status", or_absent(message.status().map(|status| status.to_string())));
    reading.insert("request-uri", or_absent(message.request_uri().map(uri)));
    reading.insert("call-id", text(message.call_id()));
    reading.insert("cseq", message.cseq().number.to_string());
    reading.insert("from", uri(message.from().uri));
    reading.insert("from-tag", or_absent(message.from_tag().map(text)));
    reading.insert("to", uri(message.to().uri));
    reading.insert("to-tag", or_absent(message.to_tag().map(text)));
    let via = message.top_via();
    reading.insert("via-transport", text(via.transport).to_ascii_uppercase());
    reading.insert("via-host", host(&text(via.host)));
    reading.insert("via-port", or_absent(via.port.map(|port| port.to_string())));
    reading.insert("via-branch", or_absent(via.branch.map(text)));
    reading.insert("via-received", or_absent(via.received.map(|received| host(&text(received)))));
    reading.insert("via-rport", or_absent(via.rport.map(|port| port.to_string())));
    reading.insert("vias", message.via_count().to_string());
    let contacts: Vec<_> = message
        .contacts()
        .map(|contact| match contact.star {
            true => "*".to_owned(),
            false => format!("{} {:?}", uri(contact.addr.uri), contact.expires()),
        })
        .collect();
    reading.insert("contacts", contacts.join(", "));
    reading.insert("expires", or_absent(message.expires().map(|expires| expires.to_string())));
    reading.insert(
        "content-length",
        or_absent(message.content_length().map(|length| match length {
            Ok(length) => length.to_string(),
            Err(()) => "?".to_owned(),
        })),
    );
    reading.insert("body", text(message.body()));
    reading
}

fn their_uri(uri: &rsip::Uri) -> String {
    let scheme = uri.scheme.as_ref().map(ToString::to_string).unwrap_or_default();
    if scheme != "sip" && scheme != "sips" {
        return uri.to_string();
    }
    let params: Vec<_> = uri
        .params
        .iter()
        .map(|written| {
            let written = written.to_string();
            let written = written.trim_start_matches(';');
            match written.split_once('=') {
                Some((name, value)) => param(name, Some(value)),
                None => param(written, None),
            }
        })
        .collect();
    uri_parts(
        &scheme,
        uri.user(),
        uri.auth.as_ref().and_then(|auth| auth.password.as_deref()),
        &uri.host().to_string(),
        uri.port().map(|port| *port.value()),
        &params,
    )
}

/// What `rsip` reads of the same bytes: only the fields that it can read.
pub fn theirs(bytes: &[u8]) -> Option<Reading> {
    let message = rsip::SipMessage::try_from(bytes).ok()?;
    let mut reading = Reading::new();
    // It knows no compact forms, so where one is among them it has not read all values of a field.
    let has_compact = |compact: &str| {
        message.headers().iter().any(
            |field| matches!(field, rsip::Header::Other(name, _) if name.trim().eq_ignore_ascii_case(compact)),
        )
    };
    match &message {
        rsip::SipMessage::Request(request) => {
            reading.insert("method", request.method.to_string());
            reading.insert("status", ABSENT.to_owned());
            reading.insert("request-uri", their_uri(&request.uri));
        }
        rsip::SipMessage::Response(response) => {
            reading.insert("status", response.status_code.code().to_string());
            reading.insert("request-uri", ABSENT.to_owned());
        }
    }
    if let Ok(call_id) = message.call_id_header() {
        reading.insert("call-id", call_id.value().to_owned());
    }
    if let Ok(Ok(cseq)) = message.cseq_header().map(|cseq| cseq.typed()) {
        reading.insert("cseq", cseq.seq.to_string());
        reading.entry("method").or_insert_with(|| cseq.method.to_string());
    }
    if let Ok(Ok(from)) = message.from_header().map(|from| from.typed()) {
        reading.insert("from", their_uri(&from.uri));
        reading.insert("from-tag", or_absent(from.tag().map(ToString::to_string)));
    }
    if let Ok(Ok(to)) = message.to_header().map(|to| to.typed()) {
        reading.insert("to", their_uri(&to.uri));
        reading.insert("to-tag", or_absent(to.tag().map(ToString::to_string)));
    }
    if let Ok(Ok(via)) = message.via_header().map(|via| via.typed())
        && !has_compact("v")
    {
        reading.insert("via-transport", via.transport.to_string().to_ascii_uppercase());
        reading.insert("via-host", host(&via.uri.host().to_string()));
        reading.insert("via-port", or_absent(via.uri.port().map(|port| port.value().to_string())));
        reading.insert("via-branch", or_absent(via.branch().map(ToString::to_string)));
        if let Ok(received) = via.received() {
            reading.insert("via-received", or_absent(received.map(|address| address.to_string())));
        }
        let rport = via.params.iter().find_map(|param| match param {
            rsip::Param::Other(name, value) if name.value().eq_ignore_ascii_case("rport") => {
                value.as_ref().map(|value| value.value().to_owned())
            }
            _ => None,
        });
        reading.insert("via-rport", or_absent(rport));
    }
    let fields = message.headers().iter();
    let contacts: Vec<_> = fields
        .filter_map(|field| match field {
            rsip::Header::Contact(contact) => Some(contact.typed()),
            _ => None,
        })
        .collect();
    if !has_compact("m") && contacts.iter().all(Result::is_ok) {
        let contacts: Vec<_> = contacts
            .into_iter()
            .flatten()
            .map(|contact| {
                let expires = contact.expires().and_then(|expires| expires.value().parse::<u32>().ok());
                match contact.uri.to_string().trim() {
                    "*" => "*".to_owned(),
                    _ => format!("{} {expires:?}", their_uri(&contact.uri)),
                }
            })
            .collect();
        reading.insert("contacts", contacts.join(", "));
    }
    if let Some(Ok(seconds)) = message.expires_header().map(rsip::headers::Expires::seconds) {
        reading.insert("expires", seconds.to_string());
    }
    for field in message.headers().iter() {
        if let rsip::Header::ContentLength(length) = field
            && let Ok(length) = length.length()
        {
            reading.insert("content-length", length.to_string());
        }
    }
    reading.insert("body", text(message.body()));
    Some(reading)
}
