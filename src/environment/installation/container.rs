//! PURE. A container in a pod's template, and what can be asked of it and set in it.

use serde_json::{Value, json};

use mountproof_releases::Part;

/// A container of a `DaemonSet` that can be changed.
pub(in crate::environment) struct Container<'a>(pub(in crate::environment) &'a mut Value);

/// Which part's container this is, by what it is started with.
///
/// Names and images differ from installation to installation. The driver is told its node and where to serve
/// (`--nodeid`, `--endpoint`), and the provider only where; one without any flag is told by the name of its image.
pub(in crate::environment) fn part_of(container: &Value) -> Option<Part> {
    let image = container["image"].as_str().unwrap_or_default();
    let has = |name| flag(container, name).is_some();
    if has("nodeid") && has("endpoint") {
        Some(Part::Driver)
    } else if (has("provider-volume") && !has("nodeid")) || image.contains("provider-aws") {
        Some(Part::Provider)
    } else {
        None
    }
}

/// The place of a part's container among those of a pod.
pub(in crate::environment) fn position(containers: &Value, part: Part) -> Option<usize> {
    let mut containers = containers.as_array()?.iter();
    containers.position(|container| part_of(container) == Some(part))
}

/// Whether it registers a driver with kubelet.
pub(in crate::environment) fn is_registrar(container: &Value) -> bool {
    flag(container, "kubelet-registration-path").is_some()
}

/// Everything that it is started with, in order.
pub(in crate::environment) fn arguments(container: &Value) -> Vec<String> {
    let texts = |list: &Value| -> Vec<String> {
        let texts = list.as_array().into_iter().flatten();
        texts
            .filter_map(|text| text.as_str().map(str::to_owned))
            .collect()
    };
    let mut all = texts(&container["command"]);
    all.extend(texts(&container["args"]));
    all
}

/// The value of a flag, the last one that is given; empty where it has none.
pub(in crate::environment) fn flag(container: &Value, name: &str) -> Option<String> {
    let arguments = arguments(container);
    let found = arguments.iter().rposition(|argument| names(argument, name))?;
    let value = match arguments[found].split_once('=') {
        Some((_, value)) => value.to_owned(),
        None => arguments
            .get(found + 1)
            .filter(|next| !next.starts_with('-'))
            .cloned()
            .unwrap_or_default(),
    };
    Some(value)
}

/// Whether an argument is this flag: Go takes one dash and two.
fn names(argument: &str, name: &str) -> bool {
    let bare = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-'));
    bare.and_then(|bare| bare.split('=').next()) == Some(name)
}

impl Container<'_> {
    /// Sets the image, which is pulled only where the node does not have it. The one before comes back.
    pub(super) fn set_image(&mut self, image: &str) -> String {
        let before = self.0["image"].as_str().unwrap_or_default().to_owned();
        self.0["image"] = json!(image);
        self.0["imagePullPolicy"] = json!("IfNotPresent");
        before
    }

    /// Whether it is started with a flag.
    pub(super) fn has_flag(&self, name: &str) -> bool {
        flag(self.0, name).is_some()
    }

    /// Sets a flag; says whether that changed anything.
    pub(in crate::environment) fn set_flag(&mut self, name: &str, value: &str) -> bool {
        if flag(self.0, name).as_deref() == Some(value) {
            return false;
        }
        let mut arguments: Vec<Value> = self.0["args"].as_array().cloned().unwrap_or_default();
        let mut at = 0;
        while let Some(argument) = arguments.get(at) {
            let text = argument.as_str().unwrap_or_default();
            if !names(text, name) {
                at += 1;
                continue;
            }
            let follows = !text.contains('=')
                && arguments
                    .get(at + 1)
                    .and_then(Value::as_str)
                    .is_some_and(|next| !next.starts_with('-'));
            arguments.drain(at..=at + usize::from(follows));
        }
        arguments.push(json!(format!("--{name}={value}")));
        self.0["args"] = json!(arguments);
        true
    }

    /// Sets a variable.
    pub(super) fn set_env(&mut self, name: &str, value: &str) {
        self.set_named("env", json!({ "name": name, "value": value }));
    }

    /// Mounts a volume, to be read.
    pub(super) fn mount(&mut self, volume: &str, path: &str) {
        self.set_named(
            "volumeMounts",
            json!({ "name": volume, "mountPath": path, "readOnly": true }),
        );
    }

    fn set_named(&mut self, list: &str, entry: Value) {
        set_named(&mut self.0[list], entry);
    }
}

