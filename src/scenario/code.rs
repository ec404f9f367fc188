//! The codes of diagnostics. Stable: a code once given keeps its meaning, and is never given again.

use std::{fmt, str::FromStr};

/// Writes the enum, its names and its titles from one list.
macro_rules! codes {
    ($($(#[doc = $title:literal])+ $name:ident = $id:literal,)+) => {
        /// What is wrong, as a code that `mountproof explain` has a page for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $($(#[doc = $title])+ $name,)+
        }

        impl Code {
            /// Every code, in order.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// `S012`.
            #[must_use]
            pub fn id(self) -> &'static str {
                match self {
                    $(Self::$name => $id,)+
                }
            }

            /// What is wrong, in one line.
            #[must_use]
            pub fn title(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($title),+).trim_ascii(),)+
                }
            }
        }
    };
}

codes! {
    /// A file that cannot be read.
    Unreadable = "S001",
    /// A file of more than 1 MiB.
    TooLarge = "S002",
    /// A file that is not UTF-8.
    NotUtf8 = "S003",
    /// A file with no document in it.
    Empty = "S004",
    /// A file with more than one document.
    SeveralDocuments = "S005",
    /// A file that is not YAML.
    NotYaml = "S006",
    /// Aliases that contain themselves, or expand too far.
    Aliases = "S007",
    /// A file that begins with a byte order mark.
    ByteOrderMark = "S008",
    /// YAML nested too deeply.
    TooDeep = "S009",
    /// A tenant that the scenario does not declare.
    UnknownTenant = "S010",
    /// A workload that no earlier step made.
    UnknownWorkload = "S011",
    /// A secret that the tenant does not have.
    UnknownSecret = "S012",
    /// A control that cannot be the control of the denial.
    ImpossibleControl = "S013",
    /// A capability that no environment has.
    UnknownCapability = "S014",
    /// A matrix axis that does not exist.
    UnknownAxis = "S015",
    /// A cycle of matrix values.
    MatrixCycle = "S016",
    /// A field that does not exist.
    UnknownField = "S020",
    /// A key that is written twice.
    DuplicateKey = "S021",
    /// A field that must be there.
    MissingField = "S022",
    /// A value of the wrong type.
    WrongType = "S023",
    /// A value that is none of the possible ones.
    UnknownValue = "S024",
    /// A mapping that must have exactly one key.
    NotOneKey = "S025",
    /// Another apiVersion or kind.
    WrongKind = "S030",
    /// A name that cannot be used.
    InvalidName = "S031",
    /// Two scenarios of one name.
    DuplicateScenario = "S032",
    /// A profile that is not the folder's name.
    WrongFolder = "S033",
    /// Two workloads, or two secrets, of one name.
    DuplicateName = "S034",
    /// A denial by AWS that does not require `iam-enforcement`.
    DenialWithoutEnforcement = "S040",
    /// An update that would disturb other scenarios.
    DisturbsOthers = "S041",
    /// A shared tenant with another role.
    SharedTenantChanged = "S042",
    /// `each: tenant` without a shared tenant first.
    EachWithoutTenant = "S043",
    /// Fields that exclude or need each other.
    Contradiction = "S044",
    /// A scenario without steps.
    NoSteps = "S045",
    /// A mount that can never work.
    CannotSucceed = "S046",
    /// A denial that nothing would cause.
    CannotFail = "S047",
    /// A step that needs a capability which the scenario does not require.
    CapabilityNotRequired = "S048",
    /// A text that is no duration.
    InvalidDuration = "S050",
    /// A deadline that cannot hold.
    ImpossibleDeadline = "S051",
    /// A number out of range.
    OutOfRange = "S052",
    /// More of something than a scenario may have.
    TooMany = "S053",
    /// A tenant that no step uses.
    UnusedTenant = "S060",
    /// A secret that no step uses.
    UnusedSecret = "S061",
    /// An axis that no text uses.
    UnusedAxis = "S062",
    /// More problems than are shown.
    MoreProblems = "S090",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

/// The text is no code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no code `{0}`")]
pub struct UnknownCode(pub String);

impl FromStr for Code {
    type Err = UnknownCode;

    /// Reads `S012`, in any case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|code| code.id().eq_ignore_ascii_case(text.trim()))
            .ok_or_else(|| UnknownCode(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_in_order_and_read_back() {
        assert!(Code::ALL.windows(2).all(|pair| pair[0].id() < pair[1].id()));
        for code in Code::ALL {
            assert_eq!(code.id().parse(), Ok(*code));
            assert_eq!(code.id().to_lowercase().parse(), Ok(*code));
            assert!(code.title().ends_with('.'), "{code}: {}", code.title());
        }
        assert_eq!("S999".parse::<Code>(), Err(UnknownCode("S999".to_owned())));
    }
}
