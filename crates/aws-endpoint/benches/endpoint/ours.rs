//! What is measured of the endpoint.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use mountproof_run_tls::RunCa;
use serde_json::json;

use crate::{
    Plan, https,
    load::{Client, Figures, Pace, Until, Way, bytes, run},
    row,
    server::{Served, Unguarding, Waits},
    sites::{self, Site},
    support::{Caller, Issuer, REGION, iam_request, now, secrets_request, signed, signed_at, sts_request},
};

/// Requests that are made beforehand, and sent in turn.
const PREPARED: usize = 4000;
const SECRETS: &str = "secretsmanager.eu-west-1.amazonaws.com";
const STS: &str = "sts.eu-west-1.amazonaws.com";
const AUDIENCE: &str = "sts.amazonaws.com";

/// Prints everything about ours; how many `GetSecretValue` a second over HTTP.
pub(crate) async fn measure(plan: Plan) -> f64 {
    let ca = RunCa::generate("bench issuer").unwrap();
    let issuer = Issuer::start(&ca).await;
    let mut served = Served::start(ca.certificate_pem()).await;
    let root = Caller {
        id: served.ready.key.clone(),
        secret: served.ready.secret.clone(),
        token: None,
    };
    let secure = https(served.ready.https, &served.ready.ca, SECRETS);
    let over_http = Way::http(served.ready.http);
    let empty = served.rss();
    populate(&over_http, &root, &issuer, plan).await;
    println!(
        "{} secrets of 64 bytes, {} roles with a policy each: {:.0} MiB, from {:.0} MiB with nothing",
        plan.secrets,
        plan.roles,
        served.rss().unwrap_or_default(),
        empty.unwrap_or_default(),
    );

    let time = Until::Time(plan.time);
    let caller = assume(&over_http, &root, SystemTime::now()).await;
    let reads = reads(plan, &caller, SystemTime::now());
    served.waits().await;
    let closed = run(&secure, &reads, plan.connections, Pace::Closed, time).await;
    row("GetSecretValue, HTTPS, closed loop", &closed, served.rss());
    waited(served.waits().await, &closed);
    let half = closed.rate / 2.0;
    let open = run(&secure, &reads, plan.connections * 4, Pace::Open(half), time).await;
    row(
        &format!("GetSecretValue, HTTPS, open loop at {half:.0}/s"),
        &open,
        served.rss(),
    );
    let open = run(&secure, &reads, plan.connections * 4, Pace::Open(5000.0), time).await;
    row("GetSecretValue, HTTPS, open loop at 5000/s", &open, served.rss());
    let http = run(&over_http, &reads, plan.connections, Pace::Closed, time).await;
    row("GetSecretValue, HTTP, closed loop", &http, served.rss());
    served.waits().await;
    let tokens = tokens(plan, &issuer);
    let sts = https(served.ready.https, &served.ready.ca, STS);
    let assumed = run(&sts, &tokens, plan.connections, Pace::Closed, time).await;
    row(
        "AssumeRoleWithWebIdentity, RS256, HTTPS, closed loop",
        &assumed,
        served.rss(),
    );
    waited(served.waits().await, &assumed);

    let gated = through_gateway(plan, &issuer, ca.certificate_pem()).await;
    println!(
        "  the gateway before a backend on the same cores: {:.0}% of the calls without one, three calls of its own for each",
        gated / closed.rate * 100.0
    );

    day(plan, &mut served, &secure, &tokens, &root).await;
    http.rate
}

/// Prints how often a call waited for a lock.
fn waited(waits: Waits, figures: &Figures) {
    println!(
        "  of {} calls {} waited for the call log's lock, {} for another",
        figures.calls(),
        waits.log,
        waits.others
    );
}

/// Prints what is left with a backend that keeps the secrets; how many `GetSecretValue` a second. For each the
/// gateway asks the backend for the secret, for its policy, and once it is decided for the value.
async fn through_gateway(plan: Plan, issuer: &Issuer, trust: &str) -> f64 {
    let plan = Plan {
        secrets: 200,
        roles: 10,
        ..plan
    };
    let backend = Unguarding::start().await;
    let served = Served::start_before(&backend, trust).await;
    let root = Caller {
        id: served.ready.key.clone(),
        secret: served.ready.secret.clone(),
        token: None,
    };
    let over_http = Way::http(served.ready.http);
    populate(&over_http, &root, issuer, plan).await;
    let caller = assume(&over_http, &root, SystemTime::now()).await;
    let reads = reads(plan, &caller, SystemTime::now());
    let secure = https(served.ready.https, &served.ready.ca, SECRETS);
    let gated = run(
        &secure,
        &reads,
        plan.connections,
        Pace::Closed,
        Until::Time(plan.time),
    )
    .await;
    row(
        "GetSecretValue through the gateway, HTTPS, closed loop",
        &gated,
        served.rss(),
    );
    gated.rate
}

/// A kind of call whose cost is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Counted {
    Read { secure: bool },
    Assume,
}

