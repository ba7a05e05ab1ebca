//! offhook listens to SIP on a mirror port or in capture files and works out who is online, ringing, talking or gone.
pub mod base;
pub mod decode;
pub mod io;
pub mod presence;
pub mod publish;
pub mod sip;
pub mod stream;
pub mod track;
