//! A wish as a store keeps it.
//! In: nothing. Out: vocabulary. Knows nothing of stores.

use serde::{Deserialize, Serialize};

use super::Why;

/// What changed of the list of wishes. A later record of the same wish takes the place of an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "record")]
pub enum WishRecord {
    /// The wish is so now.
    Kept(KeptWish),
    /// It is over.
    Gone {
        /// Which.
        wish: u64,
    },
}

/// All that has to survive of a wish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptWish {
    /// Its number.
    pub wish: u64,
    /// AOR of who called.
    pub caller: String,
    /// AOR of who was called.
    pub callee: String,
    /// Why.
    pub why: Why,
    /// When it was made, in microseconds since 1970.
    pub made_at_us: u64,
    /// When it expires, likewise.
    pub until_us: u64,
    /// The caller's phone was asked: it is not asked again.
    pub asked: bool,
}
