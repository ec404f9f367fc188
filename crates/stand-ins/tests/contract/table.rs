//! One table of what holds of whom, as Markdown, where `MOUNTPROOF_CONTRACT_TABLE` names a file.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex, PoisonError},
};

use libtest_mimic::Failed;

/// Names the file.
const FILE: &str = "MOUNTPROOF_CONTRACT_TABLE";
/// Its columns.
const SERVERS: [&str; 3] = ["stand-in", "kube-apiserver", "cluster"];

/// What has been seen so far: by test and by server.
#[derive(Default)]
pub(crate) struct Table(Mutex<BTreeMap<(&'static str, &'static str), String>>);

impl Table {
    /// A trial that leaves how it ended in here.
    pub(crate) fn recorded(
        self: &Arc<Self>,
        test: &'static str,
        server: &'static str,
        run: impl FnOnce() + Send + 'static,
    ) -> impl FnOnce() -> Result<(), Failed> + Send + 'static {
        let table = Arc::clone(self);
        move || {
            let ended = panic::catch_unwind(AssertUnwindSafe(run));
            table.put(
                test,
                server,
                if ended.is_ok() {
                    "holds"
                } else {
                    "**does not hold**"
                },
            );
            match ended {
                Ok(()) => Ok(()),
                Err(panicked) => panic::resume_unwind(panicked),
            }
        }
    }

    fn put(&self, test: &'static str, server: &'static str, what: &str) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.insert((test, server), what.to_owned());
    }

    /// Writes it where that is wanted.
    pub(crate) fn write(&self) {
        let Some(file) = std::env::var_os(FILE).filter(|file| !file.is_empty()) else {
            return;
        };
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tests: BTreeSet<&str> = seen.keys().map(|(test, _)| *test).collect();
        let mut text = format!(
            "| what | {} |\n|---|{}\n",
            SERVERS.join(" | "),
            "---|".repeat(SERVERS.len())
        );
        for test in tests {
            let said = SERVERS.map(|server| seen.get(&(test, server)).map_or("-", String::as_str));
            let _ = writeln!(
                text,
                "| {} | {} |",
                test.replace('_', " ").replace("::", ": "),
                said.join(" | ")
            );
        }
        fs::write(&file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}
