//! PURE. What a run in an account costs, by AWS's published prices.
//!
//! Prices are those of US East (N. Virginia), on demand, as the pages named below had them on [`AS_OF`]: other regions differ by
//! a few tenths, and what an account has agreed with AWS is not known here.

/// When the pages were read.
pub(super) const AS_OF: &str = "2026-11";

/// US dollars an hour of a cluster whose version has standard support ("Amazon EKS pricing").
const CLUSTER: f64 = 0.10;
/// The same in extended support.
const CLUSTER_EXTENDED: f64 = 0.60;
/// US dollars an hour of a node ("Amazon EC2 On-Demand Pricing", Linux).
const INSTANCES: &[(&str, f64)] = &[
    ("m5.large", 0.096),
    ("m6i.large", 0.096),
    ("m6i.xlarge", 0.192),
    ("m7i.large", 0.1008),
    ("t3.large", 0.0832),
    ("t3.medium", 0.0416),
    ("t3.small", 0.0208),
    ("t3.xlarge", 0.1664),
    ("t3a.medium", 0.0376),
    ("t4g.medium", 0.0336),
];
/// US dollars a month of a node's volume of 20 GiB ("Amazon EBS pricing", gp3).
const VOLUME_MONTH: f64 = 20.0 * 0.08;
/// US dollars a month of a secret, by the hour ("AWS Secrets Manager pricing").
const SECRET_MONTH: f64 = 0.40;
/// US dollars for 10,000 calls of Secrets Manager.
const CALLS: f64 = 0.05;
/// Hours of a month, as AWS counts them.
const MONTH: f64 = 730.0;

/// What a run has in the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Priced<'a> {
    /// Whether the cluster is made for the run; one that was there costs nothing more.
    pub(super) cluster: bool,
    /// Nodes that are made for it.
    pub(super) nodes: u32,
    /// What they are.
    pub(super) instance_type: &'a str,
    /// Secrets.
    pub(super) secrets: usize,
    /// Calls of Secrets Manager, about.
    pub(super) calls: u64,
}

/// What it costs, a line each, the sum last.
#[must_use]
pub(super) fn lines(priced: Priced<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut hourly = 0.0;
    if priced.cluster {
        hourly += CLUSTER;
        lines.push(format!(
            "EKS cluster               $ {CLUSTER:.4} an hour ({CLUSTER_EXTENDED:.2} where the version is in extended support)"
        ));
        let volume = VOLUME_MONTH / MONTH;
        match price_of(priced.instance_type) {
            Some(price) => {
                let each = price + volume;
                let nodes = each * f64::from(priced.nodes);
                hourly += nodes;
                lines.push(format!(
                    "{} {:<22} $ {nodes:.4} an hour ({each:.4} each, with its volume of 20 GiB)",
                    priced.nodes, priced.instance_type
                ));
            }
            None => lines.push(format!(
                "{} {:<22} a price that is not known here: see \"Amazon EC2 On-Demand Pricing\"",
                priced.nodes, priced.instance_type
            )),
        }
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "so many secrets and calls nobody pays for"
    )]
    let (secrets, calls) = (
        priced.secrets as f64 * SECRET_MONTH / MONTH,
        priced.calls as f64 * CALLS / 10_000.0,
    );
    hourly += secrets;
    lines.push(format!(
        "{:<25} $ {secrets:.4} an hour",
        of(priced.secrets, "secret")
    ));
    lines.push(format!(
        "Secrets Manager's calls   $ {calls:.4} a run (about {} of them)",
        priced.calls
    ));
    lines.push(format!(
        "together                  $ {hourly:.4} an hour, and $ {calls:.4} a run; prices of us-east-1, {AS_OF}, without tax and traffic"
    ));
    lines
}

fn price_of(instance_type: &str) -> Option<f64> {
    let found = INSTANCES.iter().find(|(name, _)| *name == instance_type);
    found.map(|(_, price)| *price)
}

fn of(count: usize, what: &str) -> String {
    if count == 1 {
        format!("1 {what}")
    } else {
        format!("{count} {what}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: Priced<'_> = Priced {
        cluster: true,
        nodes: 2,
        instance_type: "t3.medium",
        secrets: 30,
        calls: 2_000,
    };

    #[test]
    fn a_cluster_of_ones_own_is_most_of_it() {
        let text = lines(SEED).join("\n");
        for line in [
            "EKS cluster               $ 0.1000 an hour",
            "2 t3.medium              $ 0.0876 an hour (0.0438 each",
            "30 secrets                $ 0.0164 an hour",
            "Secrets Manager's calls   $ 0.0100 a run",
            "together                  $ 0.2040 an hour, and $ 0.0100 a run",
        ] {
            assert!(text.contains(line), "{line}\n--- in\n{text}");
        }
    }

    #[test]
    fn a_cluster_that_was_there_costs_nothing_more() {
        let text = lines(Priced {
            cluster: false,
            ..SEED
        })
        .join("\n");
        assert!(!text.contains("EKS") && !text.contains("t3.medium"), "{text}");
        assert!(
            text.contains("together                  $ 0.0164 an hour"),
            "{text}"
        );
    }

    #[test]
    fn a_price_that_is_not_known_is_said_to_be_none() {
        let text = lines(Priced {
            instance_type: "u7i.huge",
            ..SEED
        })
        .join("\n");
        assert!(
            text.contains("2 u7i.huge               a price that is not known here"),
            "{text}"
        );
    }
}
