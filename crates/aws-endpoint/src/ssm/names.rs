//! The names of parameters: what they may be, and the forms in which a caller can write one.

use super::error::SsmError;
use crate::wire::body::{Body, check_length};

/// A parameter as a caller names it: `name`, `name:3`, `name:label`, or the ARN with either.
#[derive(Clone, Copy)]
pub(super) struct Asked<'a> {
    /// As it stands in the request.
    pub(super) text: &'a str,
    /// Without ARN and selector.
    pub(super) name: &'a str,
    pub(super) selector: Option<Selector<'a>>,
    /// The ARN of another region or account.
    pub(super) elsewhere: bool,
}

/// Which version of a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Selector<'a> {
    Version(u64),
    Label(&'a str),
}

impl<'a> Asked<'a> {
    /// Reads a name of a parameter in `region` of `account`.
    pub(super) fn new(text: &'a str, region: &str, account: &str) -> Result<Self, SsmError> {
        check_length("name", text, 1, 2048)?;
        let (rest, elsewhere) = match text.splitn(6, ':').collect::<Vec<_>>()[..] {
            ["arn", _, "ssm", at, owner, resource] => match resource.strip_prefix("parameter") {
                // The ARN of `/a/b` has one slash for both; that of `a` has one that is none of its name's.
                Some(path) if path.starts_with('/') => (path, at != region || owner != account),
                _ => return Err(SsmError::bad_path_name()),
            },
            ["arn", ..] => return Err(SsmError::bad_path_name()),
            _ => (text, false),
        };
        let (name, selector) = match rest.split_once(':') {
            None => (rest, None),
            // Such as the ARN of something else.
            Some((_, selector)) if selector.contains(':') => return Err(SsmError::bad_path_name()),
            Some((name, selector)) => {
                let number = selector.parse().ok().map(Selector::Version);
                (name, Some(number.unwrap_or(Selector::Label(selector))))
            }
        };
        let inner = name.strip_prefix('/').unwrap_or(name);
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
        if inner.is_empty()
            || !inner.bytes().all(valid)
            || inner.starts_with('/')
            || inner.contains("//")
            || inner.ends_with('/')
        {
            return Err(SsmError::bad_path_name());
        }
        if inner.contains('/') && !name.starts_with('/') {
            return Err(SsmError::qualified_name());
        }
        Ok(Self {
            text,
            name,
            selector,
            elsewhere,
        })
    }

    /// `Name` of a call.
    pub(super) fn of(body: Body<'a>, region: &str, account: &str) -> Result<Self, SsmError> {
        Self::new(body.required("Name", 2048)?, region, account)
    }

    /// What the parameter is stored by.
    pub(super) fn key(&self) -> &'a str {
        self.name.trim_start_matches('/')
    }
}

/// Refuses what a new parameter cannot be called.
pub(super) fn check_new(asked: &Asked<'_>) -> Result<(), SsmError> {
    const LEVELS: usize = 15;
    // What is made is made here, under a name of its own.
    if asked.selector.is_some() || asked.elsewhere {
        return Err(SsmError::bad_path_name());
    }
    let inner = asked.key();
    let is_path = inner.contains('/');
    let starts = |prefix: &str| {
        inner
            .get(..3)
            .is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    match (is_path, starts("aws"), starts("ssm")) {
        (true, true, _) => return Err(SsmError::no_access_to_name(asked.name)),
        (true, _, true) => return Err(SsmError::bad_path_name()),
        (false, true, _) | (false, _, true) => return Err(SsmError::reserved_name()),
        _ => {}
    }
    if inner.split('/').count() > LEVELS {
        return Err(SsmError::too_deep());
    }
    Ok(())
}

/// Refuses what is no path.
pub(super) fn check_path(path: &str) -> Result<(), SsmError> {
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/".contains(&byte);
    if path.starts_with('/') && !path.contains("//") && path.bytes().all(valid) {
        Ok(())
    } else {
        Err(SsmError::bad_path())
    }
}

/// Whether a parameter stored by `key` is under `path`; right under it unless `recursive`.
pub(super) fn is_under(key: &str, path: &str, recursive: bool) -> bool {
    let path = path.trim_matches('/');
    let below = if path.is_empty() {
        Some(key)
    } else {
        key.strip_prefix(path).and_then(|rest| rest.strip_prefix('/'))
    };
    below.is_some_and(|rest| recursive || !rest.contains('/'))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    #[test]
    fn names_are_read_in_every_form() {
        let version = Some(Selector::Version(3));
        let label = Some(Selector::Label("live"));
        for (text, key, selector, elsewhere) in [
            ("a", "a", None, false),
            ("/a", "a", None, false),
            ("/a/b:3", "a/b", version, false),
            ("a:live", "a", label, false),
            ("arn:aws:ssm:r:1:parameter/a/b:3", "a/b", version, false),
            ("arn:aws:ssm:r:1:parameter/a", "a", None, false),
            ("arn:aws:ssm:other:1:parameter/a", "a", None, true),
            ("arn:aws:ssm:r:2:parameter/a", "a", None, true),
        ] {
            let asked = Asked::new(text, "r", "1").unwrap();
            let read = (asked.key(), asked.selector, asked.elsewhere);
            assert_eq!(read, (key, selector, elsewhere), "{text}");
        }
        for text in ["", "a/b", "/", "//a", "/a//b", "/a/", "a b", "arn:aws:s3:::a"] {
            assert!(Asked::new(text, "r", "1").is_err(), "{text}");
        }
    }

    #[test]
    fn paths_hold_what_is_under_them() {
        for (key, path, recursive, expected) in [
            ("a", "/", false, true),
            ("a/b", "/", false, false),
            ("a/b", "/", true, true),
            ("a/b", "/a", false, true),
            ("a/b", "/a/", false, true),
            ("a/b/c", "/a", false, false),
            ("a/b/c", "/a", true, true),
            ("ab/c", "/a", true, false),
            ("a", "/a", true, false),
        ] {
            assert_eq!(
                is_under(key, path, recursive),
                expected,
                "{key} {path} {recursive}"
            );
        }
    }
}
