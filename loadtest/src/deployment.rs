//! The service's Deployment in a Kubernetes cluster, whose pods are the nodes of an experiment.
//!
//! Owns: what is asked of the API server: how many pods there shall be, and which there are. Refuses to know: what they do.
//! It needs the rights of `k8s/scaling/rights.yaml`, and no others.
//!
//! Invariant: where there were so many pods as were asked for, each was ready and none was about to end.

use std::net::IpAddr;
use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams, Patch, PatchParams};
use kube::{Client, Config};
use thiserror::Error;

use crate::clock::Stopwatch;

/// How often it is looked.
const LOOK: Duration = Duration::from_millis(500);

/// Why a Deployment is not scaled.
#[derive(Debug, Error)]
pub enum DeploymentError {
    /// There is neither a service account nor a kubeconfig.
    #[error("no cluster is known here: run this in a pod with the service account of k8s/scaling, or set KUBECONFIG")]
    NoCluster(#[source] Box<kube::config::InferConfigError>),
    /// The API server, or the way to it.
    #[error("the cluster does not let me {what} (k8s/scaling/rights.yaml has the rights that this needs)")]
    Refused {
        /// What was asked.
        what: String,
        /// Why not.
        #[source]
        source: Box<kube::Error>,
    },
    /// The pods do not become ready.
    #[error(
        "after {} s there are {ready} ready pods and {others} others, and not {wanted} ready ones: \
         is an autoscaler at work (autoscaling.mode: none), or the cluster full (kubectl describe pods)?",
        limit.as_secs()
    )]
    NotReady {
        /// How many were asked for.
        wanted: usize,
        /// How many were ready.
        ready: usize,
        /// Those that begin or end.
        others: usize,
        /// How long they were waited for.
        limit: Duration,
    },
}

/// A pod that answers requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyPod {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
}

/// A Deployment that may be scaled.
pub struct ServiceDeployment {
    deployments: Api<Deployment>,
    pods: Api<Pod>,
    name: String,
    selector: String,
}

impl std::fmt::Debug for ServiceDeployment {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "ServiceDeployment({})", self.name)
    }
}

impl ServiceDeployment {
    /// Finds a Deployment, by the service account of this pod or the kubeconfig of this user. The namespace is theirs where
    /// none is named.
    ///
    /// # Errors
    /// If there is no cluster, or it refuses.
    pub async fn open(namespace: Option<&str>, name: &str) -> Result<Self, DeploymentError> {
        let config = Config::infer().await.map_err(|error| DeploymentError::NoCluster(Box::new(error)))?;
        let namespace = namespace.unwrap_or(&config.default_namespace).to_owned();
        let client = Client::try_from(config).map_err(refused("connect".to_owned()))?;
        let deployments: Api<Deployment> = Api::namespaced(client.clone(), &namespace);
        let found =
            deployments.get(name).await.map_err(refused(format!("read the Deployment {namespace}/{name}")))?;
        let labels = found.spec.and_then(|spec| spec.selector.match_labels).unwrap_or_default();
        let selector = labels.iter().map(|(label, value)| format!("{label}={value}")).collect::<Vec<_>>().join(",");
        Ok(Self { deployments, pods: Api::namespaced(client, &namespace), name: name.to_owned(), selector })
    }

    /// Returns how many pods it shall have.
    ///
    /// # Errors
    /// If the cluster refuses.
    pub async fn replicas(&self) -> Result<usize, DeploymentError> {
        let scale = self.deployments.get_scale(&self.name).await.map_err(self.refused("read the scale of"))?;
        let replicas = scale.spec.and_then(|spec| spec.replicas).unwrap_or(1);
        Ok(usize::try_from(replicas).unwrap_or(0))
    }

    /// Sets how many pods it shall have.
    ///
    /// # Errors
    /// If the cluster refuses.
    pub async fn set_replicas(&self, replicas: usize) -> Result<(), DeploymentError> {
        let patch = Patch::Merge(serde_json::json!({"spec": {"replicas": replicas}}));
        let scaled = self.deployments.patch_scale(&self.name, &PatchParams::default(), &patch).await;
        scaled.map(drop).map_err(self.refused("scale"))
    }

    /// Scales it, and returns its pods when there are just so many, all of them ready.
    ///
    /// # Errors
    /// If the cluster refuses, or that takes longer than `limit`.
    pub async fn scale(&self, wanted: usize, limit: Duration) -> Result<Vec<ReadyPod>, DeploymentError> {
        self.set_replicas(wanted).await?;
        let watch = Stopwatch::start();
        loop {
            let all = self.pods.list(&ListParams::default().labels(&self.selector)).await;
            let all = all.map_err(self.refused("list the pods of"))?.items;
            let ready: Vec<ReadyPod> = all.iter().filter_map(ready).collect();
            let others = all.len() - ready.len();
            if ready.len() == wanted && others == 0 {
                return Ok(ready);
            }
            if watch.elapsed() > limit {
                return Err(DeploymentError::NotReady { wanted, ready: ready.len(), others, limit });
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn refused(&self, what: &str) -> impl FnOnce(kube::Error) -> DeploymentError + use<> {
        refused(format!("{what} the Deployment {}", self.name))
    }
}

fn refused(what: String) -> impl FnOnce(kube::Error) -> DeploymentError {
    move |source| DeploymentError::Refused { what, source: Box::new(source) }
}

/// Returns the pod if it is ready and not about to end.
fn ready(pod: &Pod) -> Option<ReadyPod> {
    let status = pod.status.as_ref()?;
    let is_ready =
        status.conditions.iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    let stays = pod.metadata.deletion_timestamp.is_none();
    let address = status.pod_ip.as_ref()?.parse().ok()?;
    (is_ready && stays).then_some(ReadyPod { name: pod.metadata.name.clone()?, address })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(ready: &str, extra: &str) -> Pod {
        serde_json::from_str(&format!(
            r#"{{"metadata": {{"name": "one"{extra}}}, "status": {{"podIP": "10.0.0.7", "conditions":
                [{{"type": "Initialized", "status": "True"}}, {{"type": "Ready", "status": "{ready}"}}]}}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn only_pods_that_are_ready_and_stay_count() {
        let one = ReadyPod { name: "one".to_owned(), address: "10.0.0.7".parse().unwrap() };
        assert_eq!(super::ready(&pod("True", "")), Some(one));
        assert_eq!(super::ready(&pod("False", "")), None);
        assert_eq!(super::ready(&pod("True", r#", "deletionTimestamp": "2026-01-01T00:00:00Z""#)), None);
        assert_eq!(super::ready(&Pod::default()), None);
    }
}