/// What one call costs the server.
pub(crate) struct Cost {
    pub(crate) instructions: u64,
    /// How often memory is asked for.
    pub(crate) allocations: u64,
}

/// What one call over a kept-alive connection costs, counted by valgrind's callgrind from the first call that finds
/// everything warm: the same on a machine that is busy. The profile stays in `file`. Callgrind's processor has no
/// SHA instructions, so that hashing weighs more than it does outside.
pub(crate) async fn cost(counted: Counted, file: &str) -> Cost {
    let output = format!("--callgrind-out-file={file}");
    let runner = [
        "valgrind",
        "--quiet",
        "--tool=callgrind",
        "--compress-strings=no",
        &output,
    ];
    let mut watched = Watched::start(counted, &runner).await;
    watched.served.control("--zero").await;
    watched.call(CALLS).await;
    watched.served.control("--dump").await;
    watched.served.ended().await;
    // The first dump, of what came before the end.
    let profile = std::fs::read_to_string(format!("{file}.1")).unwrap();
    std::fs::rename(format!("{file}.1"), file).unwrap();
    let totals = profile.lines().find_map(|line| line.strip_prefix("totals: "));
    let instructions: u64 = totals.unwrap().trim().parse().unwrap();
    Cost {
        instructions: instructions / CALLS as u64,
        allocations: allocations(&profile) / CALLS as u64,
    }
}

/// Where one call asks for memory, counted by valgrind's DHAT, whose profile stays in `file`.
pub(crate) async fn sites(counted: Counted, file: &str) -> Vec<Site> {
    let output = format!("--dhat-out-file={file}");
    let runner = ["valgrind", "--quiet", "--tool=dhat", "--num-callers=40", &output];
    let mut watched = Watched::start(counted, &runner).await;
    watched.call(CALLS).await;
    watched.served.ended().await;
    sites::of(&std::fs::read_to_string(file).unwrap(), CALLS)
}

/// Calls that are counted.
const CALLS: usize = 2000;

/// The server under a program that watches it, with everything warm.
struct Watched {
    served: Served,
    client: Client,
    requests: Arc<Vec<Vec<u8>>>,
    /// What its tokens are verified with.
    _issuer: Issuer,
}

impl Watched {
    async fn start(counted: Counted, runner: &[&str]) -> Self {
        let plan = Plan {
            secrets: 50,
            roles: 5,
            ..crate::QUICK
        };
        let ca = RunCa::generate("bench issuer").unwrap();
        let issuer = Issuer::start(&ca).await;
        let served = Served::start_under(runner, ca.certificate_pem(), None).await;
        let root = Caller {
            id: served.ready.key.clone(),
            secret: served.ready.secret.clone(),
            token: None,
        };
        let over_http = Way::http(served.ready.http);
        populate(&over_http, &root, &issuer, plan).await;
        let caller = assume(&over_http, &root, SystemTime::now()).await;
        let (way, requests) = match counted {
            Counted::Read { secure: false } => (over_http, reads(plan, &caller, SystemTime::now())),
            Counted::Read { secure: true } => (
                https(served.ready.https, &served.ready.ca, SECRETS),
                reads(plan, &caller, SystemTime::now()),
            ),
            Counted::Assume => (
                https(served.ready.https, &served.ready.ca, STS),
                tokens(plan, &issuer),
            ),
        };
        let mut watched = Self {
            served,
            client: Client::new(way),
            requests,
            _issuer: issuer,
        };
        watched.call(watched.requests.len()).await;
        watched
    }

    async fn call(&mut self, calls: usize) {
        for request in self.requests.iter().cycle().take(calls) {
            self.client.call(request).await;
        }
    }
}

/// How often a profile's program asked the C library for memory.
fn allocations(profile: &str) -> u64 {
    let lines = profile.lines().zip(profile.lines().skip(1));
    let asks = ["cfn=malloc", "cfn=calloc", "cfn=realloc", "cfn=posix_memalign"];
    let times = lines
        .filter(|(called, _)| asks.contains(called))
        .filter_map(|(_, calls)| {
            calls
                .strip_prefix("calls=")?
                .split(' ')
                .next()?
                .parse::<u64>()
                .ok()
        });
    times.sum()
}

/// A day's calls, hour after hour: the clock goes on, sessions expire and are forgotten.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52 calls")]
async fn day(plan: Plan, served: &mut Served, way: &Way, tokens: &Arc<Vec<Vec<u8>>>, root: &Caller) {
    let mut sizes = Vec::new();
    let mut calls = 0;
    for hour in 0..plan.hours {
        served.faults(&format!("clock-step:{hour}h")).await;
        let at = SystemTime::now() + Duration::from_hours(1) * u32::try_from(hour).unwrap();
        let caller = assume(way, root, at).await;
        let reads = reads(plan, &caller, at);
        let read = Until::Calls(plan.hourly * 9 / 10);
        run(way, &reads, plan.connections, Pace::Closed, read).await;
        run(
            way,
            tokens,
            plan.connections,
            Pace::Closed,
            Until::Calls(plan.hourly / 10),
        )
        .await;
        calls += plan.hourly;
        sizes.push(served.rss().unwrap_or_default());
    }
    served.faults("").await;
    // The call log is full, and the first sessions are forgotten, after some hours.
    let full = sizes[sizes.len() / 4];
    println!(
        "a day's calls at {:.1}/s, {calls} in all, one in ten for a new session: {:.0} MiB after {} hours, {:.0} MiB at the end",
        plan.hourly as f64 / 3600.0,
        full,
        sizes.len() / 4 + 1,
        sizes[sizes.len() - 1],
    );
}

