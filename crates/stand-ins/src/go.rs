//! The words that Go puts around errors of the operating system. Pure.

use std::io;

/// The error alone: `directory not empty`, where Rust says `Directory not empty (os error 39)`.
pub(crate) fn io_text(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_read_as_go_writes_them() {
        for (number, text) in [
            (39, "directory not empty"),
            (16, "device or resource busy"),
            (36, "file name too long"),
            (2, "no such file or directory"),
        ] {
            assert_eq!(io_text(&io::Error::from_raw_os_error(number)), text);
        }
    }
}
