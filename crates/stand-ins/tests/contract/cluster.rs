//! A real cluster: API server, controllers, scheduler and a kubelet, made by others and named by a folder.
//!
//! `kind/with-cluster.sh` makes one with kind, and the folder: `url`, `ca.pem`, `token` (of somebody who may do everything),
//! `issuer` of tokens, `node`, `kubelet` (a path by which this process reaches the root of that node's kubelet) and `image`
//! (one that the node has).

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use libtest_mimic::Trial;

use crate::{
    runtime,
    support::{Cluster, Held, Server, Test},
    table::Table,
};

/// Names the folder.
const FOLDER: &str = "MOUNTPROOF_CLUSTER";

/// See the module.
pub(crate) struct RealCluster {
    pub(crate) url: String,
    pub(crate) ca_pem: String,
    pub(crate) token: String,
    pub(crate) issuer: String,
    pub(crate) node: String,
    pub(crate) kubelet: PathBuf,
    pub(crate) image: String,
}

impl RealCluster {
    fn of(folder: &Path) -> Self {
        let text = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        };
        let line = |name: &str| text(name).trim().to_owned();
        Self {
            url: line("url"),
            ca_pem: text("ca.pem"),
            token: line("token"),
            issuer: line("issuer"),
            node: line("node"),
            kubelet: line("kubelet").into(),
            image: line("image"),
        }
    }
}

/// The trial of a test in the cluster; ignored where there is none.
pub(crate) fn trial(test: Test, table: &Arc<Table>) -> Option<Trial> {
    static CLUSTER: OnceLock<Arc<Server>> = OnceLock::new();
    if matches!(test.held, Held::StandInOnly(_)) {
        return None;
    }
    let Some(folder) = std::env::var_os(FOLDER).filter(|folder| !folder.is_empty()) else {
        let ignored = Trial::test(test.name, || Ok(())).with_kind(format!("cluster, needs {FOLDER}"));
        return Some(ignored.with_ignored_flag(true));
    };
    let run = table.recorded(test.name, "cluster", move || {
        let cluster = || Arc::new(Server::Cluster(RealCluster::of(Path::new(&folder))));
        let server = Arc::clone(CLUSTER.get_or_init(cluster));
        runtime().block_on(async { (test.body)(Cluster::of(server).await).await });
    });
    Some(Trial::test(test.name, run).with_kind("cluster"))
}
