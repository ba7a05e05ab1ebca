//! Webhooks at work: a thread of its own with the clocks and an HTTP client for each endpoint.
//! In: lines from the capture side, which is never made to wait. Out: POST requests, sentences about what was lost. Knows
//! nothing of captures, events, signatures.

use std::error::Error;
use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Duration;

use reqwest::header::RETRY_AFTER;
use reqwest::redirect::Policy;
use reqwest::{Client, Response, Url};
use rustls::RootCertStore;

use crate::config::WebhookSection;
use crate::io::clock::{Clock, fresh_seed, wall_clock};
use crate::io::mailbox::Mailbox;
use crate::io::output::LineSink;
use crate::io::tls::{self, TlsError};
use crate::publish::{
    DropReason, Line, TRIED_FOR, Webhook, WebhookAnswer, WebhookCounters, WebhookNotice, WebhookOptions,
    WebhookRequest, WebhookSecret,
};

/// Why no webhook can be sent.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// Whom to believe over TLS cannot be told.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A secret.
    #[error("{0}: its secret is neither \"whsec_\" and base64 nor any other text")]
    Secret(String),
    /// The HTTP client.
    #[error("{name}: {what}")]
    Client {
        /// Which endpoint.
        name: String,
        /// What the client says.
        what: String,
    },
    /// The thread or its runtime.
    #[error("webhooks cannot be sent: {0}")]
    Thread(#[source] io::Error),
}

/// What became of one endpoint's events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookReport {
    /// The endpoint, as an operator is told of it.
    pub name: String,
    /// How its events went.
    pub counters: WebhookCounters,
    /// What was wrong with the last attempt; `None`: it was answered 2xx.
    pub last_failure: Option<String>,
}

/// One attempt may take so long.
const ATTEMPT: Duration = Duration::from_secs(10);
/// So much of a response's body is read, for the connection to be used again; what it says is not looked at.
const LONGEST_BODY: usize = 4_096;

struct Shared {
    endpoints: Vec<Endpoint>,
    clock: Clock,
}

struct Endpoint {
    name: String,
    mailbox: Mailbox<EndpointState>,
}

struct EndpointState {
    webhook: Webhook,
    last_failure: Option<String>,
    phase: Phase,
}

/// Where the end has got to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Delivering,
    /// Nothing more comes: until all is delivered or given up.
    Finishing,
    /// Nobody waits for anything any more.
    Abandoned,
}

/// The capture side's end of the webhooks' thread. Dropped without [`Self::finish`], it leaves undelivered what is.
pub struct WebhookHandle {
    shared: Arc<Shared>,
    /// Says nothing, and breaks when the thread ends.
    thread: Receiver<()>,
}

impl WebhookHandle {
    /// Makes the clients and starts the thread. Nothing is sent before there is a line.
    ///
    /// # Errors
    /// [`WebhookError`].
    pub fn start(sections: &[WebhookSection]) -> Result<Self, WebhookError> {
        let (mut endpoints, mut clients) = (Vec::new(), Vec::new());
        for (number, section) in (1..).zip(sections) {
            let name = name(number, section);
            clients.push(client(&name, section)?);
            let secrets = section.secrets.iter().map(|secret| WebhookSecret::parse(secret)).collect();
            let options = WebhookOptions {
                url: section.url.clone(),
                kinds: section.kinds.clone(),
                secrets: Option::ok_or_else(secrets, || WebhookError::Secret(name.clone()))?,
                source: section.source.clone().unwrap_or_else(default_source),
                queue: section.queue,
                seed: fresh_seed(),
            };
            let state = EndpointState {
                webhook: Webhook::new(options),
                last_failure: None,
                phase: Phase::Delivering,
            };
            endpoints.push(Endpoint { name, mailbox: Mailbox::new(state) });
        }
        let shared = Arc::new(Shared { endpoints, clock: Clock::start() });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(WebhookError::Thread)?;
        let in_thread = Arc::clone(&shared);
        let (alive, thread) = mpsc::channel();
        std::thread::Builder::new()
            .name("webhooks".to_owned())
            .spawn(move || {
                let each = clients.into_iter().enumerate().map(|(index, client)| {
                    let shared = Arc::clone(&in_thread);
                    runtime.spawn(async move {
                        if let Some(endpoint) = shared.endpoints.get(index) {
                            deliver(endpoint, &client, &shared.clock).await;
                        }
                    })
                });
                for endpoint in each.collect::<Vec<_>>() {
                    // A panic over there has been told on stderr; the counters say what was done.
                    let _ = runtime.block_on(endpoint);
                }
                // A name may still be looked up: nobody waits for it.
                runtime.shutdown_background();
                drop::<Sender<()>>(alive);
            })
            .map_err(WebhookError::Thread)?;
        Ok(Self { shared, thread })
    }

