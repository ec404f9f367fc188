//! Beside `@cloud-copilot/iam-simulate`: the same decision on random policies and requests.
//!
//! It is AGPL, so it runs as a process of its own that gets a question a line and answers with a decision a line. Where
//! the two differ, `known` says why and who is right by AWS's pages; a difference that it does not explain fails, and so
//! does an explanation that nothing shows.
//!
//! `MOUNTPROOF_ORACLE_SEED` and `MOUNTPROOF_ORACLE_PAIRS` set where the pairs start and how many there are.

mod conditions;
mod generate;
mod known;
mod random;

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, BufWriter, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use libtest_mimic::{Failed, Trial};
use mountproof_aws_endpoint::iam::{
    Context, Document, NamedPolicy, Policy, PolicySet, Reason, Request, Rules, evaluate,
};
use serde_json::Value;

use self::{generate::Case, known::KNOWN, random::Random};
use super::support;

const PAIRS: u64 = 100_000;
const SEED: u64 = 20_261_126;
/// Longest wait for the next answers.
const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) fn trials() -> Vec<Trial> {
    vec![Trial::test(
        "iam_simulate::it_decides_as_we_do_but_for_what_is_known",
        compare,
    )]
}

fn compare() -> Result<(), Failed> {
    let (seed, pairs) = (setting("SEED", SEED)?, setting("PAIRS", PAIRS)?);
    let folder = fetched()?;
    support::say(&format!("iam_simulate: {pairs} pairs from seed {seed}"));
    let answers = asked(&folder, seed, pairs)?;
    let mut tally = Tally::default();
    let mut random = Random::new(seed);
    for number in 0..pairs {
        let case = Case::random(&mut random);
        let theirs = answers
            .recv_timeout(PATIENCE)
            .map_err(|_| format!("no answer to pair {number} of {pairs}"))?;
        tally.count(number, &case, ours(&case)?, &theirs);
    }
    tally.verdict(pairs >= PAIRS)
}

fn setting(name: &str, default: u64) -> Result<u64, Failed> {
    let name = format!("MOUNTPROOF_ORACLE_{name}");
    match std::env::var(&name) {
        Ok(text) => text
            .parse()
            .map_err(|_| format!("{name}={text} is no number").into()),
        Err(_) => Ok(default),
    }
}

/// The folder with the pinned packages.
fn fetched() -> Result<PathBuf, Failed> {
    let pins = support::fixture("iam-simulate/package.json");
    support::prepared("iam-simulate", std::slice::from_ref(&pins), |folder| {
        std::fs::copy(&pins, folder.join("package.json"))?;
        let mut npm = Command::new("npm");
        npm.args([
            "install",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--no-package-lock",
        ])
        .current_dir(folder);
        support::finished(npm, support::FETCHING).map(drop)
    })
}

/// Starts the other evaluator and sends it every pair; its answers in the same order.
fn asked(folder: &Path, seed: u64, pairs: u64) -> Result<mpsc::Receiver<String>, Failed> {
    let mut node = Command::new("node")
        .arg(support::fixture("iam-simulate/run.mjs"))
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("node: {error}"))?;
    let input = node.stdin.take().ok_or("no standard input")?;
    let output = node.stdout.take().ok_or("no standard output")?;
    thread::spawn(move || {
        let mut input = BufWriter::new(input);
        let mut random = Random::new(seed);
        // When it is gone, the answers that are missing tell.
        let _ = (0..pairs).try_for_each(|_| writeln!(input, "{}", Case::random(&mut random).question()));
    });
    let (sender, answers) = mpsc::sync_channel(10_000);
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                // Whoever asked has seen enough.
                break;
            }
        }
        // Ended here, or by the end of its input.
        let _ = node.kill();
        let _ = node.wait();
    });
    Ok(answers)
}

/// Our decision, in the other's words.
fn ours(case: &Case) -> Result<&'static str, Failed> {
    let read = |document: &Value, kind: Document| {
        let policy = Policy::parse(&document.to_string(), kind);
        let policy = policy.map_err(|error| Failed::from(format!("we refuse {document}: {error}")))?;
        Ok::<_, Failed>(NamedPolicy::new("policy", policy))
    };
    let one =
        |document: &Option<Value>, kind| document.as_ref().map(|document| read(document, kind)).transpose();
    let identity = case
        .identity
        .iter()
        .map(|document| read(document, Document::Identity));
    let identity = identity.collect::<Result<Vec<_>, _>>()?;
    let (there, trust) = if case.assumes {
        (None, one(&case.resource_policy, Document::Trust)?)
    } else {
        (one(&case.resource_policy, Document::Resource)?, None)
    };
    let boundary = one(&case.boundary, Document::Identity)?;
    let session = one(&case.session, Document::Session)?;
    let mut context = Context::new();
    for (key, values) in &case.context {
        context.set_all(key, values.iter().map(String::as_str));
    }
    let request = Request {
        principal: &case.principal,
        action: case.action,
        resource: &case.resource,
        resource_account: case.account,
        context: &context,
    };
    let policies = PolicySet {
        identity: &identity,
        resource: there.as_ref(),
        trust: trust.as_ref(),
        boundary: boundary.as_ref(),
        session: session.as_ref().map(std::slice::from_ref),
    };
    Ok(match evaluate(&request, &policies, Rules::default()).reason {
        Reason::Allowed => "Allowed",
        Reason::ExplicitDeny(_) => "ExplicitlyDenied",
        Reason::ImplicitDeny(_) => "ImplicitlyDenied",
    })
}

/// How many pairs came out how.
#[derive(Default)]
struct Tally {
    allowed: u64,
    denied: u64,
    refused: u64,
    /// Differences by the entry of `KNOWN` that explains them.
    known: [u64; KNOWN.len()],
    unexplained: u64,
    /// The first few.
    shown: String,
}

impl Tally {
    fn count(&mut self, number: u64, case: &Case, ours: &str, theirs: &str) {
        match ours {
            "Allowed" => self.allowed += 1,
            "ExplicitlyDenied" => self.refused += 1,
            _ => self.denied += 1,
        }
        if ours == theirs {
            return;
        }
        if let Some(at) = KNOWN
            .iter()
            .position(|known| (known.explains)(case, ours, theirs))
        {
            self.known[at] += 1;
            return;
        }
        self.unexplained += 1;
        if self.unexplained <= 5 {
            let question = case.question();
            let _ = writeln!(
                self.shown,
                "pair {number}: ours {ours}, theirs {theirs}: {question}"
            );
        }
    }

    fn verdict(self, all: bool) -> Result<(), Failed> {
        let mut text = format!(
            "iam_simulate: {} allowed, {} denied, {} denied explicitly",
            self.allowed, self.denied, self.refused
        );
        for (known, shown) in KNOWN.iter().zip(self.known) {
            let _ = write!(text, "\n  {shown:>5} known: {}. {}", known.what, known.reason);
        }
        support::say(&text);
        if self.unexplained > 0 {
            return Err(format!(
                "{} differences that nothing explains\n{}",
                self.unexplained, self.shown
            )
            .into());
        }
        let stale = KNOWN
            .iter()
            .zip(self.known)
            .filter(|(_, shown)| all && *shown == 0);
        let stale: Vec<&str> = stale.map(|(known, _)| known.what).collect();
        if stale.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "known differences that nothing shows any more: {}",
                stale.join("; ")
            )
            .into())
        }
    }
}
