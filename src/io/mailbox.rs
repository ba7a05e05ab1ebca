//! What a thread and whoever started it leave for each other.
//! In: what one side puts in. Out: the same, for the other side, and a call that there is something. Knows nothing of what it is.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Something that two threads hold together. One of them waits for calls, the other never waits.
#[derive(Default)]
pub(super) struct Mailbox<Content> {
    content: Mutex<Content>,
    wake: Notify,
}

impl<Content> Mailbox<Content> {
    pub(super) fn new(content: Content) -> Self {
        Self { content: Mutex::new(content), wake: Notify::new() }
    }

    /// Its content, until that is dropped. A panic of the other side leaves the content as whole as it was: nothing in it may
    /// depend on two steps.
    pub(super) fn open(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the content, and calls whoever waits.
    pub(super) fn put(&self, change: impl FnOnce(&mut Content)) {
        change(&mut self.open());
        self.wake.notify_one();
    }

    /// Waits until something was put in since it last waited.
    pub(super) async fn called(&self) {
        self.wake.notified().await;
    }
}

/// Why something could not be sent or reached last.
#[derive(Default)]
pub(super) struct LastFailure {
    words: Option<String>,
    is_new: bool,
}

impl LastFailure {
    /// It failed again. The same reason as before is nothing new.
    pub(super) fn fail(&mut self, words: String) {
        if self.words.as_ref() != Some(&words) {
            (self.words, self.is_new) = (Some(words), true);
        }
    }

    /// It works again.
    pub(super) fn mend(&mut self) {
        self.words = None;
    }

    /// In words; `None` while all is well.
    pub(super) fn words(&self) -> Option<&str> {
        self.words.as_deref()
    }

    /// The same, once each time that it is another reason.
    pub(super) fn poll(&mut self) -> Option<String> {
        std::mem::take(&mut self.is_new).then(|| self.words.clone()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_new_once_and_again_after_it_was_mended() {
        let mut failure = LastFailure::default();
        let said = |failure: &mut LastFailure, words: &str| {
            failure.fail(words.to_owned());
            failure.poll()
        };
        assert_eq!(said(&mut failure, "refused").as_deref(), Some("refused"));
        assert_eq!(said(&mut failure, "refused"), None);
        assert_eq!(failure.words(), Some("refused"));
        assert_eq!(said(&mut failure, "no route").as_deref(), Some("no route"));
        failure.mend();
        assert_eq!(failure.words(), None);
        assert_eq!(failure.poll(), None);
        assert_eq!(said(&mut failure, "no route").as_deref(), Some("no route"));
        failure.fail("refused".to_owned());
        failure.mend();
        assert_eq!(failure.poll(), None, "it is over before anybody asked");
    }

    #[tokio::test]
    async fn what_was_put_in_before_anybody_waited_still_calls() {
        let mailbox = Mailbox::new(1);
        mailbox.put(|content| *content += 1);
        mailbox.called().await;
        assert_eq!(*mailbox.open(), 2);
    }
}
