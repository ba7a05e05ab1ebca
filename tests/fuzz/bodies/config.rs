//! Configuration files: read, or refused with a sentence that names a line; what is shown of one that was read says the
//! same when it is read.

use offhook::config::Config;

use super::input::Reached;

/// Seen by the corpus.
pub const MUST_REACH: &[&str] = &["read", "refused", "webhook", "publish", "presence", "secrets"];

/// The text of a file.
pub fn target(data: &[u8]) -> Reached {
    let mut reached = Reached::default();
    let Ok(text) = std::str::from_utf8(data) else { return reached };
    let config = match Config::parse("offhook.toml", text) {
        Ok(config) => config,
        Err(error) => {
            reached.note("refused");
            assert!(error.to_string().contains("offhook.toml"), "{error}");
            return reached;
        }
    };
    reached.note("read");
    reached.note_if(!config.webhooks.is_empty(), "webhook");
    reached.note_if(text.contains("[publish]"), "publish");
    reached.note_if(text.contains("[presence]"), "presence");
    let shown = config.to_toml();
    match Config::parse("shown.toml", &shown) {
        Ok(again) => {
            assert_eq!(again.rules, config.rules);
            // A secret is not shown, and so a second showing has none.
            if !config.has_secrets() {
                assert_eq!(again.to_toml(), shown);
            }
        }
        Err(error) => assert!(config.has_secrets(), "{error}\n{shown}"),
    }
    reached.note_if(config.has_secrets(), "secrets");
    reached
}
