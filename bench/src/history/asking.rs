//! The queries on every side, in turns, compared row by row.

use super::questions::{Call, Question};
use super::tiers::Tier;
use crate::Options;
use crate::data::{Range, Sensor};
use crate::reads::{FREE_USER, PROFESSIONAL_USER, WARM_UP, as_user, calls_row};
use crate::report::{Report, factor};
use crate::samples::{Samples, show};
use crate::server::{Server, progress};
use anyhow::{Context, Result, ensure};
use chrono::TimeDelta;
use gemba_tests::Random;
use postgres::{Client, SimpleQueryMessage};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

/// Calls of a query that counts, however slow it is.
pub const LEAST_CALLS: usize = 5;

/// Rows that are above the threshold.
const RARE: i64 = 100;

/// How long one query may be asked, by all together.
pub fn budget(options: &Options) -> Duration {
    Duration::from_secs(if options.quick { 2 } else { 20 })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Owner,
    Professional,
    /// The owner, asking what the free user may see.
    OwnerOfSample,
    Free,
}

impl Who {
    /// Sees the sample only.
    fn sampled(self) -> bool {
        matches!(self, Self::OwnerOfSample | Self::Free)
    }
}

/// Readers with subscriptions in a database of gemba's; returns the sensors of the sample.
pub fn prepare(server: &Server, tier: Tier) -> Result<Vec<String>> {
    let mut owner = server.connect(tier.database())?;
    owner.batch_execute(include_str!("../../sql/subscribers.sql"))?;
    let sample: Vec<String> = owner
        .query(
            "SELECT sensor_id::text FROM telemetry.sensors WHERE in_sample ORDER BY 1",
            &[],
        )?
        .iter()
        .map(|row| row.get(0))
        .collect();
    ensure!(!sample.is_empty(), "the sample has no sensors");
    Ok(sample)
}

/// A value that few readings are above.
pub fn threshold(server: &Server, tier: Tier) -> Result<String> {
    Ok(server
        .connect(tier.database())?
        .query_one(
            "SELECT min(reading_value)::text FROM (
               SELECT reading_value FROM telemetry.sensor_readings WHERE reading_value IS NOT NULL
                ORDER BY reading_value DESC LIMIT $1) AS highest",
            &[&RARE],
        )?
        .get(0))
}

/// Somebody with a session.
pub struct Asker {
    tier: Tier,
    who: Who,
    client: Client,
}

/// What all questions about the same data have in common.
pub struct Room<'a> {
    what: &'a str,
    sensors: &'a [Sensor],
    sample: Vec<String>,
    range: Range,
    calls: usize,
    budget: Duration,
    /// Empty where no question asks for it.
    threshold: String,
}

impl<'a> Room<'a> {
    pub fn new(
        what: &'a str,
        sensors: &'a [Sensor],
        sample: Vec<String>,
        range: Range,
        threshold: String,
        options: &Options,
    ) -> Self {
        Self {
            what,
            sensors,
            sample,
            range,
            calls: options.calls,
            budget: budget(options),
            threshold,
        }
    }

    pub fn asker(&self, server: &Server, tier: Tier, who: Who) -> Result<Asker> {
        let mut client = server.connect_with_timeout(tier.database(), "5min")?;
        if tier.is_gemba() {
            client.batch_execute("SET search_path = telemetry, public")?;
        }
        let user = match who {
            Who::Owner | Who::OwnerOfSample => None,
            Who::Professional => Some(PROFESSIONAL_USER),
            Who::Free => Some(FREE_USER),
        };
        if let Some(user) = user {
            client = as_user(client, user)?;
        }
        Ok(Asker { tier, who, client })
    }

    fn call(&self, question: &Question, random: &mut Random) -> Result<Call> {
        // Where the data is shorter than the window, it is the window.
        let starts = self
            .range
            .days()
            .saturating_sub(question.days().saturating_sub(1))
            .max(1);
        let from = self.range.from + TimeDelta::days(i64::try_from(random.below(starts))?);
        let sampled = random.pick(&self.sample).clone();
        let floor = self
            .sensors
            .iter()
            .find(|sensor| sensor.id == sampled)
            .with_context(|| format!("no sensor {sampled}"))?
            .floor;
        Ok(Call {
            sensor: random.pick(self.sensors).id.clone(),
            sampled,
            floor,
            from,
            to: from + TimeDelta::days(i64::try_from(question.days())?),
            threshold: self.threshold.clone(),
        })
    }

