//! What is told while an environment is stood up and taken down.

use std::{sync::Arc, time::Instant};

use crate::journal::ProgressMade;

/// Hears of it.
pub type Told = Arc<dyn Fn(ProgressMade) + Send + Sync>;

/// Something that takes a while, from its beginning to its end.
pub(crate) struct Stage {
    name: &'static str,
    told: Told,
    began: Instant,
}

impl Stage {
    /// Begins, and says with what.
    pub(crate) fn begin(told: &Told, name: &'static str, text: impl Into<String>) -> Self {
        let stage = Self {
            name,
            told: Arc::clone(told),
            began: Instant::now(),
        };
        stage.goes_on(text);
        stage
    }

    /// Says how far it is.
    pub(crate) fn goes_on(&self, text: impl Into<String>) {
        self.tell(text.into(), None);
    }

    /// Says what it came to.
    pub(crate) fn ends(self, text: impl Into<String>) {
        let took = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.tell(text.into(), Some(took));
    }

    fn tell(&self, text: String, took_us: Option<u64>) {
        (self.told)(ProgressMade {
            stage: self.name.to_owned(),
            text,
            took_us,
        });
    }
}
