//! What is known about a request, by condition key.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The condition keys of one request and their values.
///
/// Key names are case-insensitive, as in IAM (`aws:SourceIp` is `AWS:sourceip`); values are not. A key
/// without any value counts as absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    values: BTreeMap<String, Vec<String>>,
    /// What is known of more requests than this one. Its keys count where this has none of the name.
    beneath: Option<Arc<Self>>,
}

impl Context {
    /// A context in which every key is absent.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, over what `beneath` knows: its keys count that this has not.
    #[must_use]
    pub(crate) fn over(self, beneath: &Arc<Self>) -> Self {
        Self {
            beneath: Some(Arc::clone(beneath)),
            ..self
        }
    }

    /// Gives `key` one value, in place of those it had.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.set_all(key, [value]);
    }

    /// Gives `key` several values (such as `aws:TagKeys`, or the `aud` of a token), in place of those it had.
    pub fn set_all<V: Into<String>>(&mut self, key: &str, values: impl IntoIterator<Item = V>) {
        let values: Vec<String> = values.into_iter().map(Into::into).collect();
        if values.is_empty() {
            self.values.remove(&*folded(key));
        } else {
            self.values.insert(folded(key).into_owned(), values);
        }
    }

    /// The values of `key`; `None` when it is absent.
    #[must_use]
    pub fn values(&self, key: &str) -> Option<&[String]> {
        self.values_of_folded(&folded(key))
    }

    /// As [`Self::values`] for a key already in lower case, which policies keep their keys in.
    pub(super) fn values_of_folded(&self, key: &str) -> Option<&[String]> {
        match (self.values.get(key), &self.beneath) {
            (Some(values), _) => Some(values),
            (None, Some(beneath)) => beneath.values_of_folded(key),
            (None, None) => None,
        }
    }
}

/// A key's name in lower case, as nearly all of them come.
fn folded(key: &str) -> Cow<'_, str> {
    let lower = |byte: u8| byte.is_ascii() && !byte.is_ascii_uppercase();
    if key.bytes().all(lower) {
        Cow::Borrowed(key)
    } else {
        Cow::Owned(key.to_lowercase())
    }
}

impl<K: AsRef<str>, V: Into<String>> FromIterator<(K, V)> for Context {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut context = Self::new();
        for (key, value) in pairs {
            context
                .values
                .entry(key.as_ref().to_lowercase())
                .or_default()
                .push(value.into());
        }
        context
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_fold_case_and_values_do_not() {
        let context = Context::from_iter([
            ("aws:SourceIp", "10.0.0.1"),
            ("AWS:TagKeys", "A"),
            ("aws:tagkeys", "b"),
        ]);
        assert_eq!(
            context.values("AWS:SOURCEIP"),
            Some(["10.0.0.1".to_owned()].as_slice())
        );
        assert_eq!(
            context.values("aws:TagKeys"),
            Some(["A".to_owned(), "b".to_owned()].as_slice())
        );
        assert_eq!(context.values("aws:PrincipalArn"), None);
    }

    #[test]
    fn what_a_request_knows_lies_over_what_is_known_of_its_caller() {
        let caller = Context::from_iter([("aws:SourceIp", "10.0.0.1"), ("aws:ViaAWSService", "false")]);
        let request = Context::from_iter([("aws:ViaAWSService", "true")]).over(&Arc::new(caller));
        let given = |key| request.values(key).map(|values| values.join(","));
        assert_eq!(given("aws:viaawsservice").as_deref(), Some("true"));
        assert_eq!(given("AWS:SourceIp").as_deref(), Some("10.0.0.1"));
        assert_eq!(given("aws:PrincipalArn"), None);
    }

    #[test]
    fn no_values_is_absent() {
        let mut context = Context::new();
        context.set("aws:TagKeys", "a");
        context.set_all("AWS:tagkeys", Vec::<String>::new());
        assert_eq!(context, Context::new());
    }
}
