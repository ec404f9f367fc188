//! Planted defects: what a broken driver or provider would do, to prove that the scenarios notice.
//!
//! All are off by default and can be switched while the stand-in runs.

use std::sync::{Arc, PoisonError, RwLock};

/// A value that a handle sets and its stand-in reads, such as a set of defects.
#[derive(Debug, Default)]
pub struct Shared<T>(Arc<RwLock<T>>);

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Copy> Shared<T> {
    /// Holds `value` at first.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(Arc::new(RwLock::new(value)))
    }

    /// Replaces the value; what is under way may still see the old one.
    pub fn set(&self, value: T) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = value;
    }

    /// The value now.
    #[must_use]
    pub fn now(&self) -> T {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a broken driver does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DriverDefects {
    /// Reports a mount as done without asking the provider: an empty folder.
    pub empty_mount: bool,
    /// Leaves the files, and what is mounted there, where they are on unpublish.
    pub file_left_after_unmount: bool,
    /// Writes no `SecretProviderClassPodStatus`.
    pub no_pod_status: bool,
}

/// What a broken provider does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own, and any set of them may be on"
)]
pub struct ProviderDefects {
    /// Writes files with mode 0666, whatever was asked.
    pub wrong_mode: bool,
    /// Hands out the first value it ever fetched for a pod's file.
    pub stale_after_rotation: bool,
    /// Asks with the credentials of other tenants it served before, and with the pod's own only when
    /// none of those may read the secret.
    pub other_tenants_secret: bool,
    /// Writes an empty file and reports success where AWS denies access.
    pub ignores_denial: bool,
    /// Fetches the current version, whatever `objectVersion` and `objectVersionLabel` say.
    pub ignores_version: bool,
}
