//! `ListSecrets`: filters, order and pages.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::body::Body;
use super::error::SecretsError;
use super::lifecycle::described;
use super::store::{Secret, SecretStore};
use super::{Call, Outcome};

/// Most items of one answer of the list operations, and how many there are by default.
pub(super) const PAGE: u16 = 100;

/// `ListSecrets`.
pub(super) fn list(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    let filters = filters(call.body)?;
    let deleted = call.body.flag("IncludePlannedDeletion")?.unwrap_or(false);
    let order = Order::read(call.body)?;
    let mut listed: Vec<&Secret> = store
        .all(call.region)
        .filter(|secret| deleted || secret.deletion.is_none())
        .filter(|secret| filters.iter().all(|filter| filter.accepts(secret, call.region)))
        .collect();
    listed.sort_by_cached_key(|secret| order.place(secret));
    let (listed, more) = page(call.body, PAGE, listed, |secret| order.place(secret))?;
    let listed: Vec<Value> = listed
        .into_iter()
        .map(|secret| described(secret, call.region, "SecretVersionsToStages"))
        .collect();
    let mut answer = json!({"SecretList": listed});
    page_token(&mut answer, more);
    Ok(answer)
}

/// The page of `items`, which are in the order of their `place`, that a call asks for, and the token of
/// the next one. A token names the last place of its page, so that no item is left out or listed twice
/// when others come and go.
pub(super) fn page<T>(
    body: Body<'_>,
    most: u16,
    mut items: Vec<T>,
    place: impl Fn(&T) -> [String; 2],
) -> Result<(Vec<T>, Option<String>), SecretsError> {
    let size = body.page_size("MaxResults", most)?;
    if let Some(token) = body.text_of("NextToken", 1, 4096)? {
        let last = read_token(token).ok_or_else(SecretsError::next_token)?;
        items.retain(|item| place(item) > last);
    }
    let more = items.len() > size;
    items.truncate(size);
    let token = items.last().filter(|_| more).map(|last| {
        let place = json!(place(last)).to_string();
        BASE64_URL_SAFE_NO_PAD.encode(place)
    });
    Ok((items, token))
}

/// Adds the token of the next page to an answer.
pub(super) fn page_token(answer: &mut Value, token: Option<String>) {
    if let Some(token) = token {
        answer["NextToken"] = Value::String(token);
    }
}

/// The filters of a call: all have to accept a secret.
pub(super) fn filters(body: Body<'_>) -> Result<Vec<Filter<'_>>, SecretsError> {
    let filters = body.list("Filters")?;
    check_count("filters", filters.len())?;
    let filters = filters.iter().enumerate();
    filters
        .map(|(index, filter)| Filter::read(index + 1, Body(filter)))
        .collect()
}

/// A filter, any of whose values has to match.
pub(super) struct Filter<'a> {
    attribute: Attribute,
    values: Vec<&'a str>,
}

#[derive(Clone, Copy)]
enum Attribute {
    Name,
    Description,
    TagKey,
    TagValue,
    PrimaryRegion,
    /// No AWS service has secrets here.
    OwningService,
    All,
}

impl<'a> Filter<'a> {
    fn read(number: usize, body: Body<'a>) -> Result<Self, SecretsError> {
        let Some(name) = body.text("Key")? else {
            return Err(SecretsError::parameter("Invalid filter key"));
        };
        let attribute = match name {
            "name" => Attribute::Name,
            "description" => Attribute::Description,
            "tag-key" => Attribute::TagKey,
            "tag-value" => Attribute::TagValue,
            "primary-region" => Attribute::PrimaryRegion,
            "owning-service" => Attribute::OwningService,
            "all" => Attribute::All,
            other => {
                return Err(SecretsError::constraint(
                    Some(other),
                    &format!("filters.{number}.member.key"),
                    "Member must satisfy enum value set: [all, name, tag-key, description, tag-value]",
                ));
            }
        };
        let values = body.texts("Values")?;
        check_count(&format!("filters.{number}.member.values"), values.len())?;
        if values.is_empty() {
            return Err(SecretsError::parameter(format!(
                "Invalid filter values for key: {name}"
            )));
        }
        Ok(Self { attribute, values })
    }

    /// Whether a secret of `region` is among those that are looked for.
    pub(super) fn accepts(&self, secret: &Secret, region: &str) -> bool {
        self.values.iter().any(|value| match value.strip_prefix('!') {
            Some(unwanted) => !self.attribute.matches(secret, region, unwanted),
            None => self.attribute.matches(secret, region, value),
        })
    }
}

impl Attribute {
    fn matches(self, secret: &Secret, region: &str, value: &str) -> bool {
        match self {
            Self::Name => secret.name.starts_with(value),
            Self::Description => has_words(secret.description.as_deref().unwrap_or_default(), value),
            Self::TagKey => secret.tags.iter().any(|(key, _)| key.starts_with(value)),
            Self::TagValue => secret.tags.iter().any(|(_, text)| text.starts_with(value)),
            Self::PrimaryRegion => secret
                .primary_region(region)
                .is_some_and(|primary| primary.starts_with(value)),
            Self::OwningService => false,
            Self::All => {
                let tags = secret.tags.iter().flat_map(|(key, value)| [key, value]);
                let mut texts = tags.chain([&secret.name]).chain(&secret.description);
                texts.any(|text| has_words(text, value))
            }
        }
    }
}

