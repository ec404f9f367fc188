//! A page of help for each code.

use super::code::Code;

/// What the code means, why it matters and what to do, without the title.
#[must_use]
pub fn page(code: Code) -> &'static str {
    code.title()
}