/// Secrets, roles and the provider of the issuer.
async fn populate(way: &Way, root: &Caller, issuer: &Issuer, plan: Plan) {
    let mut client = Client::new(way.clone());
    let provider = [("Url", issuer.url.as_str()), ("ClientIDList.member.1", AUDIENCE)];
    let request = signed(iam_request("CreateOpenIDConnectProvider", &provider), root);
    client.call(&bytes(&request)).await;
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let (way, root, issuer) = (way.clone(), root.clone(), issuer.name().to_owned());
            tokio::spawn(async move {
                let mut client = Client::new(way);
                for number in (worker..plan.secrets).step_by(4) {
                    let secret = json!({ "Name": name(plan, number), "SecretString": "x".repeat(64) });
                    let request = signed(secrets_request(REGION, "CreateSecret", secret), &root);
                    client.call(&bytes(&request)).await;
                }
                for number in (worker..plan.roles).step_by(4) {
                    for request in role(number, &issuer) {
                        client.call(&bytes(&signed(request, &root))).await;
                    }
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
}

/// The secrets are spread over the tenants.
fn name(plan: Plan, number: usize) -> String {
    format!("demo/team-{}/secret-{number}", number % plan.roles)
}

/// A role that trusts the tenant's service account and the account, and reads the tenant's secrets.
fn role(number: usize, issuer: &str) -> [http::Request<bytes::Bytes>; 2] {
    let name = format!("team-{number}");
    let trust = json!({"Version": "2012-10-17", "Statement": [
        {
            "Effect": "Allow", "Action": "sts:AssumeRoleWithWebIdentity",
            "Principal": {"Federated": format!("arn:aws:iam::000000000000:oidc-provider/{issuer}")},
            "Condition": {"StringEquals": {
                format!("{issuer}:sub"): format!("system:serviceaccount:{name}:default"),
                format!("{issuer}:aud"): AUDIENCE,
            }},
        },
        {
            "Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": {"AWS": "arn:aws:iam::000000000000:root"},
        },
    ]})
    .to_string();
    let policy = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow",
        "Action": ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"],
        "Resource": format!("arn:aws:secretsmanager:*:*:secret:demo/{name}/*"),
    }]})
    .to_string();
    [
        iam_request(
            "CreateRole",
            &[("RoleName", &name), ("AssumeRolePolicyDocument", &trust)],
        ),
        iam_request(
            "PutRolePolicy",
            &[
                ("RoleName", &name),
                ("PolicyName", "own"),
                ("PolicyDocument", &policy),
            ],
        ),
    ]
}

/// A session of the first tenant's role.
async fn assume(way: &Way, root: &Caller, at: SystemTime) -> Caller {
    let wanted = [
        ("RoleArn", "arn:aws:iam::000000000000:role/team-0"),
        ("RoleSessionName", "load"),
    ];
    let request = signed_at(sts_request("AssumeRole", &wanted), root, at);
    let mut client = Client::new(way.clone());
    let text = String::from_utf8(client.call(&bytes(&request)).await.to_vec()).unwrap();
    crate::support::Answer { status: 200, text }.caller()
}

/// Reads of the first tenant's secrets, signed at `at`.
fn reads(plan: Plan, caller: &Caller, at: SystemTime) -> Arc<Vec<Vec<u8>>> {
    let own: Vec<usize> = (0..plan.secrets).step_by(plan.roles).collect();
    let request = |turn: usize| {
        let id = name(plan, own[turn % own.len()]);
        let request = secrets_request(REGION, "GetSecretValue", json!({ "SecretId": id }));
        bytes(&signed_at(request, caller, at))
    };
    Arc::new((0..own.len().max(50)).map(request).collect())
}

/// Calls with tokens of many tenants, each for its role.
fn tokens(plan: Plan, issuer: &Issuer) -> Arc<Vec<Vec<u8>>> {
    let request = |turn: usize| {
        let tenant = format!("team-{}", turn % plan.roles);
        let mut claims = issuer.claims(&tenant);
        // For as long as the simulated day lasts.
        claims["exp"] = json!(now() + 30 * 3600);
        let token = issuer.sign(&claims);
        let role = format!("arn:aws:iam::000000000000:role/{tenant}");
        let params = [
            ("RoleArn", role.as_str()),
            ("RoleSessionName", "load"),
            ("WebIdentityToken", &token),
        ];
        bytes(&sts_request("AssumeRoleWithWebIdentity", &params))
    };
    Arc::new((0..PREPARED.min(plan.roles)).map(request).collect())
}
