//! AWS Systems Manager Parameter Store, without HTTP: a JSON body in, a JSON body or an error out.
//!
//! Imitated: the Systems Manager API reference, version 2014-11-06, and texts of public reports. Every name of a call
//! has to be allowed on its own, on `arn:aws:ssm:<region>:<account>:parameter/<name>` without a doubled slash. To
//! decrypt a `SecureString` its key has to allow it too; a denial by the key is repeated in the words of KMS, as in a
//! report of 2025 (those of 2018 have "The ciphertext refers to a customer master key that does not exist, ..").
//!
//! Left out: everything of Systems Manager but parameters, parameter policies (kept and shown, never acted upon),
//! parameters of other accounts, references to secrets (`/aws/reference/secretsmanager/..`), and the check that an
//! `aws:ec2:image` is one.
//!
//! Unverified against AWS, as no recording of it was found: that a selector is not part of the ARN that a call is
//! authorised on, the text about a label that is not there, the text about more than 8,192 characters in the advanced
//! tier, that the denial of `kms:Encrypt` to `PutParameter` reads as that of `kms:Decrypt`, and the texts of `HierarchyLevelLimitExceededException`,
//! `InvalidAllowedPatternException`, `InvalidResourceType` and `InvalidResourceId`.

mod describing;
mod elsewhere;
mod error;
mod names;
mod reading;
mod store;
mod tags;
mod writing;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub(crate) use elsewhere::{
    Named, ParameterElsewhere, VersionElsewhere, check_key, decryption, decrypts, is_asked_by_path, named,
    veiled,
};
pub use error::SsmError;
pub use store::ParameterStore;

use self::names::Asked;
use self::store::{Kind, Parameter, Version};
use crate::authorisation::{Authorisation, Refused};
use crate::kms::usage::Via;
use crate::kms::{DefaultKeys, KmsStore};
use crate::operation::{self, Operation, Store};
use crate::wire::body::{Body, Malformed};

/// What `operation` has to be allowed, before it is carried out and whether or not the parameters exist.
///
/// # Errors
/// `UnknownOperationException`, and those for a call that does not say what it is about: AWS checks
/// parameters first.
pub fn authorisation(
    store: &ParameterStore,
    kms: &KmsStore,
    default_keys: DefaultKeys,
    region: &str,
    operation: &str,
    body: &Value,
) -> Result<Authorisation, SsmError> {
    let known = find(operation)?;
    let body = Body(body);
    let action = format!("ssm:{operation}");
    let on = |asked: &Asked<'_>| on_parameter(store, region, &action, asked);
    let mut wanted = match known.target {
        Target::Name => on(&Asked::of(body, region, store.account())?),
        Target::Names => {
            let asked = names(store, region, body)?;
            let mut each = asked.iter().map(on);
            let mut wanted = each.next().ok_or_else(|| crate::wire::body::missing("Names"))?;
            each.for_each(|other| wanted.further(other));
            wanted
        }
        Target::Path => {
            let path = body.required("Path", 2048)?;
            names::check_path(path)?;
            let mut wanted = Authorisation::new(action.clone(), store.arn(region, path));
            let recursive = body.flag("Recursive")?.unwrap_or(false);
            wanted.keys.set("ssm:Recursive", recursive.to_string());
            wanted
        }
        Target::Tagged => {
            let id = body.required("ResourceId", 2048)?;
            match body.required("ResourceType", 2048)? {
                "Parameter" => on(&tags::asked(id, region, store.account())?),
                _ => Authorisation::new(action.clone(), "*".to_owned()),
            }
        }
        Target::Nothing => {
            let all = format!("arn:aws:ssm:{region}:{}:*", store.account());
            Authorisation::new(action.clone(), all)
        }
    };
    request_keys(&mut wanted, operation, body)?;
    add_key_uses(&mut wanted, store, kms, default_keys, region, operation, body)?;
    Ok(wanted)
}

/// Carries out one operation at the time `now` for `user`, an ARN.
///
/// # Errors
/// As AWS; an operation that this service does not have is `UnknownOperationException`.
pub fn execute(
    store: &mut ParameterStore,
    kms: &KmsStore,
    region: &str,
    operation: &str,
    body: &Value,
    now: Timestamp,
    user: &str,
) -> Result<Value, SsmError> {
    find(operation)?.execute(store, &Call::new(kms, region, body, now, user))
}

/// As [`execute`], for one of those that [`only_reads`].
pub(crate) fn read(
    store: &ParameterStore,
    kms: &KmsStore,
    region: &str,
    operation: &str,
    body: &Value,
    now: Timestamp,
    user: &str,
) -> Result<Value, SsmError> {
    find(operation)?.read(store, &Call::new(kms, region, body, now, user))
}

