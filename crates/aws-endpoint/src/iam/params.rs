//! The parameters of an awsQuery call and their constraints.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;

use super::error::{IamError, IamErrorKind};
use super::store::Tag;

type Checked<T> = Result<T, IamError>;

/// The decoded form of a call, such as `RoleName=x` and `Tags.member.1.Key=y`.
#[derive(Debug, Clone, Default)]
pub struct Params {
    /// Names and values, one behind the other: two requests for memory, however many there are.
    text: String,
    /// In the order of their names, each of which is there once.
    fields: Vec<Field>,
}

/// Where a name and its value, which follows it, stand in the text.
#[derive(Debug, Clone, Copy)]
struct Field {
    name: usize,
    value: usize,
    end: usize,
}

impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, V)> for Params {
    /// Of a name that comes several times the last value counts.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(pairs: I) -> Self {
        let mut params = Self::default();
        for (key, value) in pairs {
            params.push(key.as_ref(), value.as_ref());
        }
        params.sorted()
    }
}

impl Params {
    /// The fields of a form: the body of an awsQuery call. Bytes that are no UTF-8 are replaced.
    #[must_use]
    pub fn of_form(form: &[u8]) -> Self {
        let mut params = Self {
            text: String::with_capacity(form.len()),
            fields: Vec::with_capacity(8),
        };
        for (name, value) in form_urlencoded::parse(form) {
            params.push(&name, &value);
        }
        params.sorted()
    }

    /// The parameters of an awsQuery call: its form, or its query where there is no body, as in a presigned URL.
    #[must_use]
    pub fn of_request(query: Option<&str>, body: &[u8]) -> Self {
        match (query, body) {
            (Some(query), []) => Self::of_form(query.as_bytes()),
            _ => Self::of_form(body),
        }
    }

    /// The value of a parameter, if it was sent.
    #[must_use]
    pub fn optional(&self, name: &str) -> Option<&str> {
        let found = self
            .fields
            .binary_search_by(|field| self.name_of(*field).cmp(name));
        found.ok().map(|at| self.value(self.fields[at]))
    }

    /// The value of a parameter.
    ///
    /// # Errors
    /// `ValidationError` when it was not sent.
    pub fn required(&self, name: &str) -> Checked<&str> {
        self.optional(name)
            .ok_or_else(|| IamError::constraint(&field(name), None, "Member must not be null"))
    }

    /// The values of `<name>.member.<n>` in the order of n.
    #[must_use]
    pub fn list(&self, name: &str) -> Vec<&str> {
        self.members(name, "").into_values().collect()
    }

    /// `Tags.member.<n>.Key` and `.Value`, checked.
    pub(crate) fn tags(&self) -> Checked<Vec<Tag>> {
        let keys = self.members("Tags", ".Key");
        let values = self.members("Tags", ".Value");
        if values.keys().any(|number| !keys.contains_key(number)) {
            return Err(IamError::constraint(
                "tags.1.member.key",
                None,
                "Member must not be null",
            ));
        }
        let mut tags: Vec<Tag> = Vec::new();
        for (number, key) in keys {
            let at = |part: &str| format!("tags.{number}.member.{part}");
            let value = values.get(&number).copied();
            let value =
                value.ok_or_else(|| IamError::constraint(&at("value"), None, "Member must not be null"))?;
            check_length(&at("key"), key, 1, 128)?;
            check_length(&at("value"), value, 0, 256)?;
            for (part, text) in [("key", key), ("value", value)] {
                if !text.chars().all(is_tag_character) {
                    return Err(pattern(&at(part), text, r"[\p{L}\p{Z}\p{N}_.:/=+\-@]+"));
                }
            }
            if key.to_lowercase().starts_with("aws:") {
                return Err(invalid("Tag keys that begin with aws: are reserved for AWS."));
            }
            if tags.iter().any(|tag| tag.has_key(key)) {
                return Err(invalid(
                    "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
                ));
            }
            tags.push(Tag {
                key: key.to_owned(),
                value: value.to_owned(),
            });
        }
        Ok(tags)
    }

