//! The configuration file and the password files beside it.
//! In: a path. Out: `Config`, or one sentence. Knows nothing of keys and values.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError};

/// Reads a configuration file, and the password files that it names.
///
/// # Errors
/// [`ConfigError`]: the file cannot be read, or something in it is wrong.
pub fn read_config(path: &Path) -> Result<Config, ConfigError> {
    let file = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| unreadable(&file, &error))?;
    let mut config = Config::parse(&file, &text)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let (publish, watch) = (&mut config.publish, &mut config.watch);
    read_password(folder, &mut publish.password, &mut publish.password_file)?;
    read_password(folder, &mut watch.password, &mut watch.password_file)?;
    Ok(config)
}

/// Reads the password file, if there is one. It is named relative to the configuration, wherever offhook is started.
fn read_password(
    folder: &Path,
    password: &mut Option<String>,
    password_file: &mut Option<PathBuf>,
) -> Result<(), ConfigError> {
    let Some(named) = password_file else {
        return Ok(());
    };
    *named = folder.join(&*named);
    let name = named.display().to_string();
    let text = fs::read_to_string(&*named).map_err(|error| unreadable(&name, &error))?;
    let first = text.lines().next().unwrap_or_default();
    if first.is_empty() {
        let what = "its first line should be a password, and is empty".to_owned();
        return Err(ConfigError::Unreadable { file: name, what });
    }
    *password = Some(first.to_owned());
    Ok(())
}

fn unreadable(file: &str, error: &io::Error) -> ConfigError {
    let what = match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
        _ => error.to_string(),
    };
    ConfigError::Unreadable { file: file.to_owned(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_file_is_read_beside_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("offhook.toml");
        fs::write(&path, "[publish]\nuser = \"offhook\"\npassword_file = \"secret\"\n").unwrap();
        let missing = read_config(&path).unwrap_err().to_string();
        assert!(missing.ends_with("secret: there is no such file"), "{missing}");
        fs::write(folder.path().join("secret"), "s3cret\nsecond line\n").unwrap();
        assert_eq!(read_config(&path).unwrap().publish.password.as_deref(), Some("s3cret"));
        fs::write(&path, "[watch]\nuser = \"board\"\npassword_file = \"secret\"\n").unwrap();
        let watch = read_config(&path).unwrap().watch;
        assert_eq!((watch.user.as_deref(), watch.password.as_deref()), (Some("board"), Some("s3cret")));
        let missing = read_config(&folder.path().join("no.toml")).unwrap_err().to_string();
        assert!(missing.ends_with("no.toml: there is no such file"), "{missing}");
    }
}
