//! What the PBX itself says of its phones, asked once a second by JSON-RPC.
//! In: `ul.dump`, `dlg.list`. Out: each user's status at each of these moments. Knows nothing of what anybody else says.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::office::now_s;
use crate::testbed::Testbed;
use crate::testbed::truth::{Session, Status};

/// Where the PBX listens for it, in its own namespace.
const RPC: &str = "127.0.0.1:8080";

/// All users' statuses at one moment; who is not in it is offline and idle.
pub struct Sample {
    /// Between the question and the answer.
    pub at_s: f64,
    /// By name.
    pub users: BTreeMap<String, Status>,
}

/// Asks until it is told to stop.
pub struct View {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<Vec<Sample>>>,
}

impl View {
    /// Begins to ask.
    pub fn begin(testbed: &Testbed) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stops = Arc::clone(&stop);
        let thread = testbed.spawn("pbx", move || {
            let mut samples = Vec::new();
            let mut next = Instant::now();
            while !stops.load(Ordering::Relaxed) {
                samples.push(sample()?);
                next += Duration::from_secs(1);
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            Ok(samples)
        });
        Self { stop, thread }
    }

    /// What it said.
    ///
    /// # Errors
    /// It did not answer, or not as it does.
    pub fn end(self) -> Result<Vec<Sample>> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(samples) => samples,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn sample() -> Result<Sample> {
    let asked_s = now_s();
    let mut users: BTreeMap<String, Status> = BTreeMap::new();
    let contacts = ask("ul.dump")?;
    let dialogs = ask("dlg.list")?;
    let at_s = f64::midpoint(asked_s, now_s());
    registered(&contacts, &mut users);
    for dialog in dialogs.as_array().map(Vec::as_slice).unwrap_or_default() {
        let (caller, called) = match dialog["state"].as_u64() {
            Some(1) => (Session::Calling, Session::Idle),
            Some(2) => (Session::Calling, Session::Ringing),
            Some(3 | 4) => (Session::Talking, Session::Talking),
            _ => continue,
        };
        for (uri, session) in [("from_uri", caller), ("to_uri", called)] {
            let uri = dialog[uri].as_str().context("a dialog has two ends")?;
            let user = uri.trim_start_matches("sip:").split('@').next().unwrap_or_default();
            let nothing = Status { online: false, session: Session::Idle };
            let status = users.entry(user.to_owned()).or_insert(nothing);
            status.session = status.session.max(session);
        }
    }
    Ok(Sample { at_s, users })
}

/// A contact counts while its time has not run out; the list has it for a while longer.
fn registered(value: &Value, users: &mut BTreeMap<String, Status>) {
    match value {
        Value::Object(fields) => {
            if let (Some(Value::String(user)), Some(contacts)) = (fields.get("AoR"), fields.get("Contacts")) {
                let is_here = contacts.as_array().is_some_and(|contacts| {
                    contacts.iter().any(|contact| contact["Contact"]["Expires"].as_i64().unwrap_or(0) > 0)
                });
                users.insert(user.clone(), Status { online: is_here, session: Session::Idle });
            }
            fields.values().for_each(|value| registered(value, users));
        }
        Value::Array(values) => values.iter().for_each(|value| registered(value, users)),
        _ => {}
    }
}

fn ask(method: &str) -> Result<Value> {
    let question = format!("{{\"jsonrpc\":\"2.0\",\"method\":\"{method}\",\"id\":1}}");
    let mut stream = TcpStream::connect(RPC).context("the PBX's JSON-RPC")?;
    stream.set_nodelay(true)?;
    write!(
        stream,
        "POST /RPC HTTP/1.1\r\nHost: pbx\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{question}",
        question.len()
    )?;
    let mut answer = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        answer.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse()?;
        }
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body)?;
    let mut answer: Value = serde_json::from_slice(&body).context("what the PBX answers")?;
    Ok(answer["result"].take())
}
