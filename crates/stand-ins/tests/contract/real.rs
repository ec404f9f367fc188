//! The real thing: etcd, kube-apiserver and kube-controller-manager, started once, by the first trial that needs them.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use libtest_mimic::Trial;
use mountproof_run_tls::RunCa;
use mountproof_stand_ins::{
    kubernetes::User,
    programs::control_plane::{ControlPlane, ControlPlaneConfig, ControlPlanePrograms},
};
use tokio::runtime::Runtime;

use crate::{
    runtime,
    support::{Cluster, NODE, Server, Test},
    table::Table,
};

/// Where the programs are, by the convention of envtest.
const ASSETS: &str = "KUBEBUILDER_ASSETS";

/// A control plane, once it is needed.
pub(crate) struct RealServer {
    assets: Option<PathBuf>,
    started: Mutex<Option<Started>>,
}

struct Started {
    /// Everything of the server runs here, for it outlives the test that started it.
    runtime: Runtime,
    server: Arc<Server>,
    folder: tempfile::TempDir,
}

impl RealServer {
    /// The one in the folder that the environment names, if it names one.
    pub(crate) fn asked_for() -> Self {
        Self {
            assets: std::env::var_os(ASSETS)
                .filter(|folder| !folder.is_empty())
                .map(PathBuf::from),
            started: Mutex::new(None),
        }
    }

    /// The trial of the real server; ignored where there is none.
    pub(crate) fn trial(self: &Arc<Self>, test: Test, table: &Arc<Table>) -> Trial {
        let this = Arc::clone(self);
        let Some(assets) = self.assets.clone() else {
            return Trial::test(test.name, || Ok(()))
                .with_kind(format!("kube-apiserver, needs {ASSETS}"))
                .with_ignored_flag(true);
        };
        let run = table.recorded(test.name, "kube-apiserver", move || {
            let server = this.server(&assets);
            runtime().block_on(async { (test.body)(Cluster::of(server).await).await });
        });
        Trial::test(test.name, run).with_kind("kube-apiserver")
    }

    fn server(&self, assets: &Path) -> Arc<Server> {
        // Whoever finds it poisoned tries to start it again, and says the same.
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let started = started.get_or_insert_with(|| Started::in_folder(assets));
        Arc::clone(&started.server)
    }

    /// Ends it, if it was started.
    pub(crate) fn stop(&self) {
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(started) = started else { return };
        // A test that failed in a task of its own may hold it still: then it goes with the process.
        if let Some(Server::Real(plane, _)) = Arc::into_inner(started.server) {
            started.runtime.block_on(plane.stop());
        }
        drop(started.folder);
    }
}

impl Started {
    fn in_folder(assets: &Path) -> Self {
        let programs = ControlPlanePrograms::in_folder(assets);
        assert!(
            programs.controller_manager.is_some(),
            "{}: no kube-controller-manager, without which workloads and owners are not what the tests say",
            assets.display()
        );
        let runtime = runtime();
        let ca = RunCa::generate("test").unwrap();
        let ca_pem = ca.certificate_pem().to_owned();
        let folder = tempfile::tempdir().unwrap();
        let node = User {
            name: format!("system:node:{NODE}"),
            groups: vec!["system:nodes".to_owned()],
        };
        let config = ControlPlaneConfig {
            users: vec![node],
            ..ControlPlaneConfig::new(programs, ca, folder.path().to_owned())
        };
        let plane = runtime.block_on(ControlPlane::start(config));
        let plane = plane.unwrap_or_else(|error| panic!("the control plane: {error}"));
        Self {
            runtime,
            server: Arc::new(Server::Real(Box::new(plane), ca_pem)),
            folder,
        }
    }
}
