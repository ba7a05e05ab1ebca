//! The configuration file and the files with secrets beside it.
//! In: a path. Out: `Config`, or one sentence. Knows nothing of keys and values.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::config::{Config, ConfigError, NOT_A_SECRET};
use crate::publish::WebhookSecret;

/// Reads a configuration file, and the files with a password or secrets that it names.
///
/// # Errors
/// [`ConfigError`]: the file cannot be read, or something in it is wrong.
pub fn read_config(path: &Path) -> Result<Config, ConfigError> {
    let (file, text) = read(path)?;
    let mut config = Config::parse(&file, &text)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let (publish, watch) = (&mut config.publish, &mut config.watch);
    if let Some(authorities) = &mut publish.tls_ca_file {
        *authorities = folder.join(&authorities);
    }
    read_password(folder, &mut publish.password, &mut publish.password_file)?;
    read_password(folder, &mut watch.password, &mut watch.password_file)?;
    for file in [&mut config.presence.tls_certificate, &mut config.presence.tls_key].into_iter().flatten() {
        *file = folder.join(&file);
    }
    for webhook in &mut config.webhooks {
        if let Some(ca_file) = &mut webhook.ca_file {
            *ca_file = folder.join(&ca_file);
        }
        if let Some(secret_file) = &mut webhook.secret_file {
            *secret_file = folder.join(&secret_file);
            webhook.secrets = secrets(secret_file)?;
        }
    }
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
    let (file, text) = read(named)?;
    let first = text.lines().next().unwrap_or_default();
    if first.is_empty() {
        let what = "its first line should be a password, and is empty".to_owned();
        return Err(ConfigError::Unreadable { file, what });
    }
    *password = Some(first.to_owned());
    Ok(())
}

/// One a line; empty lines do not count.
fn secrets(path: &Path) -> Result<Vec<String>, ConfigError> {
    let (file, text) = read(path)?;
    let mut secrets = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.is_empty()) {
        if WebhookSecret::parse(line).is_none() {
            return Err(ConfigError::Wrong { file, line: number, what: format!("a secret {NOT_A_SECRET}") });
        }
        secrets.push(line.to_owned());
    }
    if secrets.is_empty() {
        return Err(ConfigError::Unreadable { file, what: "there is no secret in it".to_owned() });
    }
    Ok(secrets)
}

/// The file's name, and what is in it.
fn read(path: &Path) -> Result<(String, String), ConfigError> {
    let file = path.display().to_string();
    match fs::read_to_string(path) {
        Ok(text) => Ok((file, text)),
        Err(error) => Err(unreadable(&file, &error)),
    }
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

    #[test]
    fn files_of_a_webhook_lie_beside_the_configuration_too() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("offhook.toml");
        let webhook =
            "[[webhook]]\nurl = \"https://example.com\"\nsecret_file = \"secrets\"\nca_file = \"ca.pem\"\n";
        fs::write(&path, webhook).unwrap();
        let secrets = folder.path().join("secrets");
        for (text, said) in [
            ("\n\n", "secrets: there is no secret in it"),
            ("new\n\nwhsec_?\n", "secrets, line 3: a secret must be \"whsec_\" and base64"),
        ] {
            fs::write(&secrets, text).unwrap();
            let refused = read_config(&path).unwrap_err().to_string();
            assert!(refused.contains(said), "{refused}");
        }
        fs::write(&secrets, "new\nold\n").unwrap();
        let config = read_config(&path).unwrap();
        assert_eq!(config.webhooks[0].secrets, ["new", "old"]);
        assert_eq!(config.webhooks[0].ca_file, Some(folder.path().join("ca.pem")));
        assert!(config.to_toml().contains("/secrets\""), "{}", config.to_toml());
    }
}
