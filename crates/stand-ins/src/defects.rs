//! Planted defects: what a broken driver or provider would do, to prove that the scenarios notice.
//!
//! All are off by default and can be switched while the stand-in runs.

use std::sync::{
    Arc, PoisonError, RwLock,
    atomic::{AtomicU32, Ordering},
};

/// A value that a handle sets and its stand-in reads, such as a set of defects.
#[derive(Debug, Default)]
pub struct Shared<T>(Arc<Held<T>>);

#[derive(Debug)]
struct Held<T> {
    value: RwLock<T>,
    /// How often a switch may still show; see [`Shared::set_for`].
    shows: AtomicU32,
}

impl<T: Default> Default for Held<T> {
    fn default() -> Self {
        Self {
            value: RwLock::default(),
            shows: AtomicU32::new(u32::MAX),
        }
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Copy> Shared<T> {
    /// Holds `value` at first.
    #[must_use]
    pub fn new(value: T) -> Self {
        Self(Arc::new(Held {
            value: RwLock::new(value),
            shows: AtomicU32::new(u32::MAX),
        }))
    }

    /// Replaces the value; what is under way may still see the old one.
    pub fn set(&self, value: T) {
        self.set_for(value, u32::MAX);
    }

    /// Replaces the value by one whose switches show `times` often in all, and are off from then on:
    /// a defect that comes and goes. `u32::MAX` is for ever.
    pub fn set_for(&self, value: T, times: u32) {
        *self.0.value.write().unwrap_or_else(PoisonError::into_inner) = value;
        self.0.shows.store(times, Ordering::SeqCst);
    }

    /// Whether a switch is on; asking uses up one of the times that it may show.
    #[must_use]
    pub fn shows(&self, switch: impl Fn(&T) -> bool) -> bool {
        if !switch(&self.now()) {
            return false;
        }
        let left = |left: u32| match left {
            0 => None,
            u32::MAX => Some(u32::MAX),
            more => Some(more - 1),
        };
        self.0
            .shows
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, left)
            .is_ok()
    }

    /// The value now.
    #[must_use]
    pub fn now(&self) -> T {
        *self.0.value.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a broken driver does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own, and any set of them may be on"
)]
pub struct DriverDefects {
    /// Reports a mount as done without asking the provider: an empty folder.
    pub empty_mount: bool,
    /// Leaves the files, and what is mounted there, where they are on unpublish.
    pub file_left_after_unmount: bool,
    /// Writes no `SecretProviderClassPodStatus`.
    pub no_pod_status: bool,
    /// Never answers a publish: each ends when its caller has had enough.
    pub never_answers: bool,
    /// Writes what kubelet gives it to its log, tokens too: CVE-2023-2878, in versions before 1.3.3.
    pub tokens_in_log: bool,
    /// With rotation on, a folder that is younger than the poll interval counts as up to date, though nothing was ever mounted
    /// there: a mount that timed out is reported as done by the next call, empty. Driver 1.6.0 (issue 1051's family).
    pub fresh_folder_is_done: bool,
    /// With rotation off, a folder with something mounted on it counts as done, though no file was ever written: what a
    /// driver that was killed in the middle of a mount leaves is reported as done by the next one, empty. Up to driver 1.6.0.
    pub mounted_folder_is_done: bool,
    /// Writes a synced Secret anew whenever a pod mounts its class, though nothing in it changed, and drops its owners with
    /// that. Driver 1.6.0 (issue 2057).
    pub rewrites_synced_secret: bool,
    /// Does that at every publish that rotates, whether anything was mounted anew or not.
    pub rewrites_synced_at_every_publish: bool,
    /// Has no other clock for its poll interval than the last write to the mount: where it writes the files itself, and
    /// they are unchanged, every republish fetches them. Driver 1.6.0.
    pub unlimited_rotation: bool,
    /// Leaves a synced Secret as it was made, whatever is mounted later.
    pub stale_synced_secret: bool,
    /// The socket at which a provider was found first is dialled for the driver's whole life, wherever the provider has moved
    /// (provider issue 461). Up to driver 1.6.0.
    pub provider_socket_is_kept: bool,
}

impl DriverDefects {
    /// What the release has that the stand-in imitates: its hazards, seen with the real driver
    /// [`VERSION`](crate::driver::VERSION).
    #[must_use]
    pub fn as_released() -> Self {
        Self {
            fresh_folder_is_done: true,
            mounted_folder_is_done: true,
            provider_socket_is_kept: true,
            rewrites_synced_secret: true,
            unlimited_rotation: true,
            ..Self::default()
        }
    }

    /// What [`Self::plant`] knows.
    pub const NAMES: &'static [&'static str] = &[
        "empty-mount",
        "file-left-after-unmount",
        "no-pod-status",
        "never-answers",
        "tokens-in-log",
        "fresh-folder-is-done",
        "mounted-folder-is-done",
        "provider-socket-is-kept",
        "rewrites-synced-secret",
        "rewrites-synced-at-every-publish",
        "unlimited-rotation",
        "stale-synced-secret",
    ];