    /// `TagKeys`, checked as the model of the API has it.
    pub(super) fn tag_keys(&self) -> Checked<Vec<&str>> {
        const MOST: usize = 50;
        let keys = self.list("TagKeys");
        if keys.len() > MOST {
            let value = format!("[{}]", keys.join(", "));
            let constraint = format!("Member must have length less than or equal to {MOST}");
            return Err(IamError::constraint("tagKeys", Some(&value), &constraint));
        }
        for key in &keys {
            check_length("tagKeys", key, 1, 128)?;
        }
        Ok(keys)
    }

    /// A name of a role or a policy.
    pub(super) fn name(&self, parameter: &str, longest: usize) -> Checked<&str> {
        let name = self.required(parameter)?;
        check_length(&field(parameter), name, 1, longest)?;
        let allowed = |char: char| char.is_ascii_alphanumeric() || "_+=,.@-".contains(char);
        if name.chars().all(allowed) {
            Ok(name)
        } else {
            Err(pattern(&field(parameter), name, r"[\w+=,.@-]+"))
        }
    }

    /// A path, `/` when none was sent.
    pub(super) fn path(&self) -> Checked<&str> {
        let path = self.optional("Path").unwrap_or("/");
        check_length("path", path, 1, 512)?;
        let ends = path.starts_with('/') && path.ends_with('/');
        if !ends || !path.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) || path.contains("//") {
            return Err(IamError::new(
                IamErrorKind::ValidationError,
                "The specified value for path is invalid. It must begin and end with / and contain only \
                 alphanumeric characters and/or / characters.",
            ));
        }
        Ok(path)
    }

    /// A path's beginning to list by, `/` when none was sent.
    pub(super) fn path_prefix(&self) -> Checked<&str> {
        let prefix = self.optional("PathPrefix").unwrap_or("/");
        check_length("pathPrefix", prefix, 1, 512)?;
        if prefix.starts_with('/') {
            Ok(prefix)
        } else {
            Err(pattern("pathPrefix", prefix, r"\u002F[\u0021-\u007F]*"))
        }
    }

    /// A description, which may be anything but long.
    pub(super) fn description(&self) -> Checked<Option<&str>> {
        let description = self.optional("Description");
        if let Some(text) = description {
            check_length("description", text, 0, 1000)?;
        }
        Ok(description)
    }

    /// A whole number within a range, both ends included.
    pub(super) fn number(&self, parameter: &str, least: u32, greatest: u32) -> Checked<Option<u32>> {
        let Some(text) = self.optional(parameter) else {
            return Ok(None);
        };
        let broken =
            |constraint: String| Err(IamError::constraint(&field(parameter), Some(text), &constraint));
        match text.parse::<i64>() {
            Err(_) => broken("Member must be a number".to_owned()),
            Ok(number) if number < i64::from(least) => {
                broken(format!("Member must have value greater than or equal to {least}"))
            }
            Ok(number) if number > i64::from(greatest) => {
                broken(format!("Member must have value less than or equal to {greatest}"))
            }
            Ok(number) => Ok(u32::try_from(number).ok()),
        }
    }

    /// `true` or `false`; absent is `false`.
    pub(super) fn flag(&self, parameter: &str) -> bool {
        self.optional(parameter)
            .is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    /// The part of `items` that `Marker` and `MaxItems` ask for; `items` are in the order of `key`.
    pub(super) fn page<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        key: impl Fn(&T) -> String,
    ) -> Checked<Page<T>> {
        let most = self.number("MaxItems", 1, 1000)?.unwrap_or(100) as usize;
        let after = match self.optional("Marker") {
            None => None,
            Some(marker) => {
                let decoded = BASE64
                    .decode(marker)
                    .ok()
                    .and_then(|bytes| String::from_utf8(bytes).ok());
                Some(decoded.ok_or_else(|| IamError::new(IamErrorKind::ValidationError, "Invalid Marker."))?)
            }
        };
        let mut rest = items
            .into_iter()
            .filter(|item| after.as_ref().is_none_or(|after| key(item) > *after));
        let items: Vec<T> = rest.by_ref().take(most).collect();
        let more = rest.next().is_some();
        let marker = items.last().filter(|_| more).map(|last| BASE64.encode(key(last)));
        Ok(Page { items, marker })
    }

    /// Values of `<name>.member.<n><suffix>` by n.
    fn members(&self, name: &str, suffix: &str) -> BTreeMap<u32, &str> {
        let prefix = format!("{name}.member.");
        let numbered = self.fields.iter().filter_map(|field| {
            let number = self.name_of(*field).strip_prefix(&prefix)?.strip_suffix(suffix)?;
            Some((number.parse().ok()?, self.value(*field)))
        });
        numbered.collect()
    }

    fn push(&mut self, name: &str, value: &str) {
        let at = self.text.len();
        self.text.push_str(name);
        self.text.push_str(value);
        self.fields.push(Field {
            name: at,
            value: at + name.len(),
            end: self.text.len(),
        });
    }

    /// Brings the fields into the order that they are found by; of equal names the last stays.
    fn sorted(mut self) -> Self {
        let Self { text, fields } = &mut self;
        let name = |field: &Field| &text[field.name..field.value];
        // Stable: equal names stay in the order in which they came.
        fields.sort_by(|one, other| name(one).cmp(name(other)));
        fields.dedup_by(|later, earlier| {
            let same = name(later) == name(earlier);
            if same {
                *earlier = *later;
            }
            same
        });
        self
    }

    fn name_of(&self, field: Field) -> &str {
        &self.text[field.name..field.value]
    }

    fn value(&self, field: Field) -> &str {
        &self.text[field.value..field.end]
    }
}

