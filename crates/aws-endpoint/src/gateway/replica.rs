//! Replicas, which have the value, the metadata and the resource policy of their primary (Secrets Manager's guide,
//! "Replicate AWS Secrets Manager secrets across Regions"). A backend may keep a replica and not be able to hand it out:
//! LocalStack 4.14.0 answers `GetSecretValue` with `'ReplicaSecret' object has no attribute 'kms_key_id'` and its policy with
//! nothing. So both are asked for in the primary's region, and told as the replica's.

use serde_json::{Value, json};

use super::client::Relayed;

/// A replica that was described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Replica {
    /// Its own ARN.
    pub(super) arn: String,
    /// The region of its primary.
    pub(super) primary_region: String,
}

impl Replica {
    /// What `DescribeSecret` in `region` describes, if that is a replica of a secret elsewhere.
    pub(super) fn described(answer: &Relayed, region: &str) -> Option<Self> {
        let description: Value = serde_json::from_slice(&answer.body).ok()?;
        let primary = description["PrimaryRegion"].as_str()?;
        (answer.status == 200 && primary != region).then(|| Self {
            arn: description["ARN"].as_str().unwrap_or_default().to_owned(),
            primary_region: primary.to_owned(),
        })
    }

    /// The ARN of the primary: all but the region is the replica's.
    pub(super) fn primary_arn(&self) -> String {
        let mut parts: Vec<&str> = self.arn.splitn(5, ':').collect();
        if let Some(region) = parts.get_mut(3) {
            *region = &self.primary_region;
        }
        parts.join(":")
    }

    /// What the primary's region answered, as the replica's own would.
    pub(super) fn told(&self, answer: Relayed) -> Relayed {
        let Ok(mut body) = serde_json::from_slice::<Value>(&answer.body) else {
            return answer;
        };
        if body["ARN"] != json!(self.primary_arn()) {
            return answer;
        }
        body["ARN"] = json!(self.arn);
        Relayed {
            status: answer.status,
            body: body.to_string().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    const PRIMARY: &str = "arn:aws:secretsmanager:us-east-1:000000000000:secret:c/a/db-AbCdEf";
    const REPLICA: &str = "arn:aws:secretsmanager:us-west-2:000000000000:secret:c/a/db-AbCdEf";

    fn answer(status: u16, body: &Value) -> Relayed {
        Relayed {
            status,
            body: body.to_string().into(),
        }
    }

    #[test]
    fn a_replica_is_told_by_its_primarys_region() {
        let described = |status, body: &Value, region| Replica::described(&answer(status, body), region);
        let of_replica = json!({"ARN": REPLICA, "PrimaryRegion": "us-east-1"});
        let replica = described(200, &of_replica, "us-west-2").unwrap();
        assert_eq!(
            (replica.arn.as_str(), replica.primary_arn().as_str()),
            (REPLICA, PRIMARY)
        );
        for (status, body, region) in [
            // The primary itself, one that has no replicas, and what is not there.
            (
                200,
                json!({"ARN": PRIMARY, "PrimaryRegion": "us-east-1"}),
                "us-east-1",
            ),
            (200, json!({"ARN": PRIMARY}), "us-east-1"),
            (400, of_replica, "us-west-2"),
            (200, json!([]), "us-west-2"),
        ] {
            assert_eq!(described(status, &body, region), None, "{body}");
        }
    }

    #[test]
    fn an_answer_about_the_primary_is_told_as_the_replicas() {
        let replica = Replica {
            arn: REPLICA.to_owned(),
            primary_region: "us-east-1".to_owned(),
        };
        let told = |body: &Value| -> Value {
            let told = replica.told(answer(200, body));
            serde_json::from_slice(&told.body).unwrap()
        };
        assert_eq!(
            told(&json!({"ARN": PRIMARY, "Name": "n"})),
            json!({"ARN": REPLICA, "Name": "n"})
        );
        let another = json!({"ARN": "arn:aws:secretsmanager:us-east-1:000000000000:secret:other-AbCdEf"});
        assert_eq!(
            told(&another),
            another,
            "what is not about it stays as it is, and is refused"
        );
        let error = json!({"__type": "ResourceNotFoundException"});
        assert_eq!(told(&error), error);
    }
}
