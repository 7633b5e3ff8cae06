//! Scaling on a Kubernetes cluster: the service's pods are the nodes, and this tool says how many there are.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use countersign_client::connection::{HttpClient, ServerUrl, Trust};

use super::Laboratory;
use super::point::{EVERY, Place, Point, clients, measure};
use crate::clock::Stopwatch;
use crate::deployment::{ReadyPod, ServiceDeployment};
use crate::nodes::{Intervals, NodeLoad, Usage};
use crate::pages::NodeSeries;
use crate::report::Page;
use crate::wire::Targets;

/// How long pods may take until they are ready.
const PATIENCE: Duration = Duration::from_mins(5);
/// How long a pod may take to tell its metrics.
const ANSWER: Duration = Duration::from_secs(2);

/// What is scaled, and how.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Numbers of pods, in their order.
    pub pods: Vec<usize>,
    /// Programs of a closed loop for each pod: enough that each always has something to do.
    pub programs_each: usize,
    /// Where clients send requests: the Service, or the ingress.
    pub targets: Targets,
    /// The port of each pod's metrics.
    pub admin_port: u16,
}

/// The pods while they are measured.
struct Pods<'a> {
    targets: &'a Targets,
    pods: Vec<(ReadyPod, HttpClient)>,
}

impl Place for Pods<'_> {
    fn targets(&self) -> Result<Targets> {
        Ok(self.targets.clone())
    }

    fn nodes(&self) -> Result<Vec<NodeSeries>> {
        let bare = |(pod, _): &(ReadyPod, _)| NodeSeries {
            name: pod.name.clone(),
            // Pods have no limit of processor time, as the chart has it.
            cores: f64::INFINITY,
            samples: Vec::new(),
        };
        Ok(self.pods.iter().map(bare).collect())
    }

    async fn watch(&self, watch: Stopwatch, mut each: impl FnMut(&str, NodeLoad)) -> Result<()> {
        let mut intervals: Vec<Option<Intervals>> = vec![None; self.pods.len()];
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let asked = self.pods.iter().map(|(_, http)| usage(http));
            let answers = futures_util::future::join_all(asked).await;
            for (((pod, _), used), intervals) in self.pods.iter().zip(answers).zip(&mut intervals) {
                // A pod that does not answer now is asked again.
                let Ok(used) = used else { continue };
                let at = watch.elapsed();
                match intervals {
                    Some(intervals) => each(&pod.name, intervals.until(at, used)),
                    None => *intervals = Some(Intervals::new(at, used)),
                }
            }
        }
    }
}

/// Measures each number of pods, and leaves as many as there were.
///
/// # Errors
/// If the cluster refuses, pods do not become ready, or the set-up fails.
pub async fn scale(
    laboratory: &Laboratory,
    deployment: &ServiceDeployment,
    options: &ClusterOptions,
) -> Result<(Vec<Point>, Page)> {
    ensure!(!options.pods.is_empty() && !options.pods.contains(&0), "--pods are numbers from 1");
    let before = deployment.replicas().await?;
    let points = all(laboratory, deployment, options).await;
    deployment.set_replicas(before).await?;
    let points = points?;
    let page = super::pages::cluster(&points);
    Ok((points, page))
}

async fn all(
    laboratory: &Laboratory,
    deployment: &ServiceDeployment,
    options: &ClusterOptions,
) -> Result<Vec<Point>> {
    let mut points = Vec::new();
    for number in &options.pods {
        let pods = deployment.scale(*number, PATIENCE).await?;
        let place = Pods { targets: &options.targets, pods: with_metrics(pods, options.admin_port)? };
        let name = format!("{number} pod{}", if *number == 1 { "" } else { "s" });
        let shape = super::closed(options.programs_each * number, laboratory.seed);
        let load = (shape, clients(laboratory.seed), laboratory.measured);
        points.push(measure(laboratory, &place, (&name, *number), load).await?);
    }
    Ok(points)
}

fn with_metrics(pods: Vec<ReadyPod>, port: u16) -> Result<Vec<(ReadyPod, HttpClient)>> {
    let connect = |pod: ReadyPod| {
        let url: ServerUrl = format!("http://{}", std::net::SocketAddr::new(pod.address, port)).parse()?;
        Ok((pod, HttpClient::new(url, &Trust::System)?))
    };
    pods.into_iter().map(connect).collect()
}

/// Asks a pod how much processor time it has used. How long its threads waited, a pod does not tell.
async fn usage(http: &HttpClient) -> Result<Usage> {
    let request = http::Request::get(format!("{}/metrics", http.server())).body(http_body_util::Full::default())?;
    let answer = http.send(request, ANSWER).await?;
    ensure!(answer.status.is_success(), "{} answers /metrics with {}", http.server(), answer.status);
    let seconds = seconds_of(std::str::from_utf8(&answer.body)?);
    let seconds = seconds.context("no process_cpu_seconds_total among the metrics")?;
    Ok(Usage { cpu: Duration::try_from_secs_f64(seconds)?, ..Usage::default() })
}

fn seconds_of(metrics: &str) -> Option<f64> {
    metrics.lines().find_map(|line| line.strip_prefix("process_cpu_seconds_total ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_among_the_metrics() {
        let metrics = "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 12.5\nother 1\n";

        assert_eq!(seconds_of(metrics), Some(12.5));
        assert_eq!(seconds_of("process_cpu_seconds_total_of_others 3\n"), None);
    }
}
