//! PURE. From manifests, wherever they come from, to the objects that are made.

use std::{collections::BTreeSet, time::Duration};

use mountproof_releases::Part;
use serde_json::{Value, json};

use super::{
    container::{self, Container},
    manifest::Document,
    options::tag,
    way::AwsWay,
};
use crate::{
    generation::{self, DriverGeneration, Version},
    journal::RenderedChart,
    kubernetes::ObjectRef,
    tenant::{self, Marks, TOKEN_AUDIENCES},
};

/// Where the charts put both.
pub(super) const NAMESPACE: &str = "kube-system";

/// Manifests of one part, with what there is to say of them.
#[derive(Debug, Clone)]
pub(super) struct PartManifests {
    pub(super) part: Part,
    /// Such as `mountproof's own manifests for driver 1.6`.
    pub(super) origin: String,
    pub(super) documents: Vec<Document>,
    /// Whether they are ours: what is set in them is then no change of anybody's.
    pub(super) own: bool,
    /// The image to take in the place of theirs.
    pub(super) image: Option<String>,
    /// What the user, or a chart, says that it is.
    pub(super) version: Option<String>,
    pub(super) remarks: Vec<String>,
    /// The chart that they were rendered from.
    pub(super) chart: Option<RenderedChart>,
}

/// What the manifests have to be told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings<'a> {
    pub(super) marks: &'a Marks,
    /// None where AWS is AWS.
    pub(super) way: Option<&'a AwsWay>,
    pub(super) rotation: Duration,
    pub(super) provider_qps: u32,
    pub(super) registrar: Option<&'a str>,
}

/// Everything that is to be made, and where driver and provider are in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Installation {
    /// In the order in which it is made.
    pub objects: Vec<Value>,
    /// The driver.
    pub driver: Placed,
    /// The provider.
    pub provider: Placed,
    /// What is the provider's among the objects; all others are the driver's.
    pub(super) of_provider: BTreeSet<ObjectRef>,
}

impl Installation {
    /// One of the two.
    #[must_use]
    pub fn of(&self, part: Part) -> &Placed {
        match part {
            Part::Driver => &self.driver,
            Part::Provider => &self.provider,
        }
    }

    /// Both parts where they are already, and nothing to be made.
    #[must_use]
    pub fn found(driver: Placed, provider: Placed) -> Self {
        Self {
            objects: Vec::new(),
            driver,
            provider,
            of_provider: BTreeSet::new(),
        }
    }

    /// The same without the objects of one part, which is there already.
    #[must_use]
    pub fn without(mut self, part: Part, there: Placed) -> Self {
        let objects = std::mem::take(&mut self.objects);
        self.objects = objects
            .into_iter()
            .filter(|object| self.part_of(&ObjectRef::of(object)) != part)
            .collect();
        match part {
            Part::Driver => self.driver = there,
            Part::Provider => self.provider = there,
        }
        self
    }

    /// Whose an object is.
    pub(super) fn part_of(&self, object: &ObjectRef) -> Part {
        if self.of_provider.contains(object) {
            Part::Provider
        } else {
            Part::Driver
        }
    }

    /// Every image that its pods need, once.
    #[must_use]
    pub fn images(&self) -> Vec<&str> {
        let pods = self
            .objects
            .iter()
            .map(|object| &object["spec"]["template"]["spec"]);
        let containers = pods.flat_map(|pod| {
            ["initContainers", "containers"]
                .into_iter()
                .flat_map(|list| pod[list].as_array().into_iter().flatten())
        });
        let mut seen = BTreeSet::new();
        containers
            .filter_map(|container| container["image"].as_str())
            .filter(|image| seen.insert(*image))
            .collect()
    }

    /// The image of what registers the driver with kubelet.
    #[must_use]
    pub fn registrar(&self) -> Option<&str> {
        let driver = self.object("DaemonSet", &self.driver.daemon_set.name)?;
        let containers = driver["spec"]["template"]["spec"]["containers"].as_array()?;
        let mut registrars = containers
            .iter()
            .filter(|container| container::is_registrar(container));
        registrars.next()?["image"].as_str()
    }

