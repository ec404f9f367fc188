//! What is known about a request, by condition key.

use std::collections::BTreeMap;

/// The condition keys of one request and their values.
///
/// Key names are case-insensitive, as in IAM (`aws:SourceIp` is `AWS:sourceip`); values are not. A key
/// without any value counts as absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    values: BTreeMap<String, Vec<String>>,
}

impl Context {
    /// A context in which every key is absent.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives `key` one value, in place of those it had.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.set_all(key, [value]);
    }

    /// Gives `key` several values (such as `aws:TagKeys`, or the `aud` of a token), in place of those it had.
    pub fn set_all<V: Into<String>>(&mut self, key: &str, values: impl IntoIterator<Item = V>) {
        let values: Vec<String> = values.into_iter().map(Into::into).collect();
        if values.is_empty() {
            self.values.remove(&key.to_lowercase());
        } else {
            self.values.insert(key.to_lowercase(), values);
        }
    }

    /// Takes over every key of `other`, in place of the values it had here.
    pub fn extend(&mut self, other: Self) {
        self.values.extend(other.values);
    }

    /// The values of `key`; `None` when it is absent.
    #[must_use]
    pub fn values(&self, key: &str) -> Option<&[String]> {
        self.values_of_folded(&key.to_lowercase())
    }

    /// As [`Self::values`] for a key already in lower case, which policies keep their keys in.
    pub(super) fn values_of_folded(&self, key: &str) -> Option<&[String]> {
        self.values.get(key).map(Vec::as_slice)
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
    fn no_values_is_absent() {
        let mut context = Context::new();
        context.set("aws:TagKeys", "a");
        context.set_all("AWS:tagkeys", Vec::<String>::new());
        assert_eq!(context, Context::new());
    }
}
