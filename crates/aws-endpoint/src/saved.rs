//! What the endpoint knows as a file: everything in the account, keys and values included, but nobody's
//! session.

use serde_json::{Value, from_value, json};

use crate::{kms::KmsStore, secrets::SecretStore, ssm::ParameterStore, state::World};

/// Of the file's form.
const VERSION: u64 = 1;

/// A saved state that cannot be taken over.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Another program's file, or another version's.
    #[error("it is no state of an endpoint in the form {VERSION}")]
    Form,
    /// ARNs name their account, so that an account's state is of no use to another.
    #[error("it is of account {theirs}, and this endpoint's is {ours}")]
    Account {
        /// The state's.
        theirs: String,
        /// The endpoint's.
        ours: String,
    },
    /// Something in it is not as it was saved.
    #[error("its part {part}: {source}")]
    Part {
        /// Such as `iam`.
        part: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
}

impl World {
    /// Everything but sessions, in the form that [`Self::restore`] reads.
    pub(crate) fn saved(&self, account: &str) -> Value {
        json!({
            "mountproofEndpointState": VERSION,
            "account": account,
            "iam": self.iam.saved(),
            "secrets": self.secrets,
            "parameters": self.parameters,
            "kms": self.kms,
            "eks": self.eks.saved(),
        })
    }

    /// Takes over what was saved; nothing of it if part of it cannot be.
    pub(crate) fn restore(&mut self, account: &str, mut saved: Value) -> Result<(), RestoreError> {
        if saved["mountproofEndpointState"] != VERSION {
            return Err(RestoreError::Form);
        }
        if saved["account"] != account {
            return Err(RestoreError::Account {
                theirs: saved["account"].as_str().unwrap_or_default().to_owned(),
                ours: account.to_owned(),
            });
        }
        let part = |part| move |source| RestoreError::Part { part, source };
        let secrets: SecretStore = from_value(saved["secrets"].take()).map_err(part("secrets"))?;
        let parameters: ParameterStore =
            from_value(saved["parameters"].take()).map_err(part("parameters"))?;
        let kms: KmsStore = from_value(saved["kms"].take()).map_err(part("kms"))?;
        self.iam.restore(&saved["iam"]).map_err(part("iam"))?;
        self.eks.restore(&saved["eks"]).map_err(part("eks"))?;
        (self.secrets, self.parameters, self.kms) = (secrets, parameters, kms);
        Ok(())
    }
}
