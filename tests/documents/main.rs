//! Presence and dialog documents: what is written obeys the schemas' rules and is read back, what others write is
//! read, and nothing that anybody can send does harm.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod composed;
mod field;
mod hostile;
mod making;
mod rules;
mod written;
#[path = "../support/xml_rules.rs"]
mod xml_rules;