    /// Where lines are handed over.
    pub fn lines(&self) -> WebhookLines {
        WebhookLines(Arc::clone(&self.shared))
    }

    /// A sentence that an operator should read.
    pub fn poll_notice(&self) -> Option<String> {
        self.shared.endpoints.iter().find_map(|endpoint| {
            let mut state = endpoint.mailbox.open();
            let notice = state.webhook.poll_notice()?;
            Some(format!("{}: {}", endpoint.name, sentence(notice, state.last_failure.as_deref())))
        })
    }

    /// Waits until all is delivered or given up, at most for `timeout`; what waits for another attempt has it at once.
    /// Whatever is not delivered then is not sent any more.
    pub fn finish(&mut self, timeout: Duration) -> Vec<WebhookReport> {
        for endpoint in &self.shared.endpoints {
            endpoint.mailbox.put(|state| {
                state.webhook.stop(self.shared.clock.now());
                state.phase = Phase::Finishing;
            });
        }
        // Its end or the timeout: the counters say which.
        let _ = self.thread.recv_timeout(timeout);
        self.abandon();
        let report = |endpoint: &Endpoint| {
            let state = endpoint.mailbox.open();
            WebhookReport {
                name: endpoint.name.clone(),
                counters: state.webhook.counters(),
                last_failure: state.last_failure.clone(),
            }
        };
        self.shared.endpoints.iter().map(report).collect()
    }

    fn abandon(&self) {
        for endpoint in &self.shared.endpoints {
            endpoint.mailbox.put(|state| state.phase = Phase::Abandoned);
        }
    }
}

