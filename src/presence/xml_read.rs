//! What all documents share when they are read: namespaces resolved, bounds kept, hostile input refused.
//! In: bytes. Out: elements, or why not. Knows nothing of what the documents say.

/// Why a document was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not well-formed XML in UTF-8, or it uses an entity that XML does not define.
    #[error("it is not well-formed XML: {0}")]
    Malformed(String),
    /// Elements inside elements beyond the bound, or more of something than the bound allows.
    #[error("it has too many {0}")]
    TooMany(&'static str),
    /// Its root is another element than that of the media type.
    #[error("its root is not {0}")]
    Root(&'static str),
    /// Something that the schema demands is missing or has a value that the schema does not allow.
    #[error("{0}")]
    Invalid(String),
}