    pub fn ask(
        &self,
        questions: &[Question],
        askers: &mut [Asker],
        report: &mut Report,
    ) -> Result<Answers> {
        let mut answers = Answers {
            what: self.what.to_owned(),
            list: Vec::new(),
        };
        for question in questions {
            progress(&format!("{}{}", self.what, question.name));
            let found = self.one(question, askers)?;
            let first = answers.list.len();
            answers.list.extend(found);
            answers.rows(first, report);
        }
        Ok(answers)
    }

    /// One question, in rounds: everybody is asked once a round, another one first each time.
    fn one(&self, question: &Question, askers: &mut [Asker]) -> Result<Vec<Answer>> {
        let mut random = Random::new(1);
        let mut taken = vec![(Samples::default(), 0_u64); askers.len()];
        let begin = Instant::now();
        for round in 0..WARM_UP + self.calls {
            if round >= WARM_UP + LEAST_CALLS && begin.elapsed() > self.budget {
                break;
            }
            let call = self.call(question, &mut random)?;
            let mut digests: Vec<Option<Digest>> = vec![None; askers.len()];
            for turn in 0..askers.len() {
                let number = (round + turn) % askers.len();
                let asker = &mut askers[number];
                let sample = (asker.who == Who::OwnerOfSample).then_some(self.sample.as_slice());
                let sql = question.text(asker.tier, &call, asker.who.sampled(), sample);
                let (duration, digest) = fetch(&mut asker.client, &sql)
                    .with_context(|| format!("{}: {sql}", asker.tier.label()))?;
                if round >= WARM_UP {
                    taken[number].0.push(duration);
                    taken[number].1 += digest.rows;
                }
                digests[number] = Some(digest);
            }
            for sampled in [false, true] {
                let mut alike = askers
                    .iter()
                    .zip(&digests)
                    .filter(|(asker, _)| asker.who.sampled() == sampled);
                let Some((first, wanted)) = alike.next() else {
                    continue;
                };
                for (other, found) in alike {
                    ensure!(
                        wanted == found,
                        "{}: {} as {:?} found {found:?}, {} as {:?} {wanted:?}\n{}",
                        question.name,
                        other.tier.label(),
                        other.who,
                        first.tier.label(),
                        first.who,
                        question.text(first.tier, &call, sampled, None)
                    );
                }
            }
        }
        Ok(askers
            .iter()
            .zip(taken)
            .map(|(asker, (samples, rows))| Answer {
                question: question.name,
                tier: asker.tier,
                who: asker.who,
                samples,
                rows,
            })
            .collect())
    }
}

/// The same for the same rows in whatever order; ids aside, which every side hands out for itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digest {
    rows: u64,
    sum: u64,
}

pub fn fetch(client: &mut Client, sql: &str) -> Result<(Duration, Digest)> {
    let begin = Instant::now();
    let messages = client.simple_query(sql)?;
    let duration = begin.elapsed();
    let mut digest = Digest { rows: 0, sum: 0 };
    for message in &messages {
        let SimpleQueryMessage::Row(row) = message else {
            continue;
        };
        let mut hasher = DefaultHasher::new();
        for (number, column) in row.columns().iter().enumerate() {
            if column.name() != "id" {
                row.try_get(number)?.hash(&mut hasher);
            }
        }
        digest.rows += 1;
        digest.sum = digest.sum.wrapping_add(hasher.finish());
    }
    Ok((duration, digest))
}

/// What one asker got for a question.
struct Answer {
    question: &'static str,
    tier: Tier,
    who: Who,
    samples: Samples,
    rows: u64,
}

pub struct Answers {
    pub what: String,
    list: Vec<Answer>,
}

impl Answers {
    fn of(&self, question: &str, tier: Tier, who: Who) -> Option<&Answer> {
        self.list
            .iter()
            .find(|answer| answer.question == question && answer.tier == tier && answer.who == who)
    }

