//! Exponential smoothing with additive errors, a damped additive trend and an additive season (Holt 1957, Winters
//! 1960, Gardner and McKenzie 1985), written as in Hyndman, Koehler, Ord and Snyder, "Forecasting with Exponential
//! Smoothing" (2008): ETS(A, Ad, A), and ETS(A, Ad, N) without a season.
//!
//! Each day the level moves by α of the error, the trend by αβ of it, that weekday's season by γ of it. The constants
//! are those of a small grid that would have had the least squared errors one day ahead.

use super::Expected;

const ALPHA: [f64; 6] = [0.05, 0.1, 0.2, 0.3, 0.5, 0.8];
const BETA: [f64; 3] = [0.0, 0.05, 0.2];
const GAMMA: [f64; 5] = [0.0, 0.05, 0.1, 0.2, 0.3];
const PHI: [f64; 3] = [0.8, 0.9, 0.98];

/// The first state is that of so many days: a trend between their halves, and the mean of each weekday.
const FIRST: usize = 28;

#[derive(Debug, Clone, Copy)]
struct Constants {
    alpha: f64,
    beta: f64,
    gamma: f64,
    phi: f64,
}

#[derive(Debug, Clone)]
struct State {
    level: f64,
    trend: f64,
    season: Vec<f64>,
}

impl State {
    /// Before the first day.
    fn first(history: &[f64], period: usize) -> Self {
        let days = &history[..history.len().min(FIRST)];
        let half = days.len() / 2;
        let (early, late) = (mean(&days[..half]), mean(&days[days.len() - half..]));
        let trend = (late - early) / (days.len() - half) as f64;
        let level = mean(days) - trend * (days.len() + 1) as f64 / 2.0;
        let season = (0..period)
            .map(|weekday| {
                let off: Vec<f64> = (weekday..days.len())
                    .step_by(period)
                    .map(|day| days[day] - level - trend * (day + 1) as f64)
                    .collect();
                if period == 1 { 0.0 } else { mean(&off) }
            })
            .collect();
        Self {
            level,
            trend,
            season,
        }
    }

    /// Takes in all days; returns the sum of squared errors one day ahead.
    fn learn(&mut self, history: &[f64], with: Constants) -> f64 {
        let period = self.season.len();
        let mut squares = 0.0;
        for (day, quantity) in history.iter().enumerate() {
            let ahead = self.level + with.phi * self.trend;
            let season = &mut self.season[day % period];
            let error = quantity - ahead - *season;
            squares += error * error;
            self.level = ahead + with.alpha * error;
            self.trend = with.phi * self.trend + with.alpha * with.beta * error;
            *season += with.gamma * error;
        }
        squares
    }
}

/// `period` is 7, or 1 for none; there are two of it at least, and two weeks.
pub fn expected(history: &[f64], period: usize, horizon: usize) -> Expected {
    let first = State::first(history, period);
    let mut best: Option<(f64, Constants, State)> = None;
    for with in constants(period) {
        let mut state = first.clone();
        let squares = state.learn(history, with);
        if best.as_ref().is_none_or(|(least, ..)| squares < *least) {
            best = Some((squares, with, state));
        }
    }
    let Some((squares, with, state)) = best else {
        return Vec::new();
    };
    let variance = squares / history.len() as f64;
    let mut expected = Vec::with_capacity(horizon);
    // φ + φ² + … + φʰ, and the sum of the squares of what an error of a day in between does to day h.
    let (mut damped, mut spread) = (0.0, 1.0);
    for ahead in 1..=horizon {
        damped += with.phi.powi(ahead as i32);
        let season = state.season[(history.len() + ahead - 1) % period];
        expected.push((
            state.level + damped * state.trend + season,
            (variance * spread).sqrt(),
        ));
        let returns = period > 1 && ahead % period == 0;
        let effect =
            with.alpha * (1.0 + with.beta * damped) + if returns { with.gamma } else { 0.0 };
        spread += effect * effect;
    }
    expected
}

fn constants(period: usize) -> impl Iterator<Item = Constants> {
    let gammas = if period == 1 { &GAMMA[..1] } else { &GAMMA[..] };
    ALPHA.into_iter().flat_map(move |alpha| {
        BETA.into_iter().flat_map(move |beta| {
            PHI.into_iter().flat_map(move |phi| {
                gammas
                    .iter()
                    // (Otherwise level and season together would move further than the error.)
                    .filter(move |&&gamma| gamma <= 1.0 - alpha)
                    .map(move |&gamma| Constants {
                        alpha,
                        beta,
                        gamma,
                        phi,
                    })
            })
        })
    })
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
