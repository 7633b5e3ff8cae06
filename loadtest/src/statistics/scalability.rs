//! The Universal Scalability Law: what N nodes do, where waiting for each other (σ) and agreeing with each other (κ)
//! cost something. C(N) = λN / (1 + σ(N − 1) + κN(N − 1)).
//!
//! Gunther, *Guerrilla Capacity Planning* (2007), chapter 4; with λ, after Schwartz, *Practical Scalability Analysis
//! with the Universal Scalability Law* (2015).

use thiserror::Error;

use super::real;

/// Steps after which a fit that still moves is taken as it is.
const STEPS: usize = 200;

/// The law's parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scalability {
    /// λ: what one node does, in the unit of the throughput.
    pub lambda: f64,
    /// σ: the share that cannot be done side by side.
    pub sigma: f64,
    /// κ: what keeping each pair in agreement costs.
    pub kappa: f64,
}

impl Scalability {
    /// Returns what so many nodes do.
    #[must_use]
    pub fn throughput(&self, nodes: f64) -> f64 {
        let Self { lambda, sigma, kappa } = self;
        lambda * nodes / (1.0 + sigma * (nodes - 1.0) + kappa * nodes * (nodes - 1.0))
    }

    /// Returns N*, from which on more nodes do less: √((1 − σ)/κ), at least 1. None where there is no such number,
    /// because nodes need not agree (κ = 0).
    #[must_use]
    pub fn best(&self) -> Option<f64> {
        (self.kappa > 0.0).then(|| ((1.0 - self.sigma).max(0.0) / self.kappa).sqrt().max(1.0))
    }

    /// Returns what so many nodes do as a share of what as many would do alone: 1 is perfect.
    #[must_use]
    pub fn efficiency(&self, nodes: f64) -> f64 {
        self.throughput(nodes) / (self.lambda * nodes)
    }
}

/// The law as it was fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScalabilityFit {
    /// The parameters.
    pub law: Scalability,
    /// The share of the variance of the throughput that the law explains; 1 is all of it.
    pub r_squared: f64,
    /// The root of the mean of the squared deviations, in the unit of the throughput.
    pub deviation: f64,
}

/// Nothing can be fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FitError {
    /// A number of nodes below 1, or a throughput that is not positive.
    #[error("a point has a number of nodes below 1, or no throughput")]
    Point,
    /// Too few numbers of nodes.
    #[error("{0} different numbers of nodes were measured; the law has three parameters, so it takes three")]
    Few(usize),
}

impl ScalabilityFit {
    /// Fits the law to pairs of nodes and throughput by least squares, with σ and κ at least 0.
    ///
    /// The best point under both conditions is the best of one of four laws: with both parameters, with one, or with
    /// neither. Each is fitted without conditions (Levenberg and Marquardt), those that break one are dropped, and the
    /// best is kept.
    ///
    /// # Errors
    /// If a point is impossible, or there are fewer than three different numbers of nodes.
    pub fn new(points: &[(f64, f64)]) -> Result<Self, FitError> {
        let possible =
            |(nodes, done): &(f64, f64)| nodes.is_finite() && *nodes >= 1.0 && done.is_finite() && *done > 0.0;
        if !points.iter().all(possible) {
            return Err(FitError::Point);
        }
        let mut numbers: Vec<f64> = points.iter().map(|(nodes, _)| *nodes).collect();
        numbers.sort_by(f64::total_cmp);
        numbers.dedup();
        if numbers.len() < 3 {
            return Err(FitError::Few(numbers.len()));
        }
        let best = [[true, true], [true, false], [false, true], [false, false]]
            .into_iter()
            .map(|[sigma, kappa]| Curve::fit(points, [true, sigma, kappa]))
            .filter(Curve::is_allowed)
            .min_by(|one, other| one.squares(points).total_cmp(&other.squares(points)));
        // The law with neither is always allowed.
        let best = best.unwrap_or_else(|| Curve::start(points));
        let mean = points.iter().map(|(_, done)| done).sum::<f64>() / real(points.len());
        let all: f64 = points.iter().map(|(_, done)| (done - mean).powi(2)).sum();
        let left = best.squares(points);
        Ok(Self {
            law: best.law(),
            r_squared: if all > 0.0 { 1.0 - left / all } else { 1.0 },
            deviation: (left / real(points.len())).sqrt(),
        })
    }
}

/// The law as C(N) = N / (a + b(N − 1) + cN(N − 1)): a = 1/λ, b = σ/λ, c = κ/λ. It is smoother in these.
#[derive(Clone, Copy, Debug)]
struct Curve([f64; 3]);

impl Curve {
    /// Returns the law of one node alone, without σ and κ.
    fn start(points: &[(f64, f64)]) -> Self {
        let (product, square) = points
            .iter()
            .fold((0.0, 0.0), |(product, square), (nodes, done)| (product + nodes * done, square + nodes * nodes));
        Self([square / product, 0.0, 0.0])
    }