    pub fn median(&self, question: &str, tier: Tier, who: Who) -> Option<Duration> {
        Some(self.of(question, tier, who)?.samples.median())
    }

    /// One tier's time in times of another's, as owners.
    pub fn ratio(&self, question: &str, tier: Tier, other: Tier) -> Option<f64> {
        Some(times(
            self.median(question, tier, Who::Owner)?,
            self.median(question, other, Who::Owner)?,
        ))
    }

    fn ratios(&self, tier: Tier, other: Tier) -> impl Iterator<Item = (f64, &'static str)> {
        self.list
            .iter()
            .filter(move |answer| answer.tier == tier && answer.who == Who::Owner)
            .filter_map(move |answer| {
                Some((self.ratio(answer.question, tier, other)?, answer.question))
            })
    }

    /// The query on which a tier does worst beside another.
    pub fn worst(&self, tier: Tier, other: Tier) -> Option<(f64, &'static str)> {
        self.ratios(tier, other).max_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// Queries on which a tier is faster than another.
    pub fn faster(&self, tier: Tier, other: Tier) -> usize {
        self.ratios(tier, other)
            .filter(|(ratio, _)| *ratio < 1.0)
            .count()
    }

    /// What row security adds, as a share of the owner's time and as time.
    fn policies(&self, answer: &Answer) -> Option<(f64, Duration)> {
        let owner = match answer.who {
            Who::Free => Who::OwnerOfSample,
            Who::Professional => Who::Owner,
            Who::Owner | Who::OwnerOfSample => return None,
        };
        let without = self.median(answer.question, answer.tier, owner)?;
        let with = answer.samples.median();
        Some((times(with, without) - 1.0, with.saturating_sub(without)))
    }

    /// The query to which row security adds the greatest share, of those that take the owner so long or longer: that
    /// share, the time, and the query.
    pub fn dearest_policies(
        &self,
        tier: Tier,
        long: Duration,
    ) -> Option<(f64, Duration, &'static str)> {
        self.list
            .iter()
            .filter(|answer| answer.tier == tier)
            .filter_map(|answer| {
                let (share, more) = self.policies(answer)?;
                let without = answer.samples.median().saturating_sub(more);
                (without >= long).then_some((share, more, answer.question))
            })
            .max_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// The table's rows for the answers from `first` on.
    fn rows(&self, first: usize, report: &mut Report) {
        for answer in &self.list[first..] {
            let ratio = match (answer.who, self.policies(answer)) {
                (Who::Owner, _) if answer.tier != Tier::Segments => self
                    .ratio(answer.question, Tier::Segments, answer.tier)
                    .map_or_else(String::new, |ratio| {
                        format!("segments take {} its time", factor(ratio))
                    }),
                (_, Some((share, _))) => format!("row security: {:+.1} %", 100.0 * share),
                _ => String::new(),
            };
            let who = match answer.who {
                Who::Owner => "owner",
                Who::Professional => "professional user",
                Who::OwnerOfSample => "owner, the free user's sensors",
                Who::Free => "free user",
            };
            let side = if answer.tier.is_gemba() {
                format!("{}, {who}", answer.tier.label())
            } else {
                answer.tier.label().to_owned()
            };
            calls_row(
                report,
                &format!("{}{}", self.what, answer.question),
                &side,
                &answer.samples,
                format!(
                    "{:.0} rows a call",
                    answer.rows as f64 / answer.samples.count().max(1) as f64
                ),
                ratio,
            );
        }
    }

    /// The slowest of those who have their say: whoever asks, in words and as a time.
    pub fn everybody(&self, question: &str) -> Option<(Duration, String)> {
        let all: Vec<_> = self
            .list
            .iter()
            .filter(|answer| answer.question == question && answer.who != Who::OwnerOfSample)
            .collect();
        let slowest = all.iter().map(|answer| answer.samples.median()).max()?;
        let words: Vec<_> = all
            .iter()
            .map(|answer| {
                let who = match answer.who {
                    Who::Professional => "professional",
                    Who::Free => "free",
                    Who::Owner | Who::OwnerOfSample => "owner",
                };
                format!("{who} {}", show(answer.samples.median()))
            })
            .collect();
        Some((slowest, words.join(", ")))
    }
}

fn times(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64().max(1e-9)
}