/// A part of a list.
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    /// Where the next part begins; `None` when this is the last.
    pub(super) marker: Option<String>,
}

/// How AWS's messages call a parameter: `roleName` for `RoleName`.
pub(super) fn field(parameter: &str) -> String {
    let mut chars = parameter.chars();
    chars
        .next()
        .map(|first| first.to_ascii_lowercase())
        .into_iter()
        .chain(chars)
        .collect()
}

pub(super) fn check_length(field: &str, value: &str, least: usize, greatest: usize) -> Checked<()> {
    let length = value.chars().count();
    let broken = |constraint: String| Err(IamError::constraint(field, Some(value), &constraint));
    if length < least {
        broken(format!(
            "Member must have length greater than or equal to {least}"
        ))
    } else if length > greatest {
        broken(format!(
            "Member must have length less than or equal to {greatest}"
        ))
    } else {
        Ok(())
    }
}

pub(super) fn pattern(field: &str, value: &str, pattern: &str) -> IamError {
    let constraint = format!("Member must satisfy regular expression pattern: {pattern}");
    IamError::constraint(field, Some(value), &constraint)
}

pub(super) fn invalid(message: impl Into<String>) -> IamError {
    IamError::new(IamErrorKind::InvalidInput, message)
}

fn is_tag_character(char: char) -> bool {
    char.is_alphanumeric() || char == ' ' || "_.:/=+-@".contains(char)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    #[test]
    fn a_form_is_decoded_and_of_a_name_that_comes_twice_the_last_value_counts() {
        let params = Params::of_form(b"b=1&a=x%3Ay+z&b=2&empty&=nameless&%C3%A4=%FF&b=3");
        let found = ["a", "b", "empty", "", "ä", "c"].map(|name| params.optional(name));
        assert_eq!(
            found,
            [
                Some("x:y z"),
                Some("3"),
                Some(""),
                Some("nameless"),
                Some("\u{fffd}"),
                None
            ]
        );
        assert_eq!(Params::of_form(b"").optional(""), None);
    }

    #[test]
    fn lists_are_in_numeric_order() {
        let params: Params = (1..=11)
            .map(|n| (format!("TagKeys.member.{n}"), n.to_string()))
            .collect();
        let expected: Vec<String> = (1..=11).map(|n| n.to_string()).collect();
        assert_eq!(params.list("TagKeys"), expected);
        assert_eq!(params.list("Tags"), Vec::<&str>::new());
    }

    #[test]
    fn constraints_are_told_in_aws_words() {
        let long = "x".repeat(65);
        for (name, expected) in [
            (None, "Value null at 'roleName' failed to satisfy constraint: Member must not be null".to_owned()),
            (Some("a b"), r"Value 'a b' at 'roleName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\w+=,.@-]+".to_owned()),
            (Some(""), "Value '' at 'roleName' failed to satisfy constraint: Member must have length greater than or equal to 1".to_owned()),
            (Some(&long), format!("Value '{long}' at 'roleName' failed to satisfy constraint: Member must have length less than or equal to 64")),
        ] {
            let params: Params = name.map(|name| ("RoleName", name)).into_iter().collect();
            let error = params.name("RoleName", 64).unwrap_err();
            assert_eq!(error.message, format!("1 validation error detected: {expected}"));
            assert_eq!((error.code(), error.status()), ("ValidationError", 400));
        }
    }

    #[test]
    fn tags_are_checked() {
        let tags = |pairs: &[(&str, &str)]| pairs.iter().copied().collect::<Params>().tags();
        let one = tags(&[("Tags.member.1.Key", "team"), ("Tags.member.1.Value", "")]).unwrap();
        assert_eq!(
            one,
            [Tag {
                key: "team".to_owned(),
                value: String::new()
            }]
        );
        for pairs in [
            &[("Tags.member.1.Key", "team")][..],
            &[("Tags.member.1.Value", "red")],
            &[("Tags.member.1.Key", ""), ("Tags.member.1.Value", "red")],
            &[("Tags.member.1.Key", "a*"), ("Tags.member.1.Value", "red")],
            &[("Tags.member.1.Key", "aws:x"), ("Tags.member.1.Value", "red")],
            &[
                ("Tags.member.1.Key", "team"),
                ("Tags.member.1.Value", "red"),
                ("Tags.member.2.Key", "Team"),
                ("Tags.member.2.Value", "blue"),
            ],
        ] {
            assert!(tags(pairs).is_err(), "{pairs:?}");
        }
    }

    #[test]
    fn keys_of_tags_are_counted_and_measured() {
        let keys = |keys: &[&str]| -> Params {
            let numbered = keys.iter().enumerate();
            numbered
                .map(|(n, key)| (format!("TagKeys.member.{}", n + 1), *key))
                .collect()
        };
        assert_eq!(keys(&["k"; 50]).tag_keys().unwrap().len(), 50);
        let error = keys(&["k"; 51]).tag_keys().unwrap_err();
        assert_eq!(error.code(), "ValidationError");
        assert!(
            error
                .message
                .ends_with(", k]' at 'tagKeys' failed to satisfy constraint: Member must have length less than or equal to 50"),
            "{error}"
        );
        assert!(keys(&[&"k".repeat(129)]).tag_keys().is_err());
        assert!(keys(&[""]).tag_keys().is_err());
    }

    #[test]
    fn pages_cover_a_list_that_changes_between_them() {
        let first: Params = [("MaxItems", "2")].into_iter().collect();
        let page = first
            .page(["a", "b", "c", "d"], |item| (*item).to_owned())
            .unwrap();
        assert_eq!(page.items, ["a", "b"]);
        let marker = page.marker.unwrap();
        let next: Params = [("MaxItems", "2"), ("Marker", &marker)].into_iter().collect();
        let page = next.page(["a", "c", "d"], |item| (*item).to_owned()).unwrap();
        assert_eq!(page.items, ["c", "d"]);
        assert_eq!(page.marker, None);
        for (name, value) in [
            ("MaxItems", "0"),
            ("MaxItems", "1001"),
            ("MaxItems", "x"),
            ("Marker", "%"),
        ] {
            let params: Params = [(name, value)].into_iter().collect();
            assert!(
                params.page(["a"], |item| (*item).to_owned()).is_err(),
                "{name}={value}"
            );
        }
    }
}