/// Whether an operation changes nothing, so that many may be carried out at a time.
pub(crate) fn only_reads(operation: &str) -> bool {
    find(operation).is_ok_and(Operation::only_reads)
}

/// The operations there are.
pub fn operations() -> impl Iterator<Item = &'static str> {
    OPERATIONS.iter().map(|known| known.name)
}

/// A call, without the state it is about.
pub(crate) struct Call<'a> {
    kms: &'a KmsStore,
    region: &'a str,
    body: Body<'a>,
    now: Timestamp,
    user: &'a str,
}

impl<'a> Call<'a> {
    fn new(kms: &'a KmsStore, region: &'a str, body: &'a Value, now: Timestamp, user: &'a str) -> Self {
        Self {
            kms,
            region,
            body: Body(body),
            now,
            user,
        }
    }
}

type Outcome = Result<Value, SsmError>;

impl Store for ParameterStore {
    type Call<'a> = Call<'a>;
    type Target = Target;
    type Error = SsmError;
}

/// What an operation is about, which is what it is authorised on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    Name,
    Names,
    Path,
    Tagged,
    Nothing,
}

const OPERATIONS: &[Operation<ParameterStore>] = &{
    type Known = Operation<ParameterStore>;
    use Target::{Name, Names, Nothing, Path, Tagged};

    [
        // First those that are called most.
        Known::reading("GetParameters", Names, reading::parameters),
        Known::reading("GetParameter", Name, reading::parameter),
        Known::reading("GetParametersByPath", Path, reading::by_path),
        Known::reading("GetParameterHistory", Name, reading::history),
        Known::reading("DescribeParameters", Nothing, describing::describe),
        Known::changing("PutParameter", Name, writing::put),
        Known::changing("DeleteParameter", Name, writing::delete),
        Known::changing("DeleteParameters", Names, writing::delete_all),
        Known::changing("LabelParameterVersion", Name, writing::label),
        Known::changing("UnlabelParameterVersion", Name, writing::unlabel),
        Known::changing("AddTagsToResource", Tagged, tags::add),
        Known::changing("RemoveTagsFromResource", Tagged, tags::remove),
        Known::reading("ListTagsForResource", Tagged, tags::list),
    ]
};

fn find(operation: &str) -> Result<&'static Operation<ParameterStore>, SsmError> {
    operation::find(OPERATIONS, operation)
}

/// `Names` of a call: one to ten.
fn names<'a>(store: &ParameterStore, region: &str, body: Body<'a>) -> Result<Vec<Asked<'a>>, SsmError> {
    const MOST: usize = 10;
    let names = body.texts("Names")?;
    let refused = |constraint: &str| {
        let value = format!("[{}]", names.join(", "));
        Err(Malformed::constraint(Some(&value), "names", constraint).into())
    };
    match names.len() {
        0 if body.value("Names").is_none() => Err(crate::wire::body::missing("Names").into()),
        0 => refused("Member must have length greater than or equal to 1"),
        1..=MOST => names
            .into_iter()
            .map(|name| Asked::new(name, region, store.account()))
            .collect(),
        _ => refused("Member must have length less than or equal to 10"),
    }
}

fn on_parameter(store: &ParameterStore, region: &str, action: &str, asked: &Asked<'_>) -> Authorisation {
    let resource = if asked.elsewhere {
        asked.text.to_owned()
    } else {
        store.arn(region, asked.name)
    };
    let mut wanted = Authorisation::new(action.to_owned(), resource);
    let parameter = store.find(region, asked);
    for (key, value) in parameter.into_iter().flat_map(|parameter| &parameter.tags) {
        wanted.keys.set(&format!("aws:ResourceTag/{key}"), value.as_str());
        wanted.keys.set(&format!("ssm:resourceTag/{key}"), value.as_str());
    }
    wanted
}

/// The condition keys that the request itself gives.
fn request_keys(wanted: &mut Authorisation, operation: &str, body: Body<'_>) -> Result<(), SsmError> {
    let keys = &mut wanted.keys;
    if operation == "PutParameter" {
        let overwrite = body.flag("Overwrite")?.unwrap_or(false);
        keys.set("ssm:Overwrite", overwrite.to_string());
        if let Some(policies) = body.text("Policies")? {
            keys.set("ssm:Policies", policies);
        }
    }
    let given = tags::given(body)?;
    keys.set_all("aws:TagKeys", given.iter().map(|(key, _)| *key));
    for (key, value) in given {
        keys.set(&format!("aws:RequestTag/{key}"), value);
    }
    let removed = body.texts("TagKeys")?;
    if !removed.is_empty() {
        keys.set_all("aws:TagKeys", removed);
    }
    Ok(())
}