impl Drop for WebhookHandle {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// Puts lines into the queue of each endpoint that wants their kind. Never waits for an endpoint; what is taken is sent
/// whether anybody flushes or not.
pub struct WebhookLines(Arc<Shared>);

impl LineSink for WebhookLines {
    fn take(&mut self, line: &Line<'_>) -> io::Result<()> {
        for endpoint in &self.0.endpoints {
            endpoint.mailbox.put(|state| state.webhook.handle_line(self.0.clock.now(), line));
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Says whether webhooks could be started so; sends nothing.
///
/// # Errors
/// [`WebhookError`].
pub fn check(sections: &[WebhookSection]) -> Result<(), WebhookError> {
    (1..).zip(sections).try_for_each(|(number, section)| client(&name(number, section), section).map(drop))
}

/// Its number in the configuration, and of its URL only who is spoken to: the rest may be a secret.
fn name(number: usize, section: &WebhookSection) -> String {
    let origin = Url::parse(&section.url).map(|url| url.origin().ascii_serialization());
    format!("webhook {number} ({})", origin.unwrap_or_default())
}

fn default_source() -> String {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || "-._~".contains(*c)).collect();
    format!("urn:offhook:{}", if host.is_empty() { "localhost" } else { &host })
}

/// A client that goes straight to the endpoint: no proxy of the environment, no redirects, no default of the process.
fn client(name: &str, section: &WebhookSection) -> Result<Client, WebhookError> {
    let is_secure = Url::parse(&section.url).is_ok_and(|url| url.scheme() == "https");
    // Who has no roots and asks for no TLS needs none.
    let roots = match section.ca_file.as_deref() {
        None if !is_secure => RootCertStore::empty(),
        ca_file => tls::roots(ca_file)?,
    };
    Client::builder()
        .tls_backend_preconfigured(tls::verifying_by(roots)?)
        .no_proxy()
        .redirect(Policy::none())
        .user_agent(concat!("offhook/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| WebhookError::Client { name: name.to_owned(), what: root_cause(&error) })
}

/// Delivers one endpoint's events until the end is asked for.
async fn deliver(endpoint: &Endpoint, client: &Client, clock: &Clock) {
    loop {
        let (request, due) = {
            let mut state = endpoint.mailbox.open();
            match state.phase {
                Phase::Delivering => {}
                Phase::Finishing if !state.webhook.is_settled() => {}
                Phase::Finishing | Phase::Abandoned => return,
            }
            let now = clock.now();
            let request = state.webhook.poll_request(now, wall_clock());
            (request, state.webhook.poll_timeout().map(|due| due.since(now)))
        };
        if let Some(request) = request {
            let id = request.id.clone();
            let outcome = post(client, request).await;
            let (answer, failure) = match outcome {
                Ok((status @ 200..=299, _)) => (WebhookAnswer::Status { status, retry_after_s: None }, None),
                Ok((status, retry_after_s)) => {
                    (WebhookAnswer::Status { status, retry_after_s }, Some(format!("it answered {status}")))
                }
                Err(why) => (WebhookAnswer::Failed, Some(why)),
            };
            let mut state = endpoint.mailbox.open();
            state.last_failure = failure;
            state.webhook.handle_answer(clock.now(), &id, answer);
        } else {
            let wait = due.unwrap_or(Duration::MAX);
            tokio::select! {
                () = endpoint.mailbox.called() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

/// One attempt: the response's status and Retry-After, or why there was none.
async fn post(client: &Client, request: WebhookRequest) -> Result<(u16, Option<u32>), String> {
    let mut builder = client.post(request.url).timeout(ATTEMPT).body(request.body);
    for (name, value) in request.headers {
        builder = builder.header(name, value);
    }
    let mut response = builder.send().await.map_err(|error| match error.is_timeout() {
        true => format!("no answer within {} s", ATTEMPT.as_secs()),
        false => root_cause(&error),
    })?;
    let mut read = 0;
    while read < LONGEST_BODY
        && let Ok(Some(piece)) = response.chunk().await
    {
        read += piece.len();
    }
    Ok((response.status().as_u16(), retry_after_s(&response)))
}

/// Retry-After where it is a number of seconds; a date is not looked at.
fn retry_after_s(response: &Response) -> Option<u32> {
    response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

/// What is at the bottom of an error of the client; without the URL, which may be a secret.
fn root_cause(error: &reqwest::Error) -> String {
    let Some(mut cause) = error.source() else {
        return "the HTTP client failed".to_owned();
    };
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}

fn sentence(notice: WebhookNotice, last_failure: Option<&str>) -> String {
    let because = last_failure.map(|failure| format!(" ({failure})")).unwrap_or_default();
    match notice {
        WebhookNotice::Failing { status: Some(status) } => {
            format!("it answered {status}; events wait and are tried again")
        }
        WebhookNotice::Failing { status: None } => {
            format!("it cannot be reached{because}; events wait and are tried again")
        }
        WebhookNotice::Dropped { reason, so_far } => {
            let why = match reason {
                DropReason::QueueFull => format!("its queue is full{because}"),
                DropReason::Refused { status } => format!("it answered {status}"),
                DropReason::TooOld => {
                    format!("they were tried for {} h{because}", TRIED_FOR.as_secs() / 3_600)
                }
                DropReason::Gone => "it answered 410 and is switched off".to_owned(),
            };
            format!("events lost so far: {so_far}, as {why}")
        }
    }
}
