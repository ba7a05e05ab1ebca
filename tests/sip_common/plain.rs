//! A reader for messages that are written as the RFCs print them: one that cannot be wrong, because it is too simple.
//! In: text. Out: a `Reading`. Knows nothing of quotes with commas in them, comments, broken fields.
#![allow(dead_code, missing_docs)]

use super::reading::{Reading, host, uri};

fn long_name(name: &str) -> String {
    let name = name.trim().to_ascii_lowercase();
    let long = match name.as_str() {
        "v" => "via",
        "f" => "from",
        "t" => "to",
        "i" => "call-id",
        "m" => "contact",
        "l" => "content-length",
        other => other,
    };
    long.to_owned()
}

/// URI and parameters of `Name <uri>;params` or `uri;params`.
fn address(value: &str) -> (&str, &str) {
    match value.split_once('<') {
        Some((_, rest)) => rest.split_once('>').unwrap_or((rest, "")),
        None => value.split_once(';').unwrap_or((value, "")),
    }
}

fn param(params: &str, wanted: &str) -> Option<String> {
    params.split(';').find_map(|param| {
        let (name, value) = param.split_once('=')?;
        name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
    })
}

fn or_absent(value: Option<String>) -> String {
    value.unwrap_or_else(|| "-".to_owned())
}

/// Reads a message whose lines end in CRLF.
pub fn read(message: &str) -> Reading {
    let (head, rest) = message.split_once("\r\n\r\n").unwrap_or((message, ""));
    let mut lines: Vec<String> = Vec::new();
    for line in head.split("\r\n") {
        match lines.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => {
                last.push(' ');
                last.push_str(line.trim());
            }
            _ => lines.push(line.trim_end().to_owned()),
        }
    }
    let first = lines.first().cloned().unwrap_or_default();
    let fields: Vec<(String, String)> = lines
        .iter()
        .skip(1)
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (long_name(name), value.trim().to_owned()))
        .collect();
    let all =
        |wanted: &'static str| fields.iter().filter(move |(name, _)| name == wanted).map(|(_, v)| v.as_str());
    let one = |wanted: &'static str| all(wanted).next().unwrap_or_default();

    let mut reading = Reading::new();
    let words: Vec<&str> = first.split_whitespace().collect();
    let (number, method) = one("cseq").split_once(' ').unwrap_or_default();
    let is_response = first.starts_with("SIP/2.0");
    reading.insert("method", method.trim().to_owned());
    reading.insert("status", if is_response { words[1].to_owned() } else { "-".to_owned() });
    reading.insert("request-uri", if is_response { "-".to_owned() } else { uri(words[1].as_bytes()) });
    reading.insert("call-id", one("call-id").to_owned());
    reading.insert("cseq", number.to_owned());
    for (name, tag) in [("from", "from-tag"), ("to", "to-tag")] {
        let (address, params) = address(one(name));
        reading.insert(name, uri(address.as_bytes()));
        reading.insert(tag, or_absent(param(params, "tag")));
    }
    let vias: Vec<&str> = all("via").flat_map(|value| value.split(',')).collect();
    let (sent, params) = vias[0].split_once(';').unwrap_or((vias[0], ""));
    let (protocol, sent_by) = sent.trim().split_once(' ').unwrap_or_default();
    let (sent_host, port) = match sent_by.rsplit_once(':') {
        Some((before, port)) if !port.contains(']') => (before, Some(port.to_owned())),
        _ => (sent_by, None),
    };
    reading.insert("via-transport", protocol.rsplit('/').next().unwrap_or_default().to_owned());
    reading.insert("via-host", host(sent_host.trim()));
    reading.insert("via-port", or_absent(port));
    reading.insert("via-branch", or_absent(param(params, "branch")));
    reading.insert("via-received", or_absent(param(params, "received").map(|address| host(&address))));
    reading.insert("via-rport", or_absent(param(params, "rport")));
    reading.insert("vias", vias.len().to_string());
    let contacts: Vec<String> = all("contact")
        .flat_map(|value| value.split(','))
        .map(|value| match value.trim() {
            "*" => "*".to_owned(),
            value => {
                let (address, params) = address(value);
                let expires = param(params, "expires").and_then(|expires| expires.parse::<u32>().ok());
                format!("{} {expires:?}", uri(address.as_bytes()))
            }
        })
        .collect();
    reading.insert("contacts", contacts.join(", "));
    reading.insert("expires", or_absent(all("expires").next().map(str::to_owned)));
    let length = all("content-length").next();
    reading.insert("content-length", or_absent(length.map(str::to_owned)));
    let length = length.and_then(|length| length.parse::<usize>().ok()).unwrap_or(rest.len());
    reading.insert("body", rest.get(..length).unwrap_or(rest).to_owned());
    reading
}