/// Puts an entry into a list of named ones, in the place of one of the same name.
pub(super) fn set_named(list: &mut Value, entry: Value) {
    if !list.is_array() {
        *list = json!([]);
    }
    let Some(entries) = list.as_array_mut() else {
        return;
    };
    match entries.iter_mut().find(|found| found["name"] == entry["name"]) {
        Some(found) => *found = entry,
        None => entries.push(entry),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_known_by_what_they_are_started_with() {
        for (container, part) in [
            (
                json!({ "image": "x", "args": ["--endpoint=$(CSI_ENDPOINT)", "--nodeid=$(NODE)", "--provider-volume=/p"] }),
                Some(Part::Driver),
            ),
            (
                json!({ "image": "x", "command": ["/driver"], "args": ["-endpoint", "unix:///a", "-nodeid", "n"] }),
                Some(Part::Driver),
            ),
            (
                json!({ "image": "x", "args": ["--provider-volume=/p"] }),
                Some(Part::Provider),
            ),
            (
                json!({ "image": "registry.example/secrets-store-csi-driver-provider-aws:3.1.1" }),
                Some(Part::Provider),
            ),
            (
                json!({ "image": "registrar", "args": ["--csi-address=/csi/csi.sock", "--kubelet-registration-path=/x"] }),
                None,
            ),
            (
                json!({ "image": "livenessprobe", "args": ["--http-endpoint=:9808"] }),
                None,
            ),
        ] {
            assert_eq!(part_of(&container), part, "{container}");
        }
    }

    #[test]
    fn a_flag_is_set_once_however_it_was_written() {
        for (before, after) in [
            (json!(null), json!(["--qps=7"])),
            (json!(["--a", "--qps=5", "--b"]), json!(["--a", "--b", "--qps=7"])),
            (json!(["-qps", "5", "--b"]), json!(["--b", "--qps=7"])),
            (json!(["--qps=5", "--qps=6"]), json!(["--qps=7"])),
            (json!(["--qps=7"]), json!(["--qps=7"])),
            (json!(["--qps-more=5"]), json!(["--qps-more=5", "--qps=7"])),
        ] {
            let mut container = json!({ "args": before });
            let changed = Container(&mut container).set_flag("qps", "7");
            assert_eq!(container["args"], after);
            assert_eq!(changed, before != after);
        }
    }

    #[test]
    fn a_flag_takes_the_place_of_one_of_its_name_and_no_other() {
        let mut container = json!({ "args": ["--rotation-poll-interval=2s", "--rotation", "--v=5"] });
        let mut set = Container(&mut container);
        assert!(set.set_flag("rotation-poll-interval", "3600s") && set.set_flag("enable", "false"));
        let expected = json!([
            "--rotation",
            "--v=5",
            "--rotation-poll-interval=3600s",
            "--enable=false"
        ]);
        assert_eq!(container["args"], expected);
    }

    #[test]
    fn a_variable_takes_the_place_of_its_like() {
        let mut container =
            json!({ "env": [{ "name": "A", "valueFrom": {} }, { "name": "B", "value": "b" }] });
        Container(&mut container).set_env("A", "a");
        Container(&mut container).set_env("C", "c");
        assert_eq!(
            container["env"],
            json!([{ "name": "A", "value": "a" }, { "name": "B", "value": "b" }, { "name": "C", "value": "c" }])
        );
    }
}
