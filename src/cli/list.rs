//! The command `list`.

use std::io;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{
    output::{OK, Output, style},
    scenarios::SelectionArgs,
};
use crate::{
    journal::CasePlan,
    scenario::{Binding, bind::Unbound},
    tenant::Identity,
};

/// Show the cases that a run would try
///
/// A case is a scenario bound to tenants. Names are the ones that reports, `cargo test` and filters
/// use. Nothing is started.
#[derive(Debug, Clone, Default, Args)]
#[command(after_long_help = "\
Examples:
  mountproof list                         everything, with what each case proves
  mountproof list --profile isolation     one profile
  mountproof list 'cross-*' --tenants a,b,c
  mountproof list --format names          one name per line, for scripts
  mountproof list --format json           with tenants, capabilities and files")]
pub struct ListArgs {
    /// Which scenarios.
    #[command(flatten)]
    pub selection: SelectionArgs,

    /// Which tenants.
    #[command(flatten)]
    pub tenants: TenantArgs,

    /// How cases are printed
    #[arg(long, value_enum, default_value_t)]
    pub format: ListFormat,
}

/// Which tenants a run has.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Tenants")]
pub struct TenantArgs {
    /// The run's tenants by name, each a namespace [default: team-red,team-blue]
    #[arg(long, value_name = "NAME,..", value_delimiter = ',', value_parser = tenant_name, conflicts_with = "namespaces")]
    pub tenants: Vec<String>,

    /// So many tenants, named ns-0001 and so on
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=9999))]
    pub namespaces: Option<u16>,

    /// How their pods get their role: by the annotation of their ServiceAccount (IRSA), by an association in EKS (Pod
    /// Identity), or a case for each
    #[arg(long, value_enum, default_value_t)]
    pub identity: IdentityChoice,
}

/// See [`Identity`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum IdentityChoice {
    /// IAM roles for service accounts
    #[default]
    Irsa,
    /// EKS Pod Identity; cases say so in their names
    PodIdentity,
    /// Every case by each
    Both,
}

impl IdentityChoice {
    /// The ways in that it stands for.
    #[must_use]
    pub fn identities(self) -> &'static [Identity] {
        match self {
            Self::Irsa => &[Identity::Irsa],
            Self::PodIdentity => &[Identity::PodIdentity],
            Self::Both => &Identity::ALL,
        }
    }
}

impl TenantArgs {
    /// Their names, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match self.namespaces {
            Some(count) => (1..=count).map(|number| format!("ns-{number:04}")).collect(),
            None if self.tenants.is_empty() => vec!["team-red".to_owned(), "team-blue".to_owned()],
            None => self.tenants.clone(),
        }
    }
}

/// What Kubernetes takes as a namespace.
fn tenant_name(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.is_empty()
        || text.len() > 63
        || !text.bytes().all(fits)
        || text.starts_with('-')
        || text.ends_with('-')
    {
        return Err(
            "a namespace is lower-case letters, digits and `-` between them, 63 characters at most"
                .to_owned(),
        );
    }
    Ok(text.to_owned())
}

/// How cases are printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum ListFormat {
    /// For people: by profile, with what each proves
    #[default]
    Text,
    /// For programs: one JSON document
    Json,
    /// For scripts: one name per line
    Names,
}

/// Prints the cases. Answers with the exit code.
pub fn run(args: &ListArgs, output: &mut Output<'_>) -> io::Result<u8> {
    let tenants = args.tenants.names();
    let binding = match args.selection.plan(&tenants, args.tenants.identity, output)? {
        Ok(binding) => binding,
        Err(code) => return Ok(code),
    };
    match args.format {
        ListFormat::Text => text(&binding, &tenants, args.tenants.identity, output)?,
        ListFormat::Json => json(&binding, output)?,
        ListFormat::Names => {
            for case in &binding.cases {
                writeln!(output.out, "{}", case.plan.case)?;
            }
        }
    }
    Ok(OK)
}

/// Scenarios that a run leaves out for its way in. One that has none but IRSA is as ever: what there is beside it is in
/// `--help`.
pub(super) fn about_another(binding: &Binding, choice: IdentityChoice) -> &[(String, Identity)] {
    if choice == IdentityChoice::Irsa {
        &[]
    } else {
        &binding.left_out
    }
}

fn text(
    binding: &Binding,
    tenants: &[String],
    choice: IdentityChoice,
    output: &mut Output<'_>,
) -> io::Result<()> {
    let width = binding
        .cases
        .iter()
        .map(|case| case.plan.case.chars().count())
        .max()
        .unwrap_or_default();
    let mut profile = "";
    for case in &binding.cases {
        let plan = &case.plan;
        if plan.profile != profile {
            let gap = if profile.is_empty() { "" } else { "\n" };
            profile = &plan.profile;
            writeln!(output.out, "{gap}{0}{profile}{0:#}", style::STRONG)?;
        }
        writeln!(output.out, "  {:width$}  {}", plan.case, plan.description)?;
        if !plan.requires.is_empty() {
            let needs = plan.requires.join(", ");
            writeln!(output.out, "  {:width$}  {1}needs {needs}{1:#}", "", style::FAINT)?;
        }
    }
    for unbound in &binding.unbound {
        let Unbound { scenario, needs, has } = unbound;
        writeln!(
            output.out,
            "\n{0}not tried{0:#}  {scenario}: needs {needs} tenants, the run has {has}",
            style::WARNING
        )?;
    }
    for (scenario, identity) in about_another(binding, choice) {
        writeln!(
            output.out,
            "\n{0}left out{0:#}  {scenario}: is about {identity} alone",
            style::FAINT
        )?;
    }
    let mut scenarios: Vec<&str> = binding
        .cases
        .iter()
        .map(|case| case.plan.scenario.as_str())
        .collect();
    scenarios.dedup();
    let shown = if tenants.len() <= 4 {
        tenants.join(", ")
    } else {
        format!("{} of them", tenants.len())
    };
    writeln!(
        output.out,
        "\n{} cases of {} scenarios, tenants: {shown}",
        binding.cases.len(),
        scenarios.len()
    )
}

fn json(binding: &Binding, output: &mut Output<'_>) -> io::Result<()> {
    #[derive(Serialize)]
    struct Listing<'a> {
        cases: Vec<&'a CasePlan>,
        unbound: Vec<&'a str>,
    }

    let listing = Listing {
        cases: binding.cases.iter().map(|case| &case.plan).collect(),
        unbound: binding
            .unbound
            .iter()
            .map(|unbound| unbound.scenario.as_str())
            .collect(),
    };
    serde_json::to_writer_pretty(&mut *output.out, &listing).map_err(io::Error::from)?;
    writeln!(output.out)
}
