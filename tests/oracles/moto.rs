//! moto's tests, which are in its source distribution, against the endpoint in place of moto.
//!
//! Some of them were verified against AWS: all of these have to pass that are about what is here. Of the others, which
//! pin moto's own habits too, `passing.txt` has those that have to pass and `excluded.txt` those that cannot, with
//! reasons. A test in neither is a failure, and so is one in the wrong one. A file of which nothing is about what is
//! here stands in `excluded.txt` as a whole and is not run.
//!
//! `outcomes.py` bounds every test, and adds what moto does not ask for and AWS does: a trust policy that is one, and
//! the roles of clusters.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use libtest_mimic::{Failed, Trial};

use crate::support::{FETCHING, Program, ended, finished, fixture, prepared, python, without_proxies};

/// The version whose tests these are; as in `requirements.txt`.
const MOTO: &str = "moto==5.2.5";
/// Longest time for all suites.
const RUNNING: Duration = Duration::from_mins(9);
/// The keys that moto signs with, and its account.
const ROOT: &str = "FOOBARKEY:FOOBARSECRET";
const ACCOUNT: &str = "123456789012";
/// The suites of services that are here; `tests/test_eksauth` there is none.
const SUITES: [&str; 6] = [
    "tests/test_eks",
    "tests/test_iam",
    "tests/test_kms",
    "tests/test_secretsmanager",
    "tests/test_ssm",
    "tests/test_sts",
];
/// How many tests of Secrets Manager moto verified against AWS, which need no other service.
const VERIFIED: usize = 9;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        Trial::test("moto::tests_verified_against_aws_pass", verified),
        Trial::test("moto::its_suites_pass_but_for_what_is_excluded", suites),
    ]
}

fn verified() -> Result<(), Failed> {
    let program = Program::with_root(ROOT, &["--account", ACCOUNT])?;
    let outcomes = Suite::prepared()?.run(&program, "verified", |pytest| {
        pytest
            .args(["tests/test_secretsmanager", "-m", "aws_verified"])
            .env("MOTO_TEST_ALLOW_AWS_REQUEST", "true");
    })?;
    let failed: Vec<&String> = outcomes
        .iter()
        .filter(|(_, outcome)| *outcome != "passed")
        .map(|(node, _)| node)
        .collect();
    if !failed.is_empty() || outcomes.len() != VERIFIED {
        let count = outcomes.len();
        return Err(format!("of {count} tests (expected {VERIFIED}) these did not pass: {failed:#?}").into());
    }
    program.stop()
}

fn suites() -> Result<(), Failed> {
    let passing = read("moto/passing.txt")?;
    let (excluded, files): (BTreeMap<_, _>, BTreeMap<_, _>) = read("moto/excluded.txt")?
        .into_iter()
        .partition(|(node, _)| node.contains("::"));
    let program = Program::with_root(ROOT, &["--account", ACCOUNT, "--moto-reset"])?;
    let suite = Suite::prepared()?;
    let outcomes = suite.run(&program, "suites", |pytest| {
        pytest.args(SUITES).env("TEST_SERVER_MODE", "true");
        pytest.args(files.keys().map(|file| format!("--ignore={file}")));
    })?;
    program.stop()?;
    let mut wrong = Vec::new();
    for (file, reason) in &files {
        if !suite.tests.join(file).is_file() {
            wrong.push(format!("{file} is listed and there is no such file"));
        }
        if reason.is_empty() {
            wrong.push(format!("{file} is excluded without a reason"));
        }
    }
    for (node, outcome) in &outcomes {
        let said = match (passing.contains_key(node), excluded.get(node)) {
            (true, Some(_)) => "is in both lists",
            (false, None) => "is in neither list",
            (true, None) if outcome != "passed" => "does not pass, and should",
            (false, Some(reason)) if reason.is_empty() => "is excluded without a reason",
            (false, Some(_)) if outcome == "passed" => "passes: its exclusion is stale",
            _ => continue,
        };
        wrong.push(format!("{node} ({outcome}) {said}"));
    }
    for node in passing.keys().chain(excluded.keys()) {
        if !outcomes.contains_key(node) {
            wrong.push(format!("{node} is listed and there is no such test"));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n").into())
    }
}

/// The node ids of a list, each with the reason that stands before its group.
fn read(below: &str) -> Result<BTreeMap<String, String>, Failed> {
    let path = fixture(below);
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut nodes = BTreeMap::new();
    let mut reason = "";
    for line in text.lines().filter(|line| !line.is_empty()) {
        match line.strip_prefix('#') {
            Some(text) => reason = text.trim(),
            None => {
                nodes.insert(line.to_owned(), reason.to_owned());
            }
        }
    }
    Ok(nodes)
}

/// moto's tests and what runs them.
struct Suite {
    python: PathBuf,
    tests: PathBuf,
}

impl Suite {
    fn prepared() -> Result<Self, Failed> {
        let requirements = fixture("moto/requirements.txt");
        let python = python("moto", &requirements)?;
        let tests = prepared("moto-tests", &[requirements], |folder| fetch(&python, folder))?;
        Ok(Self {
            python,
            tests: tests.join("unpacked"),
        })
    }

    /// Runs tests against a program; the outcome of each.
    fn run(
        &self,
        program: &Program,
        name: &str,
        choose: impl FnOnce(&mut Command),
    ) -> Result<BTreeMap<String, String>, Failed> {
        let file = self.tests.join(format!("outcomes-{name}"));
        // What an earlier run said is not what this one says.
        let _ = fs::remove_file(&file);
        let mut pytest = Command::new(&self.python);
        pytest.current_dir(&self.tests);
        pytest.args([
            "-m",
            "pytest",
            "-q",
            "--tb=line",
            "-p",
            "no:cacheprovider",
            "-p",
            "outcomes",
        ]);
        let (key, secret) = ROOT.split_once(':').unwrap_or_default();
        program.client(&mut pytest);
        without_proxies(&mut pytest);
        pytest
            .env("PYTHONPATH", fixture("moto"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("OUTCOMES", &file)
            .env("AWS_ACCESS_KEY_ID", key)
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .env("TEST_SERVER_MODE_ENDPOINT", program.http());
        choose(&mut pytest);
        // Whether all passed is not the question.
        let (_, out, err) = ended(&mut pytest, RUNNING)?;
        let outcomes =
            fs::read_to_string(&file).map_err(|_| format!("pytest did not come to its end\n{out}\n{err}"))?;
        let outcomes = outcomes.lines().filter_map(|line| line.split_once('\t'));
        Ok(outcomes
            .map(|(outcome, node)| (node.to_owned(), outcome.to_owned()))
            .collect())
    }
}

fn fetch(python: &Path, folder: &Path) -> Result<(), Failed> {
    let mut download = Command::new(python);
    download
        .args([
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--no-binary",
            ":all:",
            MOTO,
            "-d",
        ])
        .arg(folder);
    finished(download, FETCHING)?;
    let archive = fs::read_dir(folder)?
        .flatten()
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "gz"));
    let unpacked = folder.join("unpacked");
    fs::create_dir(&unpacked)?;
    let mut unpack = Command::new("tar");
    unpack
        .args(["--extract", "--strip-components=1", "--file"])
        .arg(archive.ok_or("there is no source distribution of moto")?)
        .arg("--directory")
        .arg(&unpacked);
    finished(unpack, FETCHING)?;
    // The tests are to judge with the moto that is installed, not with a second copy.
    fs::remove_dir_all(unpacked.join("moto"))?;
    Ok(())
}
