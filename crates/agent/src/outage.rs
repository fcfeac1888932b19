use std::error::Error;

use tracing::{debug, warn};

/// What keeps the agent from its work, told once and not at every try.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    told: Option<String>,
}

impl Outage {
    /// Says why, unless that is what was said last.
    pub(crate) fn say(&mut self, error: &(dyn Error + 'static), what: &'static str) {
        if self.is_new(error) {
            warn!(error, "{what}");
        } else {
            debug!(error, "{what}");
        }
    }

    fn is_new(&mut self, error: &(dyn Error + 'static)) -> bool {
        let mut words = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            words.push_str(": ");
            words.push_str(&error.to_string());
            cause = error.source();
        }
        let is_new = self.told.as_ref() != Some(&words);
        self.told = Some(words);
        is_new
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::engine::EngineError;

    fn away(kind: io::ErrorKind) -> EngineError {
        EngineError::Connect { socket: "/s".into(), source: kind.into() }
    }

    #[test]
    fn each_cause_is_told_once() {
        let mut outage = Outage::default();
        assert!(outage.is_new(&away(io::ErrorKind::NotFound)));
        assert!(!outage.is_new(&away(io::ErrorKind::NotFound)));
        assert!(outage.is_new(&away(io::ErrorKind::PermissionDenied)), "another cause is news");
    }
}
