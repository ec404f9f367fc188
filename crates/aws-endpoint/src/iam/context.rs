//! What is known about a request, by condition key.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// What is known of a request, by condition key.
///
/// Asked for what a policy asks for, and for nothing else: most ask for little, and what nobody asks for need not
/// be made ready.
pub trait Facts {
    /// The values of a key, whose name is in lower case, as policies keep them; `None` when it is absent.
    fn values_of(&self, key: &str) -> Option<Cow<'_, [String]>>;
}

/// One over the other: what the second knows counts where the first knows nothing.
pub(crate) struct Over<'a>(pub(crate) &'a dyn Facts, pub(crate) &'a dyn Facts);

impl Facts for Over<'_> {
    fn values_of(&self, key: &str) -> Option<Cow<'_, [String]>> {
        self.0.values_of(key).or_else(|| self.1.values_of(key))
    }
}

/// Condition keys and their values.
///
/// Key names are case-insensitive, as in IAM (`aws:SourceIp` is `AWS:sourceip`); values are not. A key
/// without any value counts as absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Context {
    values: BTreeMap<String, Vec<String>>,
}

impl Facts for Context {
    fn values_of(&self, key: &str) -> Option<Cow<'_, [String]>> {
        self.values.get(key).map(|values| Cow::Borrowed(&values[..]))
    }
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
            if !self.values.is_empty() {
                self.values.remove(&*folded(key));
            }
        } else {
            self.values.insert(folded(key).into_owned(), values);
        }
    }

    /// The values of `key`; `None` when it is absent.
    #[must_use]
    pub fn values(&self, key: &str) -> Option<&[String]> {
        self.values.get(&*folded(key)).map(Vec::as_slice)
    }
}

/// A key's name in lower case, as nearly all of them come.
pub(crate) fn folded(key: &str) -> Cow<'_, str> {
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
    fn what_is_known_of_a_call_lies_over_what_is_known_of_its_caller() {
        let caller = Context::from_iter([("aws:SourceIp", "10.0.0.1"), ("aws:ViaAWSService", "false")]);
        let call = Context::from_iter([("aws:ViaAWSService", "true")]);
        let both = Over(&call, &caller);
        let given = |key| both.values_of(key).map(|values| values.join(","));
        assert_eq!(given("aws:viaawsservice").as_deref(), Some("true"));
        assert_eq!(given("aws:sourceip").as_deref(), Some("10.0.0.1"));
        assert_eq!(given("aws:principalarn"), None);
    }

    #[test]
    fn no_values_is_absent() {
        let mut context = Context::new();
        context.set("aws:TagKeys", "a");
        context.set_all("AWS:tagkeys", Vec::<String>::new());
        assert_eq!(context, Context::new());
    }
}
