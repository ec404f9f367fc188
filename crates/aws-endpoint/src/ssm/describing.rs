//! `DescribeParameters`, and the filters that it has in common with `GetParametersByPath`.

use serde_json::{Map, Value, json};

use super::error::SsmError;
use super::names::{check_path, is_under};
use super::store::{Kind, Parameter, ParameterStore, Version};
use super::{Call, Outcome, page, page_token, time};
use crate::wire::body::{Body, Malformed};

/// `DescribeParameters`.
pub(super) fn describe(store: &ParameterStore, call: &Call<'_>) -> Outcome {
    const MOST: u16 = 50;
    let old = call.body.list("Filters")?;
    if !old.is_empty() && !call.body.list("ParameterFilters")?.is_empty() {
        return Err(SsmError::validation(
            "You can use either Filters or ParameterFilters in a single request.",
        ));
    }
    let mut filters = filters(call.body, false)?;
    for filter in old {
        let filter = Body(filter);
        let key = filter
            .one_of("Key", &["Name", "Type", "KeyId"])?
            .ok_or_else(|| crate::wire::body::missing("Key"))?;
        filters.push(Filter {
            key,
            option: if key == "Name" { "BeginsWith" } else { "Equals" },
            values: filter.texts("Values")?,
        });
    }
    let found = store.all(call.region).filter(|(_, parameter)| {
        filters
            .iter()
            .all(|filter| filter.accepts(parameter, parameter.latest()))
    });
    let (found, token) = page(call.body, MOST, found, |(key, _)| (*key).clone())?;
    let found: Vec<Value> = found
        .into_iter()
        .map(|(_, parameter)| described(parameter, parameter.latest()))
        .collect();
    let mut answer = json!({"Parameters": found});
    page_token(&mut answer, token);
    Ok(answer)
}

/// Everything about a version but its value.
pub(super) fn described(parameter: &Parameter, version: &Version) -> Value {
    let mut described = Map::new();
    let mut insert = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            described.insert(name.to_owned(), value);
        }
    };
    insert("Name", Some(json!(parameter.name)));
    insert("ARN", Some(json!(parameter.arn)));
    insert("Type", Some(json!(version.kind.name())));
    insert("KeyId", version.shown_key().map(|key| json!(key)));
    insert("LastModifiedDate", Some(time(version.modified)));
    insert("LastModifiedUser", Some(json!(version.user)));
    insert(
        "Description",
        version.description.as_ref().map(|text| json!(text)),
    );
    insert("AllowedPattern", version.pattern.as_ref().map(|text| json!(text)));
    insert("Version", Some(json!(version.number)));
    insert("Tier", Some(json!(version.tier.name())));
    insert("Policies", Some(json!(version.policies)));
    insert("DataType", Some(json!(version.data_type)));
    Value::Object(described)
}

/// A filter, any of whose values has to match.
pub(super) struct Filter<'a> {
    key: &'a str,
    option: &'a str,
    values: Vec<&'a str>,
}

const KEYS: [&str; 7] = ["Name", "Type", "KeyId", "Path", "Label", "Tier", "DataType"];

