//! A digest user and its password, as a table may name them.
//! In: three keys of one table. Out: `Credentials`, faults where they do not go together. Knows nothing of what they are for.

use std::path::PathBuf;

use toml::Spanned;

use super::Place;

/// What the three keys say.
#[derive(Default)]
pub(super) struct Credentials {
    pub user: Option<String>,
    /// As it is written, or what the file says.
    pub password: Option<String>,
    pub password_file: Option<PathBuf>,
}

/// `user` with one of `password` and `password_file`, or none of the three.
pub(super) fn read(
    user: Option<Spanned<String>>,
    password: Option<Spanned<String>>,
    password_file: Option<Spanned<PathBuf>>,
    place: &Place<'_>,
) -> Credentials {
    let secret = password.as_ref().map(Spanned::span).or(password_file.as_ref().map(Spanned::span));
    match (&user, &password, &password_file) {
        (_, Some(_), Some(file)) => {
            place.wrong(&file.span(), "and `password` exclude each other: give one of them");
        }
        (Some(user), None, None) => {
            place.wrong(&user.span(), "needs a `password` or a `password_file` beside it");
        }
        (None, ..) => {
            if let Some(span) = secret {
                place.wrong(&span, "needs a `user` beside it");
            }
        }
        (Some(_), ..) => {}
    }
    let mut credentials = Credentials {
        user: user.map(Spanned::into_inner),
        password: password.map(Spanned::into_inner),
        password_file: password_file.as_ref().map(|file| place.path(file.as_ref())),
    };
    if let Some(text) = password_file.and_then(|file| place.text(&file, first_line)) {
        credentials.password = Some(text);
    }
    credentials
}

fn first_line(text: &str) -> Result<String, String> {
    match text.lines().next() {
        None | Some("") => Err(": its first line should be a password, and is empty".to_owned()),
        Some(first) => Ok(first.to_owned()),
    }
}