    /// An object of this kind and name, wherever it is.
    #[must_use]
    pub fn object(&self, kind: &str, name: &str) -> Option<&Value> {
        let mut objects = self.objects.iter();
        objects.find(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    }
}

/// Where one part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Where its manifests come from.
    pub origin: String,
    /// Its version, as far as that is known.
    pub version: String,
    /// Its image.
    pub image: String,
    /// Its `DaemonSet`.
    pub daemon_set: ObjectRef,
    /// Its container in there.
    pub container: String,
    /// The `ServiceAccount` that it runs as.
    pub account: String,
    /// What was set in the manifests, and what there is to know of them.
    pub remarks: Vec<String>,
    /// The chart that they were rendered from, for this cluster.
    pub chart: Option<RenderedChart>,
}

/// Manifests with which nothing can be installed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The part is not in them.
    #[error("{origin}: no DaemonSet has a container of the {part}{}; there are: {found}", wanted(*.part))]
    NoDaemonSet {
        /// Which.
        part: Part,
        /// Where it was looked for.
        origin: String,
        /// What is there.
        found: String,
    },
    /// It is in them more than once.
    #[error(
        "{origin}: more than one DaemonSet has a container of the {part}: {found}; leave all but one out"
    )]
    Several {
        /// Which.
        part: Part,
        /// Where it was looked for.
        origin: String,
        /// The names.
        found: String,
    },
}

/// How a part is told from other containers.
fn wanted(part: Part) -> &'static str {
    match part {
        Part::Driver => " (one with the flags --endpoint and --nodeid)",
        Part::Provider => " (one with the flag --provider-volume, or an image named ..provider-aws)",
    }
}

/// The plan for both parts.
pub(super) fn plan(
    driver: PartManifests,
    provider: PartManifests,
    settings: Settings<'_>,
) -> Result<Installation, PlanError> {
    let (mut objects, driver) = part(driver, settings)?;
    let (others, provider) = part(provider, settings)?;
    let of_driver: BTreeSet<ObjectRef> = objects.iter().map(ObjectRef::of).collect();
    let of_provider = others
        .iter()
        .map(ObjectRef::of)
        .filter(|object| !of_driver.contains(object))
        .collect();
    objects.extend(others);
    let generation = DriverGeneration::of(&driver.version);
    let mut driver = driver;
    match objects.iter_mut().find(|object| is_csi_driver(object)) {
        Some(theirs) => driver.remarks.extend(complete(theirs, generation)),
        None => objects.push(tenant::csi_driver(settings.marks, generation)),
    }
    for definition in tenant::custom_resource_definitions(settings.marks) {
        objects.push(definition);
    }
    let mut seen = BTreeSet::new();
    // What both bring, and what is ours beside theirs, is made once: the first.
    objects.retain(|object| seen.insert(ObjectRef::of(object)));
    // What is on record by itself is only ever removed with the run's label on it.
    for object in objects.iter_mut().filter(|object| is_one_for_all(object)) {
        for (label, value) in settings.marks.labels() {
            object["metadata"]["labels"][label] = value;
        }
    }
    objects.sort_by_key(|object| rank(object["kind"].as_str().unwrap_or_default()));
    Ok(Installation {
        objects,
        driver,
        provider,
        of_provider,
    })
}