    /// Switches on the one called `name`, if there is one.
    #[must_use]
    pub fn plant(&mut self, name: &str) -> Option<()> {
        *match name {
            "empty-mount" => &mut self.empty_mount,
            "file-left-after-unmount" => &mut self.file_left_after_unmount,
            "no-pod-status" => &mut self.no_pod_status,
            "never-answers" => &mut self.never_answers,
            "tokens-in-log" => &mut self.tokens_in_log,
            "fresh-folder-is-done" => &mut self.fresh_folder_is_done,
            "mounted-folder-is-done" => &mut self.mounted_folder_is_done,
            "provider-socket-is-kept" => &mut self.provider_socket_is_kept,
            "rewrites-synced-secret" => &mut self.rewrites_synced_secret,
            "rewrites-synced-at-every-publish" => &mut self.rewrites_synced_at_every_publish,
            "unlimited-rotation" => &mut self.unlimited_rotation,
            "stale-synced-secret" => &mut self.stale_synced_secret,
            _ => return None,
        } = true;
        Some(())
    }
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
    /// Reads past `filePermission`, as versions before 1.0.0 do.
    pub ignores_permission: bool,
    /// Refuses a class that names one secret twice, as versions before 1.0.0 do.
    pub refuses_secret_twice: bool,
    /// Answers a denial in the primary region with the failover region's value, as versions since 2.0.0 do: the SDK
    /// for Go v2 does not count `AccessDeniedException` among the errors that it knows.
    pub failover_after_denial: bool,
    /// Fetches every value twice: right files, at twice the calls.
    pub fetches_twice: bool,
}

impl ProviderDefects {
    /// What the release has that the stand-in imitates: its hazards, seen with the real provider
    /// [`VERSION`](crate::provider::VERSION).
    #[must_use]
    pub fn as_released() -> Self {
        Self {
            failover_after_denial: true,
            ..Self::default()
        }
    }

    /// What [`Self::plant`] knows.
    pub const NAMES: &'static [&'static str] = &[
        "wrong-mode",
        "stale-after-rotation",
        "other-tenants-secret",
        "ignores-denial",
        "ignores-version",
        "failover-after-denial",
        "fetches-twice",
    ];

    /// Switches on the one called `name`, if there is one.
    #[must_use]
    pub fn plant(&mut self, name: &str) -> Option<()> {
        *match name {
            "wrong-mode" => &mut self.wrong_mode,
            "stale-after-rotation" => &mut self.stale_after_rotation,
            "other-tenants-secret" => &mut self.other_tenants_secret,
            "ignores-denial" => &mut self.ignores_denial,
            "ignores-version" => &mut self.ignores_version,
            "failover-after-denial" => &mut self.failover_after_denial,
            "fetches-twice" => &mut self.fetches_twice,
            _ => return None,
        } = true;
        Some(())
    }
}

/// What a broken Pod Identity Agent does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AgentDefects {
    /// Hands out the credentials that it has for another pod.
    pub other_pods_credentials: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_plants_a_defect_of_its_own() {
        let mut driver = Vec::new();
        for name in DriverDefects::NAMES {
            let mut defects = DriverDefects::default();
            assert_eq!(defects.plant(name), Some(()));
            assert!(
                defects != DriverDefects::default() && !driver.contains(&defects),
                "{name}"
            );
            driver.push(defects);
        }
        let mut provider = Vec::new();
        for name in ProviderDefects::NAMES {
            let mut defects = ProviderDefects::default();
            assert_eq!(defects.plant(name), Some(()));
            assert!(
                defects != ProviderDefects::default() && !provider.contains(&defects),
                "{name}"
            );
            provider.push(defects);
        }
        assert_ne!(DriverDefects::as_released(), DriverDefects::default());
        assert_eq!(DriverDefects::default().plant("wrong-mode"), None);
        assert_eq!(ProviderDefects::default().plant("empty-mount"), None);
    }

    #[test]
    fn a_switch_shows_as_often_as_it_may_and_others_do_not_count() {
        let defects = Shared::new(DriverDefects::default());
        assert!(!defects.shows(|defects| defects.empty_mount));
        defects.set_for(
            DriverDefects {
                empty_mount: true,
                ..DriverDefects::default()
            },
            2,
        );
        let asked = [
            defects.shows(|defects| defects.no_pod_status),
            defects.shows(|defects| defects.empty_mount),
            defects.shows(|defects| defects.empty_mount),
            defects.shows(|defects| defects.empty_mount),
        ];
        assert_eq!(asked, [false, true, true, false]);
        defects.set(defects.now());
        assert!((0..1000).all(|_| defects.shows(|defects| defects.empty_mount)));
    }
}
