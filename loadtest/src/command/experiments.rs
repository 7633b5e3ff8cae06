//! `scaling1`, `scaling2`, `capacity` and `scale`.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use countersign_client::entropy::SystemEntropy;
#[cfg(feature = "kubernetes")]
use countersign_loadtest::deployment::ServiceDeployment;
use countersign_loadtest::experiments::{self, Backing, CapacityOptions, Laboratory, Point, Programs};
use countersign_loadtest::ledger::Exit;
use countersign_loadtest::measure::Delivered;
use countersign_loadtest::report::Page;
#[cfg(feature = "kubernetes")]
use countersign_loadtest::wire::Targets;

use super::view::Shown;
use super::{beside_this, clock, say};
#[cfg(feature = "kubernetes")]
use crate::cli::Scale;
use crate::cli::{Capacity, Experiment, ExperimentStore, Measuring};

/// Repeats the first experiment.
pub(crate) async fn scaling1(options: Experiment) -> Result<Exit> {
    let (points, page) = experiments::scaling1(&laboratory(&options.measuring)?, &programs(&options)?).await?;
    end(&options.measuring.folder, "scaling1", &page, &points)
}

/// Repeats the second.
pub(crate) async fn scaling2(options: Experiment) -> Result<Exit> {
    let (mut points, scaled, page) =
        experiments::scaling2(&laboratory(&options.measuring)?, &programs(&options)?).await?;
    points.extend(scaled);
    end(&options.measuring.folder, "scaling2", &page, &points)
}

/// Finds the knees.
pub(crate) async fn capacity(options: Capacity) -> Result<Exit> {
    ensure!(!options.nodes.is_empty() && !options.nodes.contains(&0), "--nodes are numbers from 1");
    let wanted = CapacityOptions {
        nodes: options.nodes.clone(),
        backing: match options.store {
            ExperimentStore::Cql => Backing::Cql,
            ExperimentStore::Mariadb => Backing::Mariadb { indices: true },
        },
        cores: (options.business_cores, options.storage_cores),
        p99: options.p99.0,
        rate: options.rate,
        price: options.price,
    };
    let programs = programs(&options.experiment)?;
    let (knees, page) =
        experiments::capacity(&laboratory(&options.experiment.measuring)?, &programs, &wanted).await?;
    let points: Vec<Point> = knees.into_iter().flat_map(|knee| knee.tried).map(|(point, _)| point).collect();
    end(&options.experiment.measuring.folder, "capacity", &page, &points)
}

/// Scales a Deployment, and measures each number of pods.
#[cfg(feature = "kubernetes")]
pub(crate) async fn scale(options: Scale) -> Result<Exit> {
    let wanted = experiments::ClusterOptions {
        pods: options.pods.clone(),
        programs_each: usize::try_from(options.programs_each)?,
        targets: Targets::new(&options.service.urls, &options.service.trust())?,
        admin_port: options.admin_port,
    };
    let deployment = ServiceDeployment::open(options.namespace.as_deref(), &options.deployment).await?;
    let laboratory = laboratory(&options.measuring)?;
    let (points, page) = experiments::scale(&laboratory, &deployment, &wanted).await?;
    end(&options.measuring.folder, "scale", &page, &points)
}

fn programs(options: &Experiment) -> Result<Programs> {
    let service = options.countersignd.clone().map_or_else(beside_this, Ok)?;
    ensure!(service.is_file(), "{} is missing: build it, or name it with --countersignd", service.display());
    Ok(Programs {
        service: service.canonicalize()?,
        scripts: options.scripts.canonicalize().context("the project's scripts are elsewhere: --scripts")?,
    })
}

fn laboratory(options: &Measuring) -> Result<Laboratory> {
    std::fs::create_dir_all(&options.folder).with_context(|| format!("cannot make {}", options.folder.display()))?;
    let work = options.folder.canonicalize()?.join("work");
    // What an earlier experiment left there is of no use.
    let _ = std::fs::remove_dir_all(&work);
    let keys = options.keys.folder()?;
    Ok(Laboratory {
        work,
        super_administrators: options.keys.super_administrators(&keys)?,
        keys,
        clock: clock(),
        entropy: Arc::new(SystemEntropy),
        measured: options.measured.0,
        seed: options.seed,
        threads: usize::try_from(options.threads)?,
        view: Box::new(Shown::new(options.measured.0)),
    })
}

/// Writes page and figures, and says how it ended: the worst that the points' ledgers found.
fn end(folder: &Path, name: &str, page: &Page, points: &[Point]) -> Result<Exit> {
    page.write(folder, name)?;
    let file = folder.join(format!("{name}.json"));
    std::fs::write(&file, serde_json::to_vec(points)?).with_context(|| format!("cannot write {}", file.display()))?;
    for line in page.markdown(&format!("{name}-")).lines().filter(|line| line.starts_with('|')).take(20) {
        say(line);
    }
    say(&format!("Report: {}", folder.join(format!("{name}.html")).display()));
    let mut sum = Delivered::default();
    for point in points {
        sum.add(&point.summary.ledger);
    }
    Ok(match sum.exit() {
        exit @ (Exit::Lost | Exit::Corrupted | Exit::Duplicated) => exit,
        // A point in which nothing was promised shows nothing.
        _ if points.iter().any(|point| point.summary.ledger.promised == 0) => Exit::Failed,
        _ => Exit::Kept,
    })
}
