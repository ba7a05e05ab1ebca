//! The configuration file and the password file beside it.
//! In: a path. Out: `Config`, or one sentence. Knows nothing of keys and values.

use std::fs;
use std::io;
use std::path::Path;

use crate::config::{Config, ConfigError};

/// Reads a configuration file, and the password file that it names.
///
/// # Errors
/// [`ConfigError`]: the file cannot be read, or something in it is wrong.
pub fn read_config(path: &Path) -> Result<Config, ConfigError> {
    let file = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| unreadable(&file, &error))?;
    let mut config = Config::parse(&file, &text)?;
    // Files are named relative to the configuration, wherever offhook is started.
    let folder = path.parent().unwrap_or(Path::new(""));
    if let Some(authorities) = &mut config.publish.tls_ca_file {
        *authorities = folder.join(&authorities);
    }
    if let Some(password_file) = &config.publish.password_file {
        let password_file = folder.join(password_file);
        let name = password_file.display().to_string();
        let password = fs::read_to_string(&password_file).map_err(|error| unreadable(&name, &error))?;
        let password = password.lines().next().unwrap_or_default();
        if password.is_empty() {
            let what = "its first line should be a password, and is empty".to_owned();
            return Err(ConfigError::Unreadable { file: name, what });
        }
        config.publish.password = Some(password.to_owned());
        config.publish.password_file = Some(password_file);
    }
    Ok(config)
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
        let missing = read_config(&folder.path().join("no.toml")).unwrap_err().to_string();
        assert!(missing.ends_with("no.toml: there is no such file"), "{missing}");
    }
}
