//! PURE: what was seen on the client side, judged.
//!
//! Nothing in here waits, reads or asks; the engine hands over what it saw. A judgement is a
//! [`Judgement`]: the claim holds, it does not, or nobody can say.

pub mod denial;
pub mod files;
pub mod logs;

use crate::journal::{Fact, Failure};

/// What a claim came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Judgement {
    /// It holds.
    Holds(Finding),
    /// It does not.
    Broken(Failure),
    /// The observation itself is not usable: an infrastructure error, never a product failure.
    Unknown(Failure),
}

/// What was seen where a claim holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// In a few words, for the line of a case.
    pub brief: String,
    /// In one line, all of it.
    pub detail: String,
}

impl From<String> for Finding {
    fn from(detail: String) -> Self {
        Self {
            brief: detail.clone(),
            detail,
        }
    }
}

impl From<&str> for Finding {
    fn from(detail: &str) -> Self {
        Self::from(detail.to_owned())
    }
}

/// Builds a [`Failure`] fact by fact.
#[must_use]
pub fn failure(headline: impl Into<String>) -> Failure {
    Failure {
        headline: headline.into(),
        isolation: false,
        facts: Vec::new(),
    }
}

impl Failure {
    /// Adds a labelled line, unless it is empty.
    #[must_use]
    pub fn fact(mut self, label: &str, text: impl Into<String>) -> Self {
        let text = text.into();
        if !text.is_empty() {
            self.facts.push(Fact {
                label: label.to_owned(),
                text,
            });
        }
        self
    }

    /// Marks it as a breach of isolation.
    #[must_use]
    pub fn breach(mut self) -> Self {
        self.isolation = true;
        self
    }
}
