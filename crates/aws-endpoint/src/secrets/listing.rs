//! `ListSecrets`: filters, order and pages.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::body::Body;
use super::error::SecretsError;
use super::lifecycle::described;
use super::store::{Secret, SecretStore};
use super::{Call, Outcome};

/// `ListSecrets`.
pub(super) fn list(store: &mut SecretStore, call: &Call<'_>) -> Outcome {
    let filters = filters(call.body)?;
    let deleted = call.body.flag("IncludePlannedDeletion")?.unwrap_or(false);
    let order = Order::read(call.body)?;
    let mut listed: Vec<&Secret> = store
        .all(call.region)
        .filter(|secret| deleted || secret.deletion.is_none())
        .filter(|secret| filters.iter().all(|filter| filter.accepts(secret)))
        .collect();
    listed.sort_by_cached_key(|secret| order.place(secret));
    let (listed, more) = page(call.body, listed, |secret| order.place(secret))?;
    let listed: Vec<Value> = listed
        .into_iter()
        .map(|secret| described(secret, "SecretVersionsToStages"))
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
    mut items: Vec<T>,
    place: impl Fn(&T) -> [String; 2],
) -> Result<(Vec<T>, Option<String>), SecretsError> {
    let size = body.page_size()?;
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
    let filters = body.list("Filters")?.iter().enumerate();
    filters
        .map(|(index, filter)| Filter::read(index + 1, Body(filter)))
        .collect()
}

/// A filter, any of whose values has to match.
pub(super) struct Filter<'a> {
    key: Key,
    values: Vec<&'a str>,
}

#[derive(Clone, Copy)]
enum Key {
    Name,
    Description,
    TagKey,
    TagValue,
    /// Everything that belongs to AWS services or other regions: none of our secrets does.
    Elsewhere,
    All,
}

impl<'a> Filter<'a> {
    fn read(number: usize, body: Body<'a>) -> Result<Self, SecretsError> {
        let Some(name) = body.text("Key")? else {
            return Err(SecretsError::parameter("Invalid filter key"));
        };
        let key = match name {
            "name" => Key::Name,
            "description" => Key::Description,
            "tag-key" => Key::TagKey,
            "tag-value" => Key::TagValue,
            "primary-region" | "owning-service" => Key::Elsewhere,
            "all" => Key::All,
            other => {
                return Err(SecretsError::constraint(
                    Some(other),
                    &format!("filters.{number}.member.key"),
                    "Member must satisfy enum value set: [all, name, tag-key, description, tag-value]",
                ));
            }
        };
        let values = body.texts("Values")?;
        if values.is_empty() {
            return Err(SecretsError::parameter(format!(
                "Invalid filter values for key: {name}"
            )));
        }
        Ok(Self { key, values })
    }

    pub(super) fn accepts(&self, secret: &Secret) -> bool {
        let (unwanted, wanted): (Vec<&str>, Vec<&str>) =
            self.values.iter().partition(|value| value.starts_with('!'));
        let has = |value: &str| self.key.matches(secret, value);
        let refused = unwanted.iter().any(|value| has(value.trim_start_matches('!')));
        !refused && (wanted.is_empty() || wanted.into_iter().any(has))
    }
}

impl Key {
    fn matches(self, secret: &Secret, value: &str) -> bool {
        match self {
            Self::Name => secret.name.starts_with(value),
            Self::Description => has_words(secret.description.as_deref().unwrap_or_default(), value),
            Self::TagKey => secret.tags.iter().any(|(key, _)| key.starts_with(value)),
            Self::TagValue => secret.tags.iter().any(|(_, text)| text.starts_with(value)),
            Self::Elsewhere => false,
            Self::All => {
                let tags = secret.tags.iter().flat_map(|(key, value)| [key, value]);
                let texts = tags.chain([&secret.name]).chain(&secret.description);
                value
                    .split_whitespace()
                    .all(|word| texts.clone().any(|text| has_words(text, word)))
            }
        }
    }
}

/// Whether every word of `wanted` begins a word of `text`, whatever the case.
fn has_words(text: &str, wanted: &str) -> bool {
    let text = text.to_lowercase();
    let mut wanted = wanted.split_whitespace().map(str::to_lowercase);
    wanted.all(|word| {
        text.starts_with(&word)
            || text
                .split(|char: char| !char.is_alphanumeric())
                .any(|part| part.starts_with(&word))
    })
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
        let time = time.map_or(0, |time| time.as_microsecond());
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