/// Adds to `wanted` what `operation` has to be allowed with the keys of the parameters that it decrypts or
/// encrypts.
fn add_key_uses(
    wanted: &mut Authorisation,
    store: &ParameterStore,
    kms: &KmsStore,
    default_keys: DefaultKeys,
    region: &str,
    operation: &str,
    body: Body<'_>,
) -> Result<(), SsmError> {
    let decrypt = body.flag("WithDecryption")?.unwrap_or(false);
    let account = store.account();
    // The key of an ARN, or else the default one.
    let mut add = |arn: &str, key: Option<&str>, action: &str| {
        let context = [("PARAMETER_ARN", arn)];
        if let Some(needed) = kms.use_of(via(region), key, default_keys, action, &context) {
            wanted.further_or(needed, Refused::InTheWordsOfKms);
        }
    };
    let mut read = |parameter: &Parameter, version: &Version| {
        if version.kind == Kind::SecureString {
            add(&parameter.arn, version.key.as_deref(), "Decrypt");
        }
    };
    match operation {
        "GetParameter" if decrypt => {
            let asked = Asked::of(body, region, account)?;
            if let Some(parameter) = store.find(region, &asked)
                && let Ok(version) = parameter.select(asked.selector)
            {
                read(parameter, version);
            }
        }
        "GetParameters" if decrypt => {
            for asked in names(store, region, body)? {
                if let Some(parameter) = store.find(region, &asked)
                    && let Ok(version) = parameter.select(asked.selector)
                {
                    read(parameter, version);
                }
            }
        }
        "GetParametersByPath" if decrypt => {
            for (parameter, version) in reading::page_by_path(store, region, body)?.0 {
                read(parameter, version);
            }
        }
        "GetParameterHistory" if decrypt => {
            if let Some(parameter) = store.find(region, &Asked::of(body, region, account)?) {
                for version in &parameter.versions {
                    read(parameter, version);
                }
            }
        }
        "PutParameter" => {
            let asked = Asked::of(body, region, account)?;
            let before = store.find(region, &asked).map(Parameter::latest);
            let kind = body
                .text("Type")?
                .map(Kind::of)
                .or_else(|| before.map(|before| before.kind));
            let named = match body.text("KeyId")? {
                Some(key) => kms.named(via(region), key),
                None => Ok(before.and_then(|before| before.key.clone())),
            };
            let action = match body.text("Tier")? {
                Some("Advanced") => "GenerateDataKey",
                _ => "Encrypt",
            };
            // A key that there is not is refused when the call is carried out.
            if kind == Some(Kind::SecureString)
                && let Ok(key) = named
            {
                add(&store.arn(region, asked.name), key.as_deref(), action);
            }
        }
        _ => {}
    }
    Ok(())
}

fn via(region: &str) -> Via<'_> {
    Via {
        service: "ssm",
        region,
    }
}

/// One page of items in the order of their places, and the token of the next; a token names the last place of its
/// page, so that no item is left out or listed twice when others come and go.
fn page<T>(
    body: Body<'_>,
    most: u16,
    items: impl Iterator<Item = T>,
    place: impl Fn(&T) -> String,
) -> Result<(Vec<T>, Option<String>), SsmError> {
    let size = body.page_size("MaxResults", most)?;
    let after = match body.text("NextToken")?.filter(|token| !token.is_empty()) {
        None => None,
        Some(token) => {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(token).ok();
            let place = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
            Some(place.ok_or_else(SsmError::next_token)?)
        }
    };
    let mut items: Vec<T> = items
        .filter(|item| after.as_ref().is_none_or(|after| place(item) > *after))
        .take(size + 1)
        .collect();
    let more = items.len() > size;
    items.truncate(size);
    let last = items.last().filter(|_| more);
    let token = last.map(|last| BASE64_URL_SAFE_NO_PAD.encode(place(last)));
    Ok((items, token))
}

/// Adds the token of the next page to an answer.
fn page_token(answer: &mut Value, token: Option<String>) {
    if let Some(token) = token {
        answer["NextToken"] = Value::String(token);
    }
}

/// A time as awsJson writes it: seconds, with milliseconds behind the point.
fn time(time: Timestamp) -> Value {
    json!(SignedDuration::from_millis(time.as_millisecond()).as_secs_f64())
}

#[cfg(test)]
mod tests;
