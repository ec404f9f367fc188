//! A backend that keeps secrets and parameters and lets in whoever asks.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use axum::{Router, extract::Request, http::StatusCode, response::IntoResponse as _};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use mountproof_aws_endpoint::{
    Backend, Defects,
    kms::KmsStore,
    secrets::{self, SecretStore},
    ssm::{self, ParameterStore},
};
use serde_json::{Value, json};

use super::{ACCOUNT, SOON, Site};

/// An endpoint before one.
pub(crate) async fn site() -> (Site, Unguarded) {
    let (backend, address) = Unguarded::start().await;
    let site = Site::before(Some(address)).await;
    (site, backend)
}

/// What looks like LocalStack from outside: Secrets Manager without any guard, and IAM that believes everything.
#[derive(Clone)]
pub(crate) struct Unguarded(Arc<Mutex<Kept>>);

pub(crate) struct Kept {
    pub(crate) secrets: SecretStore,
    parameters: ParameterStore,
    /// The keys of parameters, by name: the backend asks none.
    keys: HashMap<String, String>,
    /// `service region operation` of each call, in their order.
    calls: Vec<String>,
    /// The operations of those that asked for decrypted values.
    decrypted: Vec<String>,
    /// What IAM was told, as form fields.
    pub(crate) iam: Vec<String>,
    /// Answers this in place of anything else.
    pub(crate) broken: Option<(StatusCode, &'static str)>,
    /// Says this of the resource policy of every secret.
    pub(crate) policy: Option<&'static str>,
}

impl Unguarded {
    pub(crate) async fn start() -> (Self, Backend) {
        let kept = Kept {
            secrets: SecretStore::new(ACCOUNT.to_owned()),
            parameters: ParameterStore::new(ACCOUNT.to_owned()),
            keys: HashMap::new(),
            calls: Vec::new(),
            decrypted: Vec::new(),
            iam: Vec::new(),
            broken: None,
            policy: None,
        };
        let backend = Self(Arc::new(Mutex::new(kept)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers = backend.clone();
        let app = Router::new().fallback(move |request: Request| {
            let answers = answers.clone();
            async move { answers.answer(request).await }
        });
        tokio::spawn(async move { axum::serve(listener, app).await });
        let address = Backend::new("unguarded", &format!("http://{address}")).unwrap();
        (backend, address)
    }

    async fn answer(&self, request: Request) -> axum::response::Response {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let text = |name: &str| {
            head.headers
                .get(name)
                .map(|value| value.to_str().unwrap().to_owned())
        };
        let credential = text("authorization").unwrap();
        let scope: Vec<&str> = credential.split('/').collect();
        assert!(
            scope[0].ends_with(&format!("Credential={ACCOUNT}")),
            "the account is the key's id: {credential}"
        );
        let (region, service) = (scope[2], scope[3]);
        let mut kept = self.kept();
        if service == "iam" {
            kept.iam.push(String::from_utf8(body.to_vec()).unwrap());
            return "<CreateRoleResponse/>".into_response();
        }
        let operation = text("x-amz-target")
            .unwrap()
            .rsplit('.')
            .next()
            .unwrap()
            .to_owned();
        kept.calls.push(format!("{service} {region} {operation}"));
        if let Some(broken) = kept.broken {
            return broken.into_response();
        }
        let body: Value = serde_json::from_slice(&body).unwrap();
        if body["WithDecryption"] == true {
            kept.decrypted.push(operation.clone());
        }
        if service == "ssm" {
            return kept.parameter_store(region, &operation, body);
        }
        let (now, secrets) = (Timestamp::now(), &mut kept.secrets);
        let kms = KmsStore::new(ACCOUNT.to_owned());
        match secrets::execute(secrets, &kms, region, &operation, &body, now, Defects::default()) {
            Ok(mut answer) => {
                if let ("GetResourcePolicy", Some(policy)) = (operation.as_str(), kept.policy) {
                    answer["ResourcePolicy"] = json!(policy);
                }
                answer.to_string().into_response()
            }
            Err(error) => {
                let body = json!({"__type": error.code, "Message": error.message});
                (StatusCode::BAD_REQUEST, body.to_string()).into_response()
            }
        }
    }

    pub(crate) fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap()
    }

    /// The calls since this was last asked.
    pub(crate) fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.kept().calls)
    }

    /// The operations that asked for decrypted values since this was last asked.
    pub(crate) fn decrypted(&self) -> Vec<String> {
        std::mem::take(&mut self.kept().decrypted)
    }

    /// What IAM has been told, once it is `count` calls.
    pub(crate) async fn told(&self, count: usize) -> Vec<String> {
        let until = tokio::time::Instant::now() + SOON;
        loop {
            let told = self.kept().iam.clone();
            if told.len() >= count {
                return told;
            }
            assert!(tokio::time::Instant::now() < until, "only {told:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Kept {
    /// Parameter Store as LocalStack has it: whoever asks sees every value, decrypted or not.
    fn parameter_store(
        &mut self,
        region: &str,
        operation: &str,
        mut body: Value,
    ) -> axum::response::Response {
        let name = body["Name"].as_str().unwrap_or_default().to_owned();
        if let Some(key) = body.as_object_mut().unwrap().remove("KeyId") {
            self.keys.insert(name.clone(), key.as_str().unwrap().to_owned());
        }
        body["WithDecryption"] = json!(true);
        let kms = KmsStore::new(ACCOUNT.to_owned());
        let now = Timestamp::now();
        match ssm::execute(
            &mut self.parameters,
            &kms,
            region,
            operation,
            &body,
            now,
            "somebody",
        ) {
            Ok(mut answer) => {
                let described = answer.get_mut("Parameters").and_then(Value::as_array_mut);
                for described in described.into_iter().flatten() {
                    if operation == "DescribeParameters" {
                        described["Value"] = json!("shown to all");
                    }
                    if let ("GetParameterHistory", Some(key)) = (operation, self.keys.get(&name)) {
                        described["KeyId"] = json!(key);
                    }
                }
                answer.to_string().into_response()
            }
            Err(error) => {
                let body = json!({"__type": error.code, "message": error.message});
                (StatusCode::BAD_REQUEST, body.to_string()).into_response()
            }
        }
    }
}
