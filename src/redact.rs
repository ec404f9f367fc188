//! What hides secrets in text.
