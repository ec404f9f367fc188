//! Every way in which AWS's own tools find credentials finds them here, too: who is asking is what AWS says of them.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};

use crate::{
    site::{ACCOUNT, REGION, Site, TEAMS},
    support::Running,
};

/// When credentials of the tests end.
const END: &str = "2099-01-01T00:00:00Z";
/// Asks AWS who is asking, and nothing else.
const WHO: [&str; 4] = ["doctor", "--env", "eks", "--create"];
/// A token that whoever signed in with `aws sso login` has.
const SIGNED_IN: &str = "signed-in";

/// An HTTP server of somebody's who hands out credentials.
struct Handing {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Handing {
    /// Answers with what stands beside the path of a request, method first; the heads of all requests are kept.
    fn out(answers: Vec<(&'static str, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let request = answered(&stream.unwrap(), &answers);
                heard.lock().unwrap().push(request);
            }
        });
        Self { address, asked }
    }

    fn heard(&self, words: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|head| head.contains(words))
    }
}

/// Answers one request; its head.
fn answered(mut stream: &TcpStream, answers: &[(&str, String)]) -> String {
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let asked = head.first().map_or("", String::as_str);
    let found = answers.iter().find(|(path, _)| {
        asked
            .strip_prefix(path)
            .is_some_and(|rest| rest.starts_with([' ', '?']))
    });
    let (status, body) = match found {
        Some((_, body)) => ("200 OK", body.as_str()),
        None => ("404 Not Found", ""),
    };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nX-Aws-Ec2-Metadata-Token-Ttl-Seconds: 60\r\nConnection: close\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).unwrap();
    head.join("\n").to_lowercase()
}

/// The command without any credentials.
fn nobody(site: &Site) -> Command {
    let mut command = site.command(&WHO);
    command
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY");
    command
}

#[track_caller]
fn asks_as(command: Command, who: &str) {
    let arn = format!("arn:aws:sts::{ACCOUNT}:assumed-role/{who}/");
    Running::start(command).end().exits(0).prints(&[&arn, REGION]);
}

/// The shared configuration file.
fn configure(site: &Site, text: &str) {
    let folder = site.place.path("home/.aws");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config"), text).unwrap();
}

fn session(site: &Site, role: &str) -> [String; 3] {
    let looks = json!({ "Version": "2012-10-17", "Statement": {
        "Effect": "Allow", "Action": "eks:ListClusters", "Resource": "*",
    } });
    site.session_of(role, &looks.to_string())
}

#[test]
fn a_profile_takes_on_a_role_with_the_key_of_another() {
    let site = Site::start();
    session(&site, "nightly");
    let root = site.endpoint().root_credentials();
    configure(
        &site,
        &format!(
            "[profile base]\naws_access_key_id = {}\naws_secret_access_key = {}\n[profile ci]\nregion = {REGION}\n\
             source_profile = base\nrole_arn = arn:aws:iam::{ACCOUNT}:role/nightly\n",
            root.access_key_id,
            root.secret_access_key()
        ),
    );
    let mut command = nobody(&site);
    command.args(["--profile", "ci"]);
    asks_as(command, "nightly");
}

#[test]
fn a_pod_asks_by_the_token_of_its_service_account() {
    let site = Site::start();
    site.teams_cluster(&[]);
    fs::write(site.place.path("token"), site.token_for_a_role("nightly")).unwrap();
    let mut command = nobody(&site);
    command
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", site.place.path("token"))
        .env("AWS_ROLE_ARN", format!("arn:aws:iam::{ACCOUNT}:role/nightly"));
    asks_as(command, "nightly");
    assert!(site.everything().iter().any(|object| object.contains(TEAMS)));
}

#[test]
fn a_pod_asks_by_the_agent_of_pod_identity() {
    let site = Site::start();
    let [key, secret, token] = session(&site, "nightly");
    let given = json!({ "AccessKeyId": key, "SecretAccessKey": secret, "Token": token, "Expiration": END });
    let agent = Handing::out(vec![("GET /v1/credentials", given.to_string())]);
    fs::write(site.place.path("token"), "of-the-pod").unwrap();
    let mut command = nobody(&site);
    command
        .env(
            "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            format!("{}/v1/credentials", agent.address),
        )
        .env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", site.place.path("token"));
    asks_as(command, "nightly");
    assert!(agent.heard("authorization: of-the-pod"));
}

#[test]
fn an_instance_asks_by_its_metadata() {
    let site = Site::start();
    let [key, secret, token] = session(&site, "nightly");
    let given = json!({
        "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": "2026-01-01T00:00:00Z", "AccessKeyId": key,
        "SecretAccessKey": secret, "Token": token, "Expiration": END,
    });
    let metadata = Handing::out(vec![
        ("PUT /latest/api/token", "of-the-session".to_owned()),
        (
            "GET /latest/meta-data/iam/security-credentials",
            "nightly".to_owned(),
        ),
        (
            "GET /latest/meta-data/iam/security-credentials/",
            "nightly".to_owned(),
        ),
        (
            "GET /latest/meta-data/iam/security-credentials/nightly",
            given.to_string(),
        ),
    ]);
    let mut command = nobody(&site);
    command
        .env_remove("AWS_EC2_METADATA_DISABLED")
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", &metadata.address);
    asks_as(command, "nightly");
    assert!(
        metadata.heard("x-aws-ec2-metadata-token: of-the-session"),
        "IMDSv2"
    );
}

#[test]
fn whoever_signed_in_asks_by_the_portal() {
    let site = Site::start();
    let [key, secret, token] = session(&site, "AWSReservedSSO_admin_0123456789abcdef");
    let given: Value = json!({ "roleCredentials": {
        "accessKeyId": key, "secretAccessKey": secret, "sessionToken": token, "expiration": 4_070_908_800_000_u64,
    } });
    let portal = Handing::out(vec![("GET /federation/credentials", given.to_string())]);
    configure(
        &site,
        &format!(
            "[profile dev]\nsso_session = dev\nsso_account_id = {ACCOUNT}\nsso_role_name = admin\nregion = {REGION}\n\
             [sso-session dev]\nsso_region = {REGION}\nsso_start_url = https://example.awsapps.com/start\n"
        ),
    );
    let cache = site.place.path("home/.aws/sso/cache");
    fs::create_dir_all(&cache).unwrap();
    let signed_in = json!({
        "accessToken": SIGNED_IN, "expiresAt": END, "region": REGION, "startUrl": "https://example.awsapps.com/start",
    });
    // Named by the SHA-1 of the session's name.
    let name = "34c6fceca75e456f25e7e99531e2425c6c1de443.json";
    fs::write(cache.join(name), signed_in.to_string()).unwrap();
    let mut command = nobody(&site);
    command
        .args(["--profile", "dev"])
        .env("AWS_ENDPOINT_URL_SSO", &portal.address);
    asks_as(command, "AWSReservedSSO_admin_0123456789abcdef");
    assert!(portal.heard(&format!("x-amz-sso_bearer_token: {SIGNED_IN}")));
}
