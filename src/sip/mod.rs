//! SIP: bytes to messages and back.
//! In: the bytes of one message. Out: borrowed views of it. Knows nothing of dialogs, presence, sockets, clocks.

mod aor;
mod lex;
mod method;
mod params;
pub mod uri;

pub use aor::Aor;
pub use method::Method;
pub use params::Params;
pub use uri::{Scheme, Uri};