    fn terms(nodes: f64) -> [f64; 3] {
        [1.0, nodes - 1.0, nodes * (nodes - 1.0)]
    }

    fn below(&self, nodes: f64) -> f64 {
        Self::terms(nodes).iter().zip(&self.0).map(|(term, factor)| term * factor).sum()
    }

    fn is_allowed(&self) -> bool {
        let [a, b, c] = self.0;
        a > 0.0 && b >= 0.0 && c >= 0.0
    }

    fn law(&self) -> Scalability {
        let [a, b, c] = self.0;
        Scalability { lambda: 1.0 / a, sigma: b / a, kappa: c / a }
    }

    fn squares(&self, points: &[(f64, f64)]) -> f64 {
        points
            .iter()
            .map(|(nodes, done)| {
                let below = self.below(*nodes);
                // A curve that leaves the positive is no curve of throughput.
                if below > 0.0 { (done - nodes / below).powi(2) } else { f64::INFINITY }
            })
            .sum()
    }

    /// Fits those parameters that are free; the others are 0.
    fn fit(points: &[(f64, f64)], free: [bool; 3]) -> Self {
        let mut curve = Self::start(points);
        let mut squares = curve.squares(points);
        let mut damping = 1e-3;
        for _ in 0..STEPS {
            let (matrix, slope) = curve.normal_equations(points, free);
            let Some(step) = solve(damped(matrix, damping), slope) else { break };
            let next = Self(std::array::from_fn(|index| at(&curve.0, index) + at(&step, index)));
            let next_squares = next.squares(points);
            if next_squares < squares {
                let gain = (squares - next_squares) / squares;
                (curve, squares) = (next, next_squares);
                damping = (damping / 10.0).max(1e-15);
                if squares == 0.0 || gain < 1e-15 {
                    break;
                }
            } else {
                damping *= 10.0;
                if damping > 1e12 {
                    break;
                }
            }
        }
        curve
    }

    /// Returns `JᵀJ` and `Jᵀr` of the deviations r, with J their slopes.
    fn normal_equations(&self, points: &[(f64, f64)], free: [bool; 3]) -> ([[f64; 3]; 3], [f64; 3]) {
        let mut matrix = [[0.0; 3]; 3];
        let mut slope = [0.0; 3];
        for (nodes, done) in points {
            let below = self.below(*nodes);
            let terms = Self::terms(*nodes);
            let column = |index: usize| {
                let is_free = free.get(index).copied().unwrap_or(false);
                if is_free { -nodes * at(&terms, index) / below.powi(2) } else { 0.0 }
            };
            for (row, (line, slope)) in matrix.iter_mut().zip(&mut slope).enumerate() {
                *slope += column(row) * (done - nodes / below);
                for (index, cell) in line.iter_mut().enumerate() {
                    *cell += column(row) * column(index);
                }
            }
        }
        (matrix, slope)
    }
}

fn at(values: &[f64; 3], index: usize) -> f64 {
    values.get(index).copied().unwrap_or(0.0)
}

/// Makes the diagonal heavier, each parameter in its own scale; one that is not free becomes 1 · step = 0.
fn damped(mut matrix: [[f64; 3]; 3], damping: f64) -> [[f64; 3]; 3] {
    for (row, line) in matrix.iter_mut().enumerate() {
        if let Some(cell) = line.get_mut(row) {
            *cell = if *cell > 0.0 { *cell * (1.0 + damping) } else { 1.0 };
        }
    }
    matrix
}

/// Solves three linear equations by Cramer's rule, after scaling them; none where they depend on each other.
fn solve(matrix: [[f64; 3]; 3], right: [f64; 3]) -> Option<[f64; 3]> {
    let scale: [f64; 3] = std::array::from_fn(|index| matrix.get(index).map_or(1.0, |line| at(line, index).sqrt()));
    let scaled: [[f64; 3]; 3] = std::array::from_fn(|row| {
        std::array::from_fn(|column| {
            matrix.get(row).map_or(0.0, |line| at(line, column)) / (at(&scale, row) * at(&scale, column))
        })
    });
    let right: [f64; 3] = std::array::from_fn(|row| at(&right, row) / at(&scale, row));
    let all = determinant(&scaled);
    if all.abs() < 1e-300 || !all.is_finite() {
        return None;
    }
    Some(std::array::from_fn(|column| {
        let mut replaced = scaled;
        for (line, value) in replaced.iter_mut().zip(&right) {
            if let Some(cell) = line.get_mut(column) {
                *cell = *value;
            }
        }
        determinant(&replaced) / all / at(&scale, column)
    }))
}