/// The objects of one part, as they are made, and where it is in them.
fn part(manifests: PartManifests, settings: Settings<'_>) -> Result<(Vec<Value>, Placed), PlanError> {
    let PartManifests {
        part,
        origin,
        documents,
        own,
        image,
        version,
        mut remarks,
        chart,
    } = manifests;
    let mut objects: Vec<Value> = documents.into_iter().map(|document| document.value).collect();
    for object in &mut objects {
        if is_namespaced(object) && object["metadata"]["namespace"].is_null() {
            object["metadata"]["namespace"] = json!(NAMESPACE);
        }
    }
    let places: Vec<(usize, usize)> = (0..objects.len())
        .filter_map(|at| Some((at, container_of(&objects[at], part)?)))
        .collect();
    let (at, index) = match places[..] {
        [place] => place,
        [] => {
            return Err(PlanError::NoDaemonSet {
                part,
                origin,
                found: told(objects.iter()),
            });
        }
        _ => {
            return Err(PlanError::Several {
                part,
                origin,
                found: told(places.iter().map(|(at, _)| &objects[*at])),
            });
        }
    };
    let daemon_set = &mut objects[at];
    let named = daemon_set["spec"]["template"]["spec"]["containers"][index]["image"].as_str();
    let version = version_of(
        version.as_deref(),
        image.as_deref().or(named).unwrap_or_default(),
        daemon_set,
    );
    let spec = &mut daemon_set["spec"]["template"]["spec"];
    let mut changed = set(part, spec, index, (image.as_deref(), &version), settings);
    if own {
        changed.clear();
    }
    remarks.extend(changed);
    let container = &spec["containers"][index];
    let image = container["image"].as_str().unwrap_or_default().to_owned();
    let name = container["name"].as_str().unwrap_or_default().to_owned();
    let account = spec["serviceAccountName"]
        .as_str()
        .unwrap_or("default")
        .to_owned();
    let reference = ObjectRef::of(daemon_set);
    let namespace = reference.namespace.clone().unwrap_or_default();
    if let Some(way) = settings.way.filter(|_| part == Part::Provider) {
        objects.push(way.object(&namespace));
        remarks.push(way.note());
    }
    // The other part has manifests of its own, even where these bring it too.
    let other = match part {
        Part::Driver => Part::Provider,
        Part::Provider => Part::Driver,
    };
    objects.retain(|object| {
        let others = container_of(object, other).is_some() && ObjectRef::of(object) != reference;
        if others {
            remarks.push(format!(
                "its {} is left out: the {other} is installed from its own manifests",
                ObjectRef::of(object)
            ));
        }
        !others
    });
    Ok((
        objects,
        Placed {
            origin,
            version,
            image,
            daemon_set: reference,
            container: name,
            account,
            remarks,
            chart,
        },
    ))
}

/// Sets what a run needs in the template of a part's pods; what that changed, in words.
fn set(
    part: Part,
    spec: &mut Value,
    index: usize,
    (image, version): (Option<&str>, &str),
    settings: Settings<'_>,
) -> Vec<String> {
    let mut changed = Vec::new();
    let mut container = Container(&mut spec["containers"][index]);
    if let Some(image) = image {
        let before = container.set_image(image);
        if before != image {
            changed.push(format!("image {image} in the place of {before}"));
        }
    }
    let flags = match part {
        Part::Driver => vec![
            // So that its log says who mounts what.
            ("v", "5".to_owned()),
            ("enable-secret-rotation", "true".to_owned()),
            (
                "rotation-poll-interval",
                format!("{}s", settings.rotation.as_secs_f64()),
            ),
        ],
        Part::Provider if generation::LIMITS.judge(version).0 || container.has_flag("qps") => vec![
            ("qps", settings.provider_qps.to_string()),
            ("burst", settings.provider_qps.to_string()),
        ],
        Part::Provider => {
            changed.push(generation::LIMITS.judge(version).1);
            Vec::new()
        }
    };
    for (name, value) in flags {
        if container.set_flag(name, &value) {
            changed.push(format!("--{name}={value} set"));
        }
    }
    if part == Part::Provider
        && let Some(way) = settings.way
    {
        way.show(spec, index);
    }
    if part == Part::Driver
        && let Some(image) = settings.registrar
    {
        let containers = spec["containers"].as_array_mut().into_iter().flatten();
        for container in containers.filter(|container| container::is_registrar(container)) {
            let before = Container(container).set_image(image);
            if before != image {
                changed.push(format!("registrar {image} in the place of {before}"));
            }
        }
    }
    changed
}

