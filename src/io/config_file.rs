//! The configuration file and the files with secrets beside it.
//! In: a path. Out: `Config`, or one sentence. Knows nothing of keys and values.

use std::fs;
use std::io;
use std::path::{Path, PathBuf, absolute};

use crate::config::{Config, ConfigError, Files};

/// Reads a configuration file, and the files with a password or secrets that it names.
///
/// # Errors
/// [`ConfigError`]: the file cannot be read, or something in it is wrong.
pub fn read_config(path: &Path) -> Result<Config, ConfigError> {
    let file = path.display().to_string();
    let unreadable = |error| ConfigError::Unreadable { file: file.clone(), what: words(&error) };
    let text = fs::read_to_string(path).map_err(unreadable)?;
    Config::parse_with(&file, &text, &Beside { folder: path.parent().unwrap_or(Path::new("")) })
}

/// Files are named relative to the configuration, wherever offhook is started.
struct Beside<'a> {
    folder: &'a Path,
}

impl Files for Beside<'_> {
    fn path(&self, named: &Path) -> PathBuf {
        let beside = self.folder.join(named);
        // It fails where there is no working directory: then the path is as good as it was.
        absolute(&beside).unwrap_or(beside)
    }

    fn text(&self, path: &Path) -> Option<Result<String, String>> {
        Some(fs::read_to_string(path).map_err(|error| words(&error)))
    }
}

fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file".to_owned(),
        io::ErrorKind::IsADirectory => "it is a directory".to_owned(),
        io::ErrorKind::InvalidData => "it is not UTF-8 text".to_owned(),
        _ => error.to_string(),
    }
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
        let beside = folder.path().join("secret").display().to_string();
        let told = format!("{}, line 3: `publish.password_file` names", path.display());
        assert!(missing.starts_with(&told), "{missing}");
        assert!(missing.ends_with(&format!("{beside}: there is no such file")), "{missing}");
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
            assert!(refused.contains(said) && refused.contains("line 3: `webhook.secret_file`"), "{refused}");
        }
        fs::write(&secrets, "new\nold\n").unwrap();
        let config = read_config(&path).unwrap();
        assert_eq!(config.webhooks[0].secrets, ["new", "old"]);
        assert_eq!(config.webhooks[0].ca_file, Some(folder.path().join("ca.pem")));
        assert!(config.to_toml().contains("/secrets\""), "{}", config.to_toml());
    }
}