/// Refuses more filters, or more values of one, than there can be.
fn check_count(at: &str, count: usize) -> Result<(), SecretsError> {
    if count > 10 {
        let constraint = "Member must have length less than or equal to 10";
        return Err(SecretsError::constraint(None, at, constraint));
    }
    Ok(())
}

/// Whether every word of `wanted` begins a word of `text`, whatever the case.
fn has_words(text: &str, wanted: &str) -> bool {
    let (text, wanted) = (words(text), words(wanted));
    let begins = |wanted: &String| text.iter().any(|word| word.starts_with(wanted));
    !wanted.is_empty() && wanted.iter().all(begins)
}

/// The words that AWS finds in a text, in lower case: parted by white space, by one of `/-_+=.@` as long
/// as it is the only one of them, and before and after a capital with the small letters that follow it.
/// As verified against AWS by moto's tests: `prod/AppBeta` is `prod`, `app` and `beta`; `COMPANYthings` is
/// `compan` and `ythings`.
fn words(text: &str) -> Vec<String> {
    const PARTING: [char; 7] = ['/', '-', '_', '+', '=', '.', '@'];
    let mut words = Vec::new();
    for text in text.split_whitespace() {
        let mut parting = PARTING.into_iter().filter(|char| text.contains(*char));
        match (parting.next(), parting.next()) {
            (Some(char), None) => text.split(char).for_each(|part| by_capitals(part, &mut words)),
            (Some(_), Some(_)) => words.push(text.to_lowercase()),
            (None, _) => by_capitals(text, &mut words),
        }
    }
    words
}

fn by_capitals(text: &str, words: &mut Vec<String>) {
    let small = |char: &char| char.is_ascii_lowercase();
    let mut word = String::new();
    let mut finish = |word: &mut String| {
        if !word.is_empty() {
            words.push(std::mem::take(word).to_lowercase());
        }
    };
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        if small(&char) || !chars.peek().is_some_and(small) {
            word.push(char);
            continue;
        }
        finish(&mut word);
        word.push(char);
        while let Some(next) = chars.next_if(small) {
            word.push(next);
        }
        finish(&mut word);
    }
    finish(&mut word);
}

/// `SortBy` and `SortOrder`.
#[derive(Clone, Copy)]
struct Order {
    by: By,
    descending: bool,
}

#[derive(Clone, Copy)]
enum By {
    Created,
    Changed,
    Accessed,
    Name,
}

impl Order {
    fn read(body: Body<'_>) -> Result<Self, SecretsError> {
        let by = match body.text("SortBy")? {
            None | Some("created-date") => By::Created,
            Some("last-changed-date") => By::Changed,
            Some("last-accessed-date") => By::Accessed,
            Some("name") => By::Name,
            Some(other) => {
                return Err(SecretsError::constraint(
                    Some(other),
                    "sortBy",
                    "Member must satisfy enum value set: [created-date, last-accessed-date, last-changed-date, name]",
                ));
            }
        };
        let descending = match body.text("SortOrder")? {
            None | Some("asc") => false,
            Some("desc") => true,
            Some(other) => {
                return Err(SecretsError::constraint(
                    Some(other),
                    "sortOrder",
                    "Member must satisfy enum value set: [asc, desc]",
                ));
            }
        };
        Ok(Self { by, descending })
    }

    /// Where a secret is in the list: ascending texts, whatever the order.
    fn place(self, secret: &Secret) -> [String; 2] {
        let time = match self.by {
            By::Created => Some(secret.created),
            By::Changed => Some(secret.changed),
            By::Accessed => secret.accessed,
            By::Name => None,
        };
        let time = time.map_or(0, jiff::Timestamp::as_microsecond);
        if !self.descending {
            return [format!("{time:020}"), secret.name.clone()];
        }
        // Names are ASCII: their complement, closed by a byte above all, sorts the other way round.
        let reversed = secret.name.bytes().map(|byte| char::from(0x7f - (byte & 0x7f)));
        [
            format!("{:020}", i64::MAX - time),
            reversed.chain(['\u{80}']).collect(),
        ]
    }
}

fn read_token(token: &str) -> Option<[String; 2]> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_that_aws_finds() {
        for (text, expected) in [
            (
                "prod/AppBeta/d36e23",
                vec!["prod", "app", "beta", "d3", "6e", "23"],
            ),
            ("prod-AppBeta/x", vec!["prod-appbeta/x"]),
            ("uat/COMPANY", vec!["uat", "company"]),
            ("COMPANYthings", vec!["compan", "ythings"]),
            ("One two", vec!["one", "two"]),
            ("+", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }
}
