//! Workloads: what a step creates, and whether two have the same shape.

use std::collections::BTreeMap;

use super::{
    super::{
        at::{At, Place},
        capability,
        code::Code,
        diagnostic::Diagnostic,
        model::{Class, Content, NameForm, Object, Part, SecretRef, Stage, Workload, WorkloadKind},
        raw::{RawJmesPath, RawObject, RawTrue, RawWorkload},
        suggest::nearest,
    },
    Known, Resolver, Verb,
    header::name,
};

const MAX_WORKLOAD_NAME: usize = 30;
pub(super) const MAX_REPLICAS: u32 = 100;
const MAX_OBJECTS: usize = 50;
const MAX_PARTS: usize = 50;

impl Resolver<'_> {
    /// Resolves a workload and remembers its name, even of one with errors, so that later steps find
    /// it. `number` is the step's, from 1.
    pub(super) fn workload(
        &mut self,
        raw: RawWorkload<'_>,
        verb: Verb,
        number: usize,
        line: u32,
    ) -> Option<Workload> {
        let name = self.workload_name(raw, verb, number);
        let place = raw
            .name
            .map_or_else(|| raw.tenant.place.clone(), |name| name.place.clone());
        let tenant = self.tenant(raw.tenant);
        let class = self.class(raw);
        let kind = raw.replicas.map_or(WorkloadKind::Pod, |replicas| {
            WorkloadKind::Deployment(self.within_range("replicas", replicas, 1, MAX_REPLICAS))
        });
        let workload = match (&name, tenant, class) {
            (Some(name), Some(tenant), Some(class)) => Some(Workload {
                name: name.clone(),
                tenant,
                class,
                kind,
            }),
            _ => None,
        };
        if let Some(name) = name {
            self.remember(name, place, line, verb, workload.clone());
        }
        workload
    }

    fn workload_name(&mut self, raw: RawWorkload<'_>, verb: Verb, number: usize) -> Option<String> {
        let Some(written) = raw.name else {
            return Some(format!("{}-{number}", verb.word()));
        };
        let text = self.text(written)?;
        let filled = At {
            value: text,
            place: written.place.clone(),
            line: written.line,
        };
        name("workload", &filled, MAX_WORKLOAD_NAME, &mut self.report).then_some(filled.value)
    }

    fn remember(&mut self, name: String, place: Place, line: u32, verb: Verb, workload: Option<Workload>) {
        if let Some(first) = self.workloads.iter().find(|known| known.name == name) {
            let diagnostic =
                Diagnostic::error(Code::DuplicateName, format!("two workloads are called `{name}`"))
                    .at(place, "again here")
                    .at(first.place.clone(), "first here")
                    .help("names last for the whole case, also of deleted workloads");
            self.error(diagnostic);
            return;
        }
        self.workloads.push(Known {
            name,
            place,
            line,
            verb,
            workload,
            deleted_in_line: None,
        });
    }

    fn class(&mut self, raw: RawWorkload<'_>) -> Option<Class> {
        let given = [
            ("secret", raw.secret.map(|secret| &secret.place)),
            ("objects", raw.objects.map(|_| &raw.tenant.place)),
            ("class", raw.class.map(|class| &class.place)),
        ];
        let given: Vec<(&str, &Place)> = given
            .into_iter()
            .filter_map(|(name, place)| place.map(|place| (name, place)))
            .collect();
        if given.len() != 1 {
            let (message, place) = match given.as_slice() {
                [] => ("the workload mounts nothing".to_owned(), &raw.tenant.place),
                [(first, _), .., (last, place)] => {
                    (format!("`{first}` and `{last}` exclude each other"), *place)
                }
                [_] => return None,
            };
            self.error(
                Diagnostic::error(Code::Contradiction, message)
                    .at(place.clone(), "")
                    .help("exactly one of: secret (one of `tenant/name`), objects (a list), class (the tenant's own)"),
            );
            return None;
        }
        if let (Some(by), None) = (raw.by, raw.secret) {
            self.error(
                Diagnostic::error(Code::Contradiction, "`by` belongs to `secret`")
                    .at(by.place.clone(), "there is no `secret` here")
                    .help("in `objects`, each object has a `by` of its own"),
            );
        }
        let parameters = self.parameters(raw);
        let (failover, sync) = (raw.failover.is_some(), raw.sync.is_some());
        if let Some(sync) = raw.sync {
            self.needs(
                capability::SECRET_SYNC,
                &sync.place,
                "the driver has to be let write Secrets",
            );
        }
        if let Some(tenant) = raw.class {
            if let Some(parameter) = raw.parameters.values().next() {
                self.error(
                    Diagnostic::error(Code::Contradiction, "`parameters` and `class` exclude each other")
                        .at(parameter.place.clone(), "the tenant's class stands already")
                        .help("use `secret` or `objects`, which make a class for this workload"),
                );
            }
            for (field, written, because) in [
                ("failover", raw.failover, "the tenant's class names one region"),
                ("sync", raw.sync, "the tenant's class syncs nothing"),
            ] {
                if let Some(written) = written {
                    self.error(
                        Diagnostic::error(
                            Code::Contradiction,
                            format!("`{field}` and `class` exclude each other"),
                        )
                        .at(written.place.clone(), because)
                        .help("use `secret` or `objects`, which make a class for this workload"),
                    );
                }
            }
            return Some(Class::TenantOwn {
                tenant: self.tenant(tenant)?,
            });
        }
        let objects = match (raw.secret, raw.objects) {
            (Some(secret), _) => {
                let by = self.by(raw.by);
                let secret = self.secret(secret);
                vec![Object {
                    secret: secret?,
                    by: by?,
                    alias: None,
                    version: None,
                    version_label: None,
                    file_permission: None,
                    jmes_path: Vec::new(),
                }]
            }
            (None, objects) => self.objects(objects.unwrap_or_default(), &raw.tenant.place)?,
        };
        if let Some(failover) = raw.failover {
            self.fails_over(raw, failover, &objects);
        }
        Some(Class::Made {
            objects,
            parameters: parameters?,
            failover,
            sync,
        })
    }

    /// Checks that a class with a failover region finds its secrets there: the provider asks both regions, and fails
    /// where one of them has no such secret.
    fn fails_over(&mut self, raw: RawWorkload<'_>, failover: &At<RawTrue>, objects: &[Object]) {
        self.needs(
            capability::FAILOVER_REGION,
            &failover.place,
            "AWS has to have a second region",
        );
        if let Some(region) = raw.parameters.get("failoverRegion") {
            self.error(
                Diagnostic::error(
                    Code::Contradiction,
                    "`failover` and the parameter `failoverRegion` say the same twice",
                )
                .at(region.place.clone(), "leave this out")
                .at(failover.place.clone(), "names the run's failover region"),
            );
        }
        for object in objects {
            let SecretRef { tenant, secret } = &object.secret;
            let owner = &self.tenants[*tenant];
            let name = format!("{}/{secret}", owner.name);
            let diagnostic = if object.by == NameForm::Arn {
                Diagnostic::error(Code::CannotSucceed, format!("`{name}` is named by its ARN"))
                    .at(failover.place.clone(), "an ARN names one region")
                    .help("leave `by` out: the name is the same in every region")
            } else if !owner.replicated.contains(secret) {
                Diagnostic::error(
                    Code::CannotSucceed,
                    format!("`{name}` is not in the failover region"),
                )
                .at(failover.place.clone(), "the provider asks both regions")
                .help(format!(
                    "replicate it: `tenants: {{ {}: {{ replicated: [{secret}] }} }}`",
                    owner.name
                ))
            } else {
                continue;
            };
            self.error(diagnostic);
        }
    }

    fn parameters(&mut self, raw: RawWorkload<'_>) -> Option<BTreeMap<String, String>> {
        let mut complete = true;
        let mut parameters = BTreeMap::new();
        for (name, value) in raw.parameters {
            if name == "objects" {
                self.error(
                    Diagnostic::error(Code::Contradiction, "`objects` is no further parameter")
                        .at(value.place.clone(), "")
                        .help("write `objects:` beside `parameters:`, not inside it"),
                );
                complete = false;
            }
            match self.text(value) {
                Some(text) => {
                    parameters.insert(name.clone(), text);
                }
                None => complete = false,
            }
        }
        complete.then_some(parameters)
    }

    fn objects(&mut self, raw: &[RawObject], place: &Place) -> Option<Vec<Object>> {
        if raw.is_empty() || raw.len() > MAX_OBJECTS {
            self.error(
                Diagnostic::error(
                    Code::OutOfRange,
                    format!("the workload mounts {} objects", raw.len()),
                )
                .at(place.clone(), format!("expected 1 to {MAX_OBJECTS} in `objects`")),
            );
        }
        let raw = &raw[..raw.len().min(MAX_OBJECTS)];
        let objects: Vec<Option<Object>> = raw.iter().map(|object| self.object(object)).collect();
        let mut aliases: Vec<(&str, &Place)> = Vec::new();
        let written = raw.iter().flat_map(|object| {
            object
                .alias
                .iter()
                .chain(object.jmes_path.iter().take(MAX_PARTS).map(|part| &part.alias))
        });
        for alias in written {
            if let Some((_, first)) = aliases.iter().find(|(name, _)| *name == alias.value) {
                self.report.push(
                    Diagnostic::error(
                        Code::DuplicateName,
                        format!("two files are called `{}`", alias.value),
                    )
                    .at(alias.place.clone(), "again here")
                    .at((*first).clone(), "first here"),
                );
            }
            aliases.push((&alias.value, &alias.place));
        }
        objects.into_iter().collect()
    }

    fn object(&mut self, raw: &RawObject) -> Option<Object> {
        let secret = self.secret(&raw.secret);
        let by = self.by(raw.by.as_ref());
        let alias = self.optional(raw.alias.as_ref());
        let version = self.stage(raw.version.as_ref(), secret.as_ref(), ["current", "previous"]);
        let labels = [Stage::Current, Stage::Previous].map(Stage::label);
        let version_label = self.stage(raw.version_label.as_ref(), secret.as_ref(), labels);
        if let (Some(_), Some(label)) = (&raw.version, &raw.version_label) {
            self.error(
                Diagnostic::error(
                    Code::Contradiction,
                    "`version` and `versionLabel` exclude each other",
                )
                .at(label.place.clone(), "the version is chosen already"),
            );
        }
        let file_permission = self.permission(raw.file_permission.as_ref());
        if let Some(part) = raw.jmes_path.get(MAX_PARTS) {
            self.error(
                Diagnostic::error(
                    Code::TooMany,
                    format!(
                        "the object has {} parts, and at most {MAX_PARTS}",
                        raw.jmes_path.len()
                    ),
                )
                .at(part.alias.place.clone(), "the first one too many"),
            );
        }
        let jmes_path: Vec<Option<Part>> = raw
            .jmes_path
            .iter()
            .take(MAX_PARTS)
            .map(|part| self.part(part, secret.as_ref()))
            .collect();
        Some(Object {
            secret: secret?,
            by: by?,
            alias: alias?,
            version: version?,
            version_label: version_label?,
            file_permission: file_permission?.map(|(text, _)| text),
            jmes_path: jmes_path.into_iter().collect::<Option<_>>()?,
        })
    }

    /// Which version of a secret is meant, in one of two `words`. Nothing where it is wrong.
    #[expect(clippy::option_option, reason = "wrong, left out and there are three things")]
    fn stage(
        &mut self,
        written: Option<&At<String>>,
        secret: Option<&SecretRef>,
        words: [&str; 2],
    ) -> Option<Option<Stage>> {
        let Some(written) = written else { return Some(None) };
        let text = self.text(written)?;
        let [current, previous] = words;
        if text == current {
            return Some(Some(Stage::Current));
        }
        if text != previous {
            self.error(
                Diagnostic::error(Code::UnknownValue, format!("no version is called `{text}`"))
                    .at(
                        written.place.clone(),
                        format!("expected `{current}` or `{previous}`"),
                    )
                    .did_you_mean(nearest(&text, words)),
            );
            return None;
        }
        if secret.is_some_and(|secret| !self.updated.contains(secret)) {
            self.error(
                Diagnostic::error(Code::Contradiction, "the secret has no previous version yet")
                    .at(written.place.clone(), "previous to what?")
                    .help("an `update` of the secret must come first"),
            );
        }
        Some(Some(Stage::Previous))
    }

    fn part(&mut self, raw: &RawJmesPath, secret: Option<&SecretRef>) -> Option<Part> {
        let path = self.optional(Some(&raw.path)).flatten();
        let alias = self.optional(Some(&raw.alias)).flatten();
        let file_permission = self.permission(raw.file_permission.as_ref());
        let path = path?;
        self.part_exists(&raw.path, &path, secret?);
        Some(Part {
            path,
            alias: alias?,
            file_permission: file_permission?.map(|(text, _)| text),
        })
    }

    /// Checks that the secret's JSON has the key, and that the key can be written as a path.
    fn part_exists(&mut self, written: &At<String>, path: &str, secret: &SecretRef) {
        let tenant = &self.tenants[secret.tenant];
        let spec = tenant.secrets.iter().find(|spec| spec.name == secret.secret);
        let name = format!("{}/{}", tenant.name, secret.secret);
        let diagnostic = match spec.map(|spec| &spec.content) {
            Some(Content::Json(keys)) if keys.iter().any(|key| key == path) => {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
                if path.bytes().all(plain) && !path.starts_with(|first: char| first.is_ascii_digit()) {
                    return;
                }
                Diagnostic::error(Code::UnknownValue, format!("`{path}` is no plain JMESPath"))
                    .at(written.place.clone(), "")
                    .help("name the key with letters, digits and `_`")
            }
            Some(Content::Json(keys)) => {
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                Diagnostic::error(Code::UnknownValue, format!("`{name}` has no key `{path}`"))
                    .at(written.place.clone(), format!("its keys: {}", keys.join(", ")))
                    .did_you_mean(nearest(path, keys.iter().copied()))
            }
            _ => Diagnostic::error(
                Code::Contradiction,
                format!("`{name}` is no JSON and has no parts"),
            )
            .at(written.place.clone(), "")
            .help("declare it with keys: `secrets: { login: { json: [user, password] } }`"),
        };
        self.error(diagnostic);
    }

    /// A text that may be left out, but not be empty. Nothing where it is wrong.
    #[expect(clippy::option_option, reason = "wrong, left out and there are three things")]
    fn optional(&mut self, written: Option<&At<String>>) -> Option<Option<String>> {
        let Some(written) = written else { return Some(None) };
        let text = self.text(written)?;
        if text.is_empty() {
            self.error(
                Diagnostic::error(Code::OutOfRange, "the text is empty")
                    .at(written.place.clone(), "leave the field out instead"),
            );
            return None;
        }
        Some(Some(text))
    }

    /// Four octal digits, as text and as a number. Nothing where they are wrong.
    #[expect(clippy::option_option, reason = "wrong, left out and there are three things")]
    pub(super) fn permission(&mut self, written: Option<&At<String>>) -> Option<Option<(String, u32)>> {
        let Some(written) = written else { return Some(None) };
        let text = self.text(written)?;
        let octal = text.len() == 4 && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        match u32::from_str_radix(&text, 8) {
            Ok(mode) if octal => Some(Some((text, mode))),
            _ => {
                self.error(
                    Diagnostic::error(Code::UnknownValue, format!("`{text}` is no file mode")).at(
                        written.place.clone(),
                        "expected four octal digits, such as `0644`",
                    ),
                );
                None
            }
        }
    }

    fn by(&mut self, written: Option<&At<String>>) -> Option<NameForm> {
        let Some(written) = written else {
            return Some(NameForm::Name);
        };
        match self.text(written)?.as_str() {
            "name" => Some(NameForm::Name),
            "arn" => Some(NameForm::Arn),
            other => {
                self.error(
                    Diagnostic::error(Code::UnknownValue, format!("`by` cannot be `{other}`"))
                        .at(written.place.clone(), "expected `name` or `arn`")
                        .did_you_mean(nearest(other, ["name", "arn"])),
                );
                None
            }
        }
    }
}