/// Expands by the first row.
fn determinant([first, [d, e, f], last]: &[[f64; 3]; 3]) -> f64 {
    let minor = |[x, y]: [f64; 2], [i, j]: [usize; 2]| x * at(last, j) - y * at(last, i);
    at(first, 0) * minor([*e, *f], [1, 2]) - at(first, 1) * minor([*d, *f], [0, 2])
        + at(first, 2) * minor([*d, *e], [0, 1])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::random::Random;

    fn exact(law: Scalability, nodes: &[f64]) -> Vec<(f64, f64)> {
        nodes.iter().map(|nodes| (*nodes, law.throughput(*nodes))).collect()
    }

    fn near(one: f64, other: f64, within: f64) -> bool {
        (one - other).abs() <= within
    }

    #[test]
    fn exact_points_give_the_parameters() {
        let law = Scalability { lambda: 995.6, sigma: 0.026_72, kappa: 0.000_769 };

        let fit = ScalabilityFit::new(&exact(law, &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0])).unwrap();

        assert!(near(fit.law.lambda, law.lambda, 1e-3), "{fit:?}");
        assert!(near(fit.law.sigma, law.sigma, 1e-6), "{fit:?}");
        assert!(near(fit.law.kappa, law.kappa, 1e-8), "{fit:?}");
        assert!(near(fit.r_squared, 1.0, 1e-9) && fit.deviation < 1e-3);
        // √((1 − 0.02672) / 0.000769)
        assert!(near(fit.law.best().unwrap(), 35.575, 0.01), "{fit:?}");
    }

    #[test]
    fn what_scales_perfectly_or_better_has_no_cost_below_zero() {
        let linear = ScalabilityFit::new(&[(1.0, 50.0), (2.0, 100.0), (4.0, 200.0)]).unwrap();
        let better = ScalabilityFit::new(&[(1.0, 50.0), (2.0, 104.0), (4.0, 220.0)]).unwrap();

        for fit in [linear, better] {
            assert!(fit.law.sigma >= 0.0 && fit.law.sigma < 1e-6, "{fit:?}");
            assert!(fit.law.kappa >= 0.0 && fit.law.kappa < 1e-6, "{fit:?}");
        }
        assert!(near(better.law.efficiency(4.0), 1.0, 1e-5));
        assert!(better.law.best().is_none_or(|best| best > 1_000.0));
    }

    #[test]
    fn nobody_can_tell_three_parameters_from_two_numbers_of_nodes() {
        assert_eq!(ScalabilityFit::new(&[(1.0, 50.0), (2.0, 90.0), (2.0, 91.0)]), Err(FitError::Few(2)));
        assert_eq!(ScalabilityFit::new(&[(0.0, 50.0)]), Err(FitError::Point));
        assert_eq!(ScalabilityFit::new(&[(1.0, f64::NAN)]), Err(FitError::Point));
    }

    #[test]
    fn noise_moves_the_curve_little() {
        let law = Scalability { lambda: 200.0, sigma: 0.03, kappa: 0.002 };
        let mut random = Random::new(1);
        let noisy: Vec<(f64, f64)> = exact(law, &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 1.0, 2.0, 4.0, 8.0])
            .into_iter()
            .map(|(nodes, done)| (nodes, done * (1.0 + (random.fraction() - 0.5) * 0.04)))
            .collect();

        let fit = ScalabilityFit::new(&noisy).unwrap();

        for nodes in [1.0, 4.0, 8.0] {
            assert!(near(fit.law.throughput(nodes) / law.throughput(nodes), 1.0, 0.03), "{nodes}: {fit:?}");
        }
        assert!(fit.r_squared > 0.98);
    }

    proptest! {
        #[test]
        fn any_law_is_recovered(lambda in 1.0_f64..1e5, sigma in 0.0_f64..0.5, kappa in 0.0_f64..0.05) {
            let law = Scalability { lambda, sigma, kappa };

            let fit = ScalabilityFit::new(&exact(law, &[1.0, 2.0, 3.0, 4.0, 6.0, 8.0])).unwrap();

            prop_assert!(near(fit.law.lambda / lambda, 1.0, 1e-4), "{fit:?}");
            prop_assert!(near(fit.law.sigma, sigma, 1e-4), "{fit:?}");
            prop_assert!(near(fit.law.kappa, kappa, 1e-4), "{fit:?}");
        }

        #[test]
        fn a_fit_is_no_worse_than_any_other_law(
            done in prop::collection::vec(1.0_f64..100.0, 5),
            sigma in 0.0_f64..1.0,
            kappa in 0.0_f64..0.2,
            lambda in 1.0_f64..100.0,
        ) {
            let points: Vec<(f64, f64)> = [1.0, 2.0, 4.0, 6.0, 8.0].into_iter().zip(done).collect();
            let other = Scalability { lambda, sigma, kappa };
            let squares = |law: &Scalability| points.iter().map(|(nodes, done)| (done - law.throughput(*nodes)).powi(2)).sum::<f64>();

            let fit = ScalabilityFit::new(&points).unwrap();

            prop_assert!(squares(&fit.law) <= squares(&other) * 1.001 + 1e-6, "{fit:?}");
        }
    }
}
