//! Transactions of simulated phones and PBXs, with their retransmissions.
//! In: messages to send, messages that came, wake-ups. Out: messages, wake-ups, what is new for the user of it.
//! Knows nothing of calls. RFC 3261 sections 17.1, 17.2.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::message::{Message, Method};
use super::truth::Happening;

pub const T1_US: u64 = 500_000;
const T2_US: u64 = 4_000_000;
pub const TIMER_B_US: u64 = 64 * T1_US;

/// What wakes somebody up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wake {
    Client(String),
    Server(String),
    /// The 2xx of this leg awaits its ACK.
    Accepted(usize),
    /// The session timer of this leg.
    Session(usize),
}

/// What somebody does.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all of them are messages")]
pub enum Out {
    Send { to: SocketAddr, message: Message },
    Wake { at_us: u64, wake: Wake },
    Truth(Happening),
}

/// What is new for the user of the transactions.
#[derive(Clone, Debug)]
pub enum News {
    Request(Message),
    /// A response that belongs to a transaction.
    Response(Message),
    /// A response that belongs to none: a 2xx once more.
    Stray(Message),
    /// No answer came to this request.
    Timeout(Message),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Proceeding,
    Done,
}

struct Client {
    message: Message,
    to: SocketAddr,
    sent_us: u64,
    interval_us: u64,
    phase: Phase,
    reliable: bool,
}

struct Server {
    response: Option<Message>,
    to: SocketAddr,
    sent_us: u64,
    interval_us: u64,
    acknowledged: bool,
    reliable: bool,
}

/// All transactions of one party.
#[derive(Default)]
pub struct Transactions {
    clients: BTreeMap<String, Client>,
    servers: BTreeMap<String, Server>,
}

pub fn client_key(message: &Message) -> String {
    format!("{} {}", message.branch(), message.method.name())
}

pub fn server_key(message: &Message) -> String {
    let method = if message.method == Method::Ack { Method::Invite } else { message.method };
    let sent_by = message.vias.first().map(|via| via.sent_by.to_string()).unwrap_or_default();
    format!("{} {} {sent_by}", message.branch(), method.name())
}

impl Transactions {
    /// Sends a request and sees to its retransmissions.
    pub fn request(&mut self, now_us: u64, message: Message, to: SocketAddr, out: &mut Vec<Out>) {
        let key = client_key(&message);
        let reliable = message.vias.first().is_some_and(|via| via.tcp);
        let wait_us = if reliable { TIMER_B_US } else { T1_US };
        out.push(Out::Send { to, message: message.clone() });
        out.push(Out::Wake { at_us: now_us + wait_us, wake: Wake::Client(key.clone()) });
        let client =
            Client { message, to, sent_us: now_us, interval_us: T1_US, phase: Phase::Waiting, reliable };
        self.clients.insert(key, client);
    }

    /// Whoever asks anew has given up what it asked by this method before (RFC 3261 section 10.2: not both at once).
    pub fn give_up(&mut self, method: Method) {
        for client in self.clients.values_mut().filter(|client| client.message.method == method) {
            client.phase = Phase::Done;
        }
    }

    /// Answers a request of ours.
    pub fn respond(&mut self, now_us: u64, response: Message, out: &mut Vec<Out>) {
        let key = server_key(&response);
        let Some(via) = response.vias.first() else { return };
        let to = via.seen_from.unwrap_or(via.sent_by);
        let reliable = via.tcp;
        out.push(Out::Send { to, message: response.clone() });
        let repeats = response.method == Method::Invite && response.status().is_some_and(|it| it >= 300);
        if repeats && !reliable {
            out.push(Out::Wake { at_us: now_us + T1_US, wake: Wake::Server(key.clone()) });
        }
        let server = Server {
            response: Some(response),
            to,
            sent_us: now_us,
            interval_us: T1_US,
            acknowledged: false,
            reliable,
        };
        self.servers.insert(key, server);
    }

    /// A message came; `None` when there is nothing new in it.
    pub fn handle(&mut self, message: Message, from: SocketAddr, out: &mut Vec<Out>) -> Option<News> {
        if message.is_request() {
            self.came_request(message, from, out)
        } else {
            self.came_response(message, out)
        }
    }

    fn came_request(&mut self, message: Message, from: SocketAddr, out: &mut Vec<Out>) -> Option<News> {
        let key = server_key(&message);
        if let Some(server) = self.servers.get_mut(&key) {
            if message.method == Method::Ack {
                server.acknowledged = true;
            } else if let Some(response) = &server.response {
                out.push(Out::Send { to: server.to, message: response.clone() });
            }
            return None;
        }
        if message.method != Method::Ack {
            let server = Server {
                response: None,
                to: from,
                sent_us: 0,
                interval_us: T1_US,
                acknowledged: false,
                reliable: message.vias.first().is_some_and(|via| via.tcp),
            };
            self.servers.insert(key, server);
        }
        Some(News::Request(message))
    }

    fn came_response(&mut self, message: Message, out: &mut Vec<Out>) -> Option<News> {
        let status = message.status().unwrap_or_default();
        let key = client_key(&message);
        let Some(client) = self.clients.get_mut(&key) else {
            return Some(News::Stray(message));
        };
        if client.phase == Phase::Done {
            if message.method == Method::Invite && status >= 300 {
                let ack = client.message.for_hop(Method::Ack, message.to_tag.clone());
                out.push(Out::Send { to: client.to, message: ack });
            }
            return (message.method == Method::Invite && status < 300).then_some(News::Stray(message));
        }
        if status < 200 {
            client.phase = Phase::Proceeding;
        } else {
            client.phase = Phase::Done;
            if message.method == Method::Invite && status >= 300 {
                let ack = client.message.for_hop(Method::Ack, message.to_tag.clone());
                out.push(Out::Send { to: client.to, message: ack });
            }
        }
        Some(News::Response(message))
    }

    /// A timer that was asked for fires.
    pub fn wake(&mut self, now_us: u64, wake: &Wake, out: &mut Vec<Out>) -> Option<News> {
        match wake {
            Wake::Client(key) => self.wake_client(now_us, key, out),
            Wake::Server(key) => {
                let server = self.servers.get_mut(key)?;
                if server.acknowledged || server.reliable || now_us >= server.sent_us + TIMER_B_US {
                    return None;
                }
                if let Some(response) = &server.response {
                    out.push(Out::Send { to: server.to, message: response.clone() });
                }
                server.interval_us = (server.interval_us * 2).min(T2_US);
                out.push(Out::Wake { at_us: now_us + server.interval_us, wake: wake.clone() });
                None
            }
            Wake::Accepted(_) | Wake::Session(_) => None,
        }
    }

    fn wake_client(&mut self, now_us: u64, key: &str, out: &mut Vec<Out>) -> Option<News> {
        let client = self.clients.get_mut(key)?;
        let invite = client.message.method == Method::Invite;
        if client.phase == Phase::Done || (invite && client.phase == Phase::Proceeding) {
            return None;
        }
        let end_us = client.sent_us + TIMER_B_US;
        if now_us >= end_us {
            client.phase = Phase::Done;
            return Some(News::Timeout(client.message.clone()));
        }
        if !client.reliable {
            out.push(Out::Send { to: client.to, message: client.message.clone() });
        }
        client.interval_us = match (invite, client.phase) {
            (true, _) => client.interval_us * 2,
            (false, Phase::Proceeding) => T2_US,
            (false, _) => (client.interval_us * 2).min(T2_US),
        };
        let at_us = (now_us + client.interval_us).min(end_us);
        out.push(Out::Wake { at_us, wake: Wake::Client(key.to_owned()) });
        None
    }
}