/// What makes the shapes of two workloads differ; nothing when they are the same. A shape is what
/// the driver and provider are asked to do, without whose secret it is.
pub(super) fn difference(control: &Workload, denied: &Workload) -> Option<String> {
    let kind = |workload: &Workload| match workload.kind {
        WorkloadKind::Pod => "a pod",
        WorkloadKind::Deployment(_) => "a Deployment",
    };
    if kind(control) != kind(denied) {
        return Some(format!(
            "the control is {}, the denied workload {}",
            kind(control),
            kind(denied)
        ));
    }
    match (&control.class, &denied.class) {
        (Class::TenantOwn { .. }, Class::TenantOwn { .. }) => None,
        (
            Class::Made {
                objects: allowed,
                parameters: control_parameters,
                failover: control_failover,
                sync: control_sync,
            },
            Class::Made {
                objects: refused,
                parameters: denied_parameters,
                failover: denied_failover,
                sync: denied_sync,
            },
        ) => {
            if allowed.len() != refused.len() {
                return Some(format!(
                    "the control mounts {} objects, the denied workload {}",
                    allowed.len(),
                    refused.len()
                ));
            }
            if control_parameters != denied_parameters {
                return Some("their `parameters` differ".to_owned());
            }
            if control_failover != denied_failover {
                return Some("only one of them has a failover region".to_owned());
            }
            if control_sync != denied_sync {
                return Some("only one of them is synced".to_owned());
            }
            allowed
                .iter()
                .zip(refused)
                .find_map(|(allowed, refused)| object_difference(allowed, refused))
        }
        (Class::TenantOwn { .. }, Class::Made { .. }) => {
            Some("the control names the tenant's class, the denied workload makes one".to_owned())
        }
        (Class::Made { .. }, Class::TenantOwn { .. }) => {
            Some("the control makes a class, the denied workload names a tenant's".to_owned())
        }
    }
}

fn object_difference(left: &Object, right: &Object) -> Option<String> {
    let form = |object: &Object| match object.by {
        NameForm::Name => "by name",
        NameForm::Arn => "by ARN",
    };
    if left.by != right.by {
        return Some(format!(
            "the control names its secret {}, the denied workload {}",
            form(left),
            form(right)
        ));
    }
    let differing = [
        ("alias", left.alias.is_some() != right.alias.is_some()),
        ("version", left.version != right.version),
        ("versionLabel", left.version_label != right.version_label),
        ("filePermission", left.file_permission != right.file_permission),
        ("jmesPath", left.jmes_path.len() != right.jmes_path.len()),
    ];
    let (field, _) = differing.into_iter().find(|(_, differs)| *differs)?;
    Some(format!("their `{field}` differ"))
}
