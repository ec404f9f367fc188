//! The command `probe`: what a denial of an AWS endpoint is worth.

use std::{
    fs, io,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use mountproof_run_tls::RunCa;

use super::output::{OK, Output, USAGE, style};
use crate::{
    aws::{AdminKey, Answer, Aws, AwsAccess, AwsError, Judged, judge},
    environment::TokenIssuer,
    redact::Redactor,
    report::ExitCode,
};

/// Longest wait for an endpoint that is started once the issuer's authority is there.
const APPEARANCE: Duration = Duration::from_mins(1);

/// Ask any AWS endpoint what a denial of its is worth
///
/// Makes two tenants in the account (roles, policies, secrets), tries what must be refused, and removes them
/// again: a token that nobody signed, a wrong signature, the other tenant's secret, a secret whose own policy
/// denies it. An endpoint is judged by what it does; what it calls itself is not asked. Whoever may come in has to
/// be let in, too: for genuine tokens, have the endpoint trust the issuer of --issuer-ca-out. Where the root key
/// assumes no role (AWS; `mountproof endpoint` without --root-assumes-roles), there is no other way. Exit code 0 when
/// all was tried, 6 when something could not be, 3 when the endpoint does not answer.
#[derive(Debug, Clone, Args)]
#[command(after_long_help = "\
Examples:
  mountproof probe http://127.0.0.1:4566 --credentials test:test
                       LocalStack, moto, or mountproof endpoint --root-assumes-roles
  MOUNTPROOF_ROOT_CREDENTIALS=test:test mountproof probe https://127.0.0.1:4567 --ca ca.pem
  mountproof probe http://127.0.0.1:4566 --credentials test:test --issuer-ca-out issuer.pem
                       and, once issuer.pem is there: mountproof endpoint --issuer-ca issuer.pem ...")]
pub struct ProbeArgs {
    /// Where every service of it is reached
    #[arg(value_name = "URL")]
    pub url: String,

    /// The key of an administrator of the account
    #[arg(
        long,
        value_name = "KEY:SECRET",
        env = "MOUNTPROOF_ROOT_CREDENTIALS",
        hide_env_values = true
    )]
    pub credentials: String,

    /// The authorities to trust, as PEM; for https
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    /// Issue genuine tokens on 127.0.0.1, write the authority to trust for it to FILE, and wait until the endpoint
    /// answers
    #[arg(long, value_name = "FILE")]
    pub issuer_ca_out: Option<PathBuf>,

    /// Region of the secrets
    #[arg(long, value_name = "REGION", default_value = "us-east-1")]
    pub region: String,
}

/// Judges the endpoint and prints the answers; the exit code.
///
/// # Errors
///
/// When a stream cannot be written.
pub async fn run(args: &ProbeArgs, redactor: &Redactor, output: &mut Output<'_>) -> io::Result<u8> {
    let complain = |output: &mut Output<'_>, text: String, code: u8| -> io::Result<u8> {
        writeln!(output.err, "{}error{:#}: {text}", style::ERROR, style::ERROR)?;
        Ok(code)
    };
    let Some((key, secret)) = args.credentials.split_once(':') else {
        let text = "expected --credentials as KEY:SECRET, such as test:test".to_owned();
        return complain(output, text, USAGE);
    };
    redactor.protect(secret.as_bytes());
    let trust = match (&args.ca, args.url.starts_with("http://")) {
        (Some(file), _) => match fs::read_to_string(file) {
            Ok(pem) => pem,
            Err(error) => {
                return complain(output, format!("cannot read {}: {error}", file.display()), USAGE);
            }
        },
        // Nothing is trusted where nothing is encrypted.
        (None, true) => match RunCa::generate("probe") {
            Ok(ca) => ca.certificate_pem().to_owned(),
            Err(error) => return complain(output, error.to_string(), USAGE),
        },
        (None, false) => {
            let text = "an https address needs the authority to trust: --ca FILE".to_owned();
            return complain(output, text, USAGE);
        }
    };
    let key = AdminKey::new(key, secret);
    let access = AwsAccess {
        region: args.region.clone(),
        account: String::new(),
        partition: "aws".to_owned(),
        endpoint: Some(args.url.clone()),
        trust_pem: Some(trust),
        proxy: None,
    };
    let issuer = match &args.issuer_ca_out {
        None => None,
        Some(file) => match TokenIssuer::start().await {
            Ok(issuer) => match fs::write(file, issuer.ca_pem()) {
                Ok(()) => Some(issuer),
                Err(error) => {
                    return complain(output, format!("cannot write {}: {error}", file.display()), USAGE);
                }
            },
            Err(error) => return complain(output, error, ExitCode::EnvironmentUnavailable.code()),
        },
    };
    let judged = ask(access, key, issuer.as_ref()).await;
    if let Some(issuer) = issuer {
        issuer.stop().await;
    }
    match judged {
        Ok(judged) => print(&judged, output),
        Err(error) => complain(
            output,
            format!("cannot judge {}: {error}", args.url),
            ExitCode::EnvironmentUnavailable.code(),
        ),
    }
}

async fn ask(
    mut access: AwsAccess,
    key: AdminKey,
    issuer: Option<&TokenIssuer>,
) -> Result<Vec<Judged>, AwsError> {
    let arn = whoami(&access, &key, issuer.is_some()).await?;
    access.account = arn.split(':').nth(4).unwrap_or_default().to_owned();
    let run = uuid::Uuid::new_v4().simple().to_string();
    let genuine = match issuer {
        None => Err("the endpoint trusts no issuer of this program (--issuer-ca-out)".to_owned()),
        Some(issuer) => issuer.tokens(&run[..8]).await,
    };
    judge(&Aws::connect(access, key)?, &run[..8], &genuine).await
}

/// Who the administrator is, once the endpoint answers if it is to be waited for.
async fn whoami(access: &AwsAccess, key: &AdminKey, wait: bool) -> Result<String, AwsError> {
    let until = Instant::now() + APPEARANCE;
    loop {
        match Aws::connect(access.clone(), key.clone())?.whoami().await {
            Err(error) if wait && !error.is_answer() && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            seen => return seen,
        }
    }
}

fn print(judged: &[Judged], output: &mut Output<'_>) -> io::Result<u8> {
    let mut all_tried = true;
    for Judged { capability, answer } in judged {
        let (style, word, text) = match answer {
            Answer::Yes(text) => (style::GOOD, "yes", text),
            Answer::No(text) => (style::ERROR, "no", text),
            Answer::Unknown(text) => {
                all_tried = false;
                (style::WARNING, "?", text)
            }
        };
        writeln!(output.out, "  {style}{word:<4}{style:#} {capability:<20} {text}")?;
    }
    let is = |wanted: fn(&Answer) -> bool| move |judged: &Judged| wanted(&judged.answer);
    let text = if judged.iter().any(is(|answer| matches!(answer, Answer::No(_)))) {
        "a denial of this endpoint proves nothing about isolation"
    } else if judged.iter().all(is(|answer| matches!(answer, Answer::Yes(_)))) {
        "a denial of this endpoint proves isolation"
    } else {
        "what a denial of this endpoint proves is not known: not everything could be tried"
    };
    writeln!(output.out, "\n{text}")?;
    Ok(if all_tried {
        OK
    } else {
        ExitCode::Inconclusive.code()
    })
}
