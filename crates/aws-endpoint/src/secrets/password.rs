//! `GetRandomPassword`.

use rand::RngExt as _;
use rand::seq::SliceRandom as _;
use serde_json::json;

use super::error::SecretsError;
use super::store::SecretStore;
use super::{Call, Outcome};

const LOWERCASE: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPERCASE: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const NUMBERS: &str = "0123456789";
const PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

/// `GetRandomPassword`.
pub(super) fn random(_: &mut SecretStore, call: &Call<'_>) -> Outcome {
    let body = call.body;
    let length = length(call)?;
    let excluded = body.text_of("ExcludeCharacters", 0, 4096)?.unwrap_or_default();
    let left_out = |parameter: &str| body.flag(parameter).map(Option::unwrap_or_default);
    let mut types = Vec::new();
    for (type_, left_out) in [
        (LOWERCASE, left_out("ExcludeLowercase")?),
        (UPPERCASE, left_out("ExcludeUppercase")?),
        (NUMBERS, left_out("ExcludeNumbers")?),
        (PUNCTUATION, left_out("ExcludePunctuation")?),
        (" ", !left_out("IncludeSpace")?),
    ] {
        let characters: Vec<char> = type_.chars().filter(|char| !excluded.contains(*char)).collect();
        if !left_out && !characters.is_empty() {
            types.push(characters);
        }
    }
    let all = types.concat();
    if all.is_empty() {
        return Err(SecretsError::parameter(
            "The password can't be made: every character is excluded.",
        ));
    }
    let mut random = rand::rng();
    let mut pick = |from: &[char]| from[random.random_range(0..from.len())];
    let mut password: Vec<char> = Vec::with_capacity(length);
    if body.flag("RequireEachIncludedType")?.unwrap_or(true) {
        if types.len() > length {
            return Err(SecretsError::parameter(
                "Password length is too short based on the required types.",
            ));
        }
        password.extend(types.iter().map(|type_| pick(type_)));
    }
    while password.len() < length {
        password.push(pick(&all));
    }
    password.shuffle(&mut random);
    Ok(json!({"RandomPassword": password.into_iter().collect::<String>()}))
}

fn length(call: &Call<'_>) -> Result<usize, SecretsError> {
    let number = call.body.number("PasswordLength")?.unwrap_or(32);
    let refused =
        |constraint: &str| SecretsError::constraint(Some(&number.to_string()), "passwordLength", constraint);
    match usize::try_from(number) {
        Ok(length @ 1..=4096) => Ok(length),
        Ok(0) | Err(_) => Err(refused("Member must have value greater than or equal to 1")),
        Ok(_) => Err(refused("Member must have value less than or equal to 4096")),
    }
}