/// `ParameterFilters` of a call: all have to accept a parameter.
pub(super) fn filters(body: Body<'_>, by_path: bool) -> Result<Vec<Filter<'_>>, SsmError> {
    let mut filters: Vec<Filter<'_>> = Vec::new();
    let mut problems = Vec::new();
    for (index, filter) in body.list("ParameterFilters")?.iter().enumerate() {
        let filter = Body(filter);
        let key = filter.required("Key", usize::MAX)?;
        let option = filter.text("Option")?;
        let default = if key == "Path" { "OneLevel" } else { "Equals" };
        let filter = Filter {
            key,
            option: option.unwrap_or(default),
            values: filter.texts("Values")?,
        };
        problems.extend(filter.problems(index + 1));
        filters.push(filter);
    }
    if !problems.is_empty() {
        let plural = if problems.len() > 1 { "s" } else { "" };
        return Err(SsmError::validation(format!(
            "{} validation error{plural} detected: {}",
            problems.len(),
            problems.join("; ")
        )));
    }
    for (index, filter) in filters.iter().enumerate() {
        filter.check(by_path)?;
        if filters[..index].iter().any(|other| other.key == filter.key) {
            return Err(SsmError::filter_key(format!(
                "The following filter is duplicated in the request: {}. A request can contain only one occurrence of \
                 a specific filter.",
                filter.key
            )));
        }
    }
    Ok(filters)
}

impl<'a> Filter<'a> {
    /// The labels of a filter for labels.
    pub(super) fn label(&self) -> Option<&[&'a str]> {
        (self.key == "Label").then_some(&self.values[..])
    }

    pub(super) fn accepts(&self, parameter: &Parameter, version: &Version) -> bool {
        let matches = |text: &str| {
            self.values.iter().any(|value| match self.option {
                "BeginsWith" => text.starts_with(value),
                "Contains" => text.contains(value),
                _ => text == *value,
            })
        };
        match self.key {
            // With a leading slash or without it, as names are.
            "Name" => {
                let inner = parameter.name.trim_start_matches('/');
                matches(inner) || matches(&format!("/{inner}"))
            }
            "Path" => {
                let recursive = self.option == "Recursive";
                let inner = parameter.name.trim_start_matches('/');
                self.values.iter().any(|path| is_under(inner, path, recursive))
            }
            "Type" => matches(version.kind.name()),
            "KeyId" => version.shown_key().is_some_and(matches),
            "Tier" => matches(version.tier.name()),
            "DataType" => matches(&version.data_type),
            // Done where the version is chosen.
            "Label" => true,
            tag => {
                let key = tag.strip_prefix("tag:").unwrap_or(tag);
                let mut tags = parameter.tags.iter().filter(|(other, _)| other == key);
                tags.any(|(_, value)| self.values.is_empty() || matches(value))
            }
        }
    }

    /// What breaks the constraints of the API's model.
    fn problems(&self, number: usize) -> Vec<String> {
        let mut problems = Vec::new();
        let mut problem = |member: &str, value: &str, constraint: &str| {
            let at = format!("parameterFilters.{number}.member.{member}");
            let text = Malformed::constraint(Some(value), &at, constraint).message;
            problems.push(text.replacen("1 validation error detected: ", "", 1));
        };
        let known =
            KEYS.contains(&self.key) || self.key.strip_prefix("tag:").is_some_and(|tag| !tag.is_empty());
        if !known {
            problem(
                "key",
                self.key,
                "Member must satisfy regular expression pattern: tag:.+|Name|Type|KeyId|Path|Label|Tier|DataType",
            );
        }
        if self.key.len() > 132 {
            problem(
                "key",
                self.key,
                "Member must have length less than or equal to 132",
            );
        }
        if self.option.len() > 10 {
            problem(
                "option",
                self.option,
                "Member must have length less than or equal to 10",
            );
        }
        let values = format!("[{}]", self.values.join(", "));
        if self.values.len() > 50 {
            problem(
                "values",
                &values,
                "Member must have length less than or equal to 50",
            );
        }
        if self.values.iter().any(|value| !(1..=1024).contains(&value.len())) {
            problem(
                "values",
                &values,
                "Member must satisfy constraint: [Member must have length less than or equal to 1024, Member must \
                 have length greater than or equal to 1]",
            );
        }
        problems
    }

    /// Refuses what makes no sense as a filter.
    fn check(&self, by_path: bool) -> Result<(), SsmError> {
        let (key, option) = (self.key, self.option);
        if !by_path && key == "Label" {
            return Err(SsmError::filter_key(
                "The following filter key is not valid: Label. Valid filter keys include: [Path, Name, Type, KeyId, \
                 Tier].",
            ));
        }
        if by_path && ["Name", "Path", "Tier"].contains(&key) {
            return Err(SsmError::filter_key(format!(
                "The following filter key is not valid: {key}. Valid filter keys include: [Type, KeyId]."
            )));
        }
        if KEYS.contains(&key) && self.values.is_empty() {
            return Err(SsmError::filter_value(format!(
                "The following filter values are missing : null for filter key {key}."
            )));
        }
        let (options, listed): (&[&str], _) = match key {
            "Path" => (&["Recursive", "OneLevel"], "[Recursive, OneLevel]"),
            "Name" => (&["BeginsWith", "Equals", "Contains"], "[BeginsWith, Equals]"),
            _ => (&["BeginsWith", "Equals"], "[BeginsWith, Equals]"),
        };
        if !options.contains(&option) {
            return Err(SsmError::filter_option(format!(
                "The following filter option is not valid: {option}. Valid options include: {listed}."
            )));
        }
        let valid = |valid: &[&str]| match self.values.iter().find(|value| !valid.contains(value)) {
            Some(value) if option == "Equals" => Err(SsmError::filter_option(format!(
                "The following filter value is not valid: {value}. Valid values include: [{}].",
                valid.join(", ")
            ))),
            _ => Ok(()),
        };
        match key {
            "Path" => {
                for path in &self.values {
                    let inner = path.trim_start_matches('/').to_lowercase();
                    if path.starts_with('/') && (inner.starts_with("aws") || inner.starts_with("ssm")) {
                        return Err(SsmError::validation(
                            "Filters for common parameters can't be prefixed with \"aws\" or \"ssm\" \
                             (case-insensitive). When using global parameters, please specify within a global \
                             namespace.",
                        ));
                    }
                    check_path(path)?;
                }
                Ok(())
            }
            "Tier" => valid(&["Standard", "Advanced", "Intelligent-Tiering"]),
            "Type" => valid(&[
                Kind::String.name(),
                Kind::StringList.name(),
                Kind::SecureString.name(),
            ]),
            _ => Ok(()),
        }
    }
}
