//! The first half of a run: its environment, its tenants, its cases.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Instant,
};

use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    dispatch::{Dispatch, dispatch},
    micros,
    nodes::FollowedNodes,
    pod_identity, probe,
    run::{Life, warning},
    upgrade,
    world::{Standing, World, plain_request, tenant_ready},
};
use crate::{
    environment::{Environment, Fault, Heard},
    journal::EventKind,
    provision::{Object, Provisioner, Tenant},
    scenario::Case,
};

/// Tenants made at a time.
const PARALLEL_TENANTS: usize = 16;

impl Life {
    /// The first half: environment, tenants, cases.
    pub(super) async fn work(
        self: Arc<Self>,
        cases: Vec<Arc<Case>>,
        cancelled: CancellationToken,
    ) -> Result<(), String> {
        // Whatever is to be done must be on record first, the folder of sockets and mounts too.
        self.ledger
            .plan(&[Object::Scratch(self.scratch.clone())])
            .map_err(|error| format!("cannot {error}"))?;
        let journal = self.journal.clone();
        let struck = move |fault: Fault| {
            journal.record(warning(format!(
                "the fault {fault} struck: {}",
                fault.trouble.what()
            )));
        };
        let starting = self.options.environment.start(
            &self.scratch,
            &self.options.region,
            self.seed,
            &self.marks,
            &self.ledger,
            Heard {
                struck: Arc::new(struck),
                told: self.told(),
            },
        );
        // Large, and begun once. What is half made when the run is asked to end is on record.
        let starting = Box::pin(starting);
        let started = tokio::select! {
            started = starting => started,
            () = cancelled.cancelled(), if self.options.environment.is_slow() => return Ok(()),
        };
        let environment = started.map_err(|error| error.to_string())?;
        let environment = Arc::new(environment);
        *self.environment.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&environment));
        let began = Instant::now();
        let capabilities = probe::capabilities(
            &environment,
            &environment.ready.components,
            &self.options.identities,
        )
        .await;
        let mut ready = environment.ready.clone();
        ready.capabilities.clone_from(&capabilities);
        ready.took_us += micros(began.elapsed());
        self.journal.record(EventKind::EnvironmentReady(ready));
        let _incidents = self.journal_incidents(&environment);
        let nodes = FollowedNodes::begin(&environment, &self.journal);

        let provisioner = Provisioner::new(
            Arc::clone(&environment),
            Arc::clone(&self.ledger),
            self.cluster.clone(),
            self.marks.clone(),
        );
        let identities = pod_identity::usable(&self.options.identities, &capabilities);
        // Without a way in there is no case to be tried.
        let tenants = if identities.is_empty() {
            &[]
        } else {
            &self.options.tenants[..]
        };
        let requests = tenants
            .iter()
            .map(|name| plain_request(&self.values, name, &identities))
            .collect();
        let ready = |tenant: &Tenant| self.journal.record(tenant_ready(tenant, None));
        let provide = async {
            provisioner.provide_cluster(&identities).await?;
            provisioner
                .provide(requests, PARALLEL_TENANTS, &ready, &cancelled)
                .await
        };
        let shared = provide
            .await
            .map_err(|error| format!("cannot provision the tenants: {error}"))?;
        if cancelled.is_cancelled() {
            return Ok(());
        }
        let standing = Standing {
            components: vec![environment.ready.components.clone()],
            capabilities,
        };
        let world = Arc::new(World {
            environment,
            standing: RwLock::new(standing),
            provisioner,
            journal: self.journal.clone(),
            options: Arc::clone(&self.options),
            marks: self.marks.clone(),
            seed: self.seed,
            scratch: self.scratch.clone(),
            shared: identities
                .iter()
                .map(|&identity| {
                    let through = shared.iter().filter_map(|tenant| tenant.through(identity));
                    (identity, through.collect())
                })
                .collect(),
            values: Arc::clone(&self.values),
            nodes,
        });
        let how = Dispatch {
            jobs: self.options.jobs,
            retries: self.options.retries,
            fail_fast: self.options.fail_fast,
        };
        if world.environment.upgrade.is_some() {
            return upgrade::run(&world, cases, how, &cancelled).await;
        }
        dispatch(&world, cases, how, &cancelled).await;
        Ok(())
    }

    /// Journals what befalls nodes, for as long as the answer lives.
    fn journal_incidents(&self, environment: &Environment) -> Option<AbortOnDropHandle<()>> {
        let mut incidents = environment.kubernetes.incidents()?;
        let journal = self.journal.clone();
        Some(AbortOnDropHandle::new(tokio::spawn(async move {
            while let Some(incident) = incidents.recv().await {
                journal.record(EventKind::IncidentSeen(incident));
            }
        })))
    }
}