/// Adds to a `CSIDriver` that somebody brings what the driver needs for what was switched on; in words.
fn complete(object: &mut Value, generation: DriverGeneration) -> Vec<String> {
    let mut added = Vec::new();
    let spec = &mut object["spec"];
    let asks = spec["tokenRequests"].as_array().cloned().unwrap_or_default();
    let mut all = asks.clone();
    for audience in TOKEN_AUDIENCES {
        if !asks.iter().any(|request| request["audience"] == audience) {
            all.push(json!({ "audience": audience }));
            added.push(format!("tokenRequests for {audience} added to its CSIDriver"));
        }
    }
    if all.len() > asks.len() {
        spec["tokenRequests"] = json!(all);
    }
    if generation.republish && spec["requiresRepublish"] != true {
        spec["requiresRepublish"] = json!(true);
        added.push("requiresRepublish set in its CSIDriver, for rotation".to_owned());
    }
    added
}

/// The place of a part's container in a `DaemonSet` for Linux.
fn container_of(object: &Value, part: Part) -> Option<usize> {
    let spec = &object["spec"]["template"]["spec"];
    if object["kind"] != "DaemonSet" || spec["nodeSelector"]["kubernetes.io/os"] == "windows" {
        return None;
    }
    container::position(&spec["containers"], part)
}

/// The version that was said, or that the image's tag, or a label, says.
pub(in crate::environment) fn version_of(said: Option<&str>, image: &str, daemon_set: &Value) -> String {
    let labels = [
        &daemon_set["metadata"],
        &daemon_set["spec"]["template"]["metadata"],
    ];
    let label = labels
        .into_iter()
        .find_map(|metadata| metadata["labels"]["app.kubernetes.io/version"].as_str());
    let tag = tag(image);
    let reads = |text: &&str| Version::read(text).is_some();
    let version = [said, tag, label].into_iter().flatten().find(reads);
    let version = version.or(said).or(tag).or(label).unwrap_or("unknown");
    version.trim_start_matches('v').to_owned()
}

/// Whether a cluster has the object once, whoever made it.
pub(super) fn is_one_for_all(object: &Value) -> bool {
    matches!(
        object["kind"].as_str().unwrap_or_default(),
        "CustomResourceDefinition" | "CSIDriver"
    )
}

fn is_csi_driver(object: &Value) -> bool {
    object["kind"] == "CSIDriver" && object["metadata"]["name"] == tenant::CSI_DRIVER
}

/// Objects by kind and name.
fn told<'a>(objects: impl Iterator<Item = &'a Value>) -> String {
    let mut names: Vec<String> = objects.map(|object| ObjectRef::of(object).to_string()).collect();
    if names.is_empty() {
        names.push("no objects at all".to_owned());
    }
    names.join(", ")
}

/// Kinds that stand in no namespace, of those that charts of driver and provider have.
fn is_namespaced(object: &Value) -> bool {
    !matches!(
        object["kind"].as_str().unwrap_or_default(),
        "Namespace"
            | "CustomResourceDefinition"
            | "ClusterRole"
            | "ClusterRoleBinding"
            | "CSIDriver"
            | "PriorityClass"
            | "PodSecurityPolicy"
            | "ValidatingWebhookConfiguration"
            | "MutatingWebhookConfiguration"
    )
}

/// What others need comes first; what runs comes last.
pub(crate) fn rank(kind: &str) -> usize {
    const FIRST: [&str; 10] = [
        "Namespace",
        "PriorityClass",
        "CustomResourceDefinition",
        "ServiceAccount",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "CSIDriver",
        "ConfigMap",
    ];
    match kind {
        "DaemonSet" => FIRST.len() + 1,
        kind => FIRST
            .iter()
            .position(|first| *first == kind)
            .unwrap_or(FIRST.len()),
    }
}

#[cfg(test)]
mod tests;
