//! A digest user and its password, as a table may name them.
//! In: three keys of one table. Out: whether they go together. Knows nothing of what they are for.

use std::path::PathBuf;

use toml::Spanned;

use super::{ConfigError, Place};

/// `user` with one of `password` and `password_file`, or none of the three.
///
/// # Errors
/// [`ConfigError::Wrong`] that names the key.
pub(super) fn check(
    user: Option<&Spanned<String>>,
    password: Option<&Spanned<String>>,
    password_file: Option<&Spanned<PathBuf>>,
    place: &Place<'_>,
) -> Result<(), ConfigError> {
    if let (Some(_), Some(file)) = (password, password_file) {
        return Err(
            place.wrong(&file.span(), "and `password` exclude each other: give one of them".to_owned())
        );
    }
    let secret = password.map(Spanned::span).or(password_file.map(Spanned::span));
    match (user, secret) {
        (Some(user), None) => {
            Err(place.wrong(&user.span(), "needs a `password` or a `password_file` beside it".to_owned()))
        }
        (None, Some(span)) => Err(place.wrong(&span, "needs a `user` beside it".to_owned())),
        _ => Ok(()),
    }
}
