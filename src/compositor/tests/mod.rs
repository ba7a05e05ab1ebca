//! The server as its peers see it, in virtual time.

mod any_order;
mod bench;
mod composed;
mod flood;
mod requests;
mod watchers;

use super::*;
use bench::*;
