//! Condition operators.
//!
//! Imitated: the IAM user guide's pages "Condition operators" and "Set operators". A value of the context
//! that an operator cannot read (a number that is none) matches nothing.

mod operand;
mod operator;

pub use operand::OperandError;
pub(super) use operator::Operator;

use smallvec::SmallVec;

use self::operand::{Operand, Resolved, Value};
use self::operator::{Quantifier, Test};
use super::{Facts, keys};

/// One line of a `Condition` element: an operator, a key and the values it is held against.
#[derive(Debug, Clone, PartialEq)]
pub struct Condition {
    operator: Operator,
    key: String,
    folded_key: String,
    operands: Vec<Operand>,
    /// Whether nobody here knows what it asks for.
    unclear: bool,
}

impl Condition {
    /// Reads the values for `operator`; `variables` says whether `${..}` means anything.
    pub(super) fn parse(
        operator: &Operator,
        key: &str,
        values: Vec<String>,
        variables: bool,
    ) -> Result<Self, OperandError> {
        let operands = values
            .into_iter()
            .map(|text| Operand::parse(operator.test, text, variables));
        let mut condition = Self {
            operator: operator.clone(),
            key: key.to_owned(),
            folded_key: key.to_lowercase(),
            operands: operands.collect::<Result<_, _>>()?,
            unclear: false,
        };
        let unclear = condition.keys().any(|key| !keys::is_known(key));
        condition.unclear = unclear;
        Ok(condition)
    }

    /// The operator's name as the policy has it.
    #[must_use]
    pub fn operator(&self) -> &str {
        &self.operator.text
    }

    /// The condition key as the policy has it.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The keys that it asks for, of its own and in variables, in lower case.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        let variables = self.operands.iter().flat_map(Operand::variables);
        std::iter::once(self.folded_key.as_str()).chain(variables)
    }

    /// Whether nobody here knows what it asks for.
    pub(super) fn is_unclear(&self) -> bool {
        self.unclear
    }

    /// The values as the policy has them.
    pub fn values(&self) -> impl Iterator<Item = &str> {
        self.operands.iter().map(|operand| operand.text.as_str())
    }

    /// Whether the condition is met.
    ///
    /// A list of values is an OR, and for a negated operator a NOR. An absent key fails an operator and
    /// meets a negated one, `IfExists` and `ForAllValues`; `ForAnyValue` it always fails. A variable without a
    /// value is equal to nothing and like nothing, so that it meets a negated operator ("Policy variables with no
    /// value"). A key with several values needs a set operator ("Single-valued vs. multivalued context keys"):
    /// without one nothing is met, but by the audiences of a token, of which STS compares any.
    #[must_use]
    pub fn holds(&self, facts: &dyn Facts) -> bool {
        let given = facts.values_of(&self.folded_key);
        let Operator {
            quantifier,
            test,
            negated,
            if_exists,
            ..
        } = self.operator;
        if test == Test::Null {
            return self
                .operands
                .iter()
                .any(|operand| operand.value == Value::Truth(given.is_none()));
        }
        // For the set operators AWS counts a key with nothing but an empty text as absent.
        let nothing = |values: &[String]| quantifier.is_some() && values.iter().all(String::is_empty);
        let Some(given) = given.as_deref().filter(|values| !nothing(values)) else {
            return if_exists
                || match quantifier {
                    Some(Quantifier::All) => true,
                    Some(Quantifier::Any) => false,
                    None => negated,
                };
        };
        if quantifier.is_none() && given.len() > 1 && !self.folded_key.ends_with(":aud") {
            return false;
        }
        let resolved: SmallVec<[Resolved<'_>; 4]> = self
            .operands
            .iter()
            .filter_map(|operand| operand.resolve(facts))
            .collect();
        let matches = |value: &String| resolved.iter().any(|operand| operand.matches(test, value));
        match quantifier {
            None => given.iter().any(matches) != negated,
            Some(Quantifier::All) => given.iter().all(|value| matches(value) != negated),
            Some(Quantifier::Any) => given.iter().any(|value| matches(value) != negated),
        }
    }
}

#[cfg(test)]
mod tests;
