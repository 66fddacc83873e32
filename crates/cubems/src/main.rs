//! `cubems-maker`: writes CU-BEMS-like files.

use chrono::NaiveDate;
use gemba_cubems::{FileSummary, Plan, files, write_file, write_long};
use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "usage: cubems-maker (--out DIR | --long FILE) [--from DATE] [--to DATE] [--floors 1,2,..] [--seed N]
  --out DIR     write {2018,2019}Floor{1..7}.csv into DIR
  --long FILE   write one long table instead, for COPY ... WITH (FORMAT csv, HEADER)
  --from, --to  days YYYY-MM-DD, --to exclusive (default: 2018-07-01 to 2020-01-01)
  --floors      floors (default: all seven)
  --seed        another seed gives other readings (default: 1)";

#[derive(Default)]
struct Target {
    out: Option<PathBuf>,
    long: Option<PathBuf>,
}

fn main() -> ExitCode {
    let (plan, target) = match arguments() {
        Ok(Some(arguments)) => arguments,
        Ok(None) => {
            println!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("cubems-maker: {error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let result = match (&target.long, &target.out) {
        (Some(file), _) => make_long(&plan, file),
        (None, Some(directory)) => make_files(&plan, directory),
        (None, None) => Ok(()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cubems-maker: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The plan and where it goes; none where help is asked for.
fn arguments() -> Result<Option<(Plan, Target)>, Box<dyn Error>> {
    use lexopt::prelude::*;
    let (mut plan, mut target) = (Plan::full(1), Target::default());
    let mut parser = lexopt::Parser::from_env();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("out") => target.out = Some(parser.value()?.into()),
            Long("long") => target.long = Some(parser.value()?.into()),
            Long("from") => plan.from = parser.value()?.parse::<NaiveDate>()?,
            Long("to") => plan.to = parser.value()?.parse::<NaiveDate>()?,
            Long("floors") => plan.floors = floors(&parser.value()?.string()?)?,
            Long("seed") => plan.seed = parser.value()?.parse()?,
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected().into()),
        }
    }
    if target.out.is_some() == target.long.is_some() {
        return Err("either --out or --long is needed".into());
    }
    if files(&plan).is_empty() {
        return Err("the data set has no rows between --from and --to on these floors".into());
    }
    Ok(Some((plan, target)))
}

fn floors(text: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let floor = |part: &str| match part.trim().parse() {
        Ok(floor @ 1..=7) => Ok(floor),
        _ => Err(format!("no such floor: \"{part}\" (1 to 7)").into()),
    };
    text.split(',').map(floor).collect()
}

fn make_files(plan: &Plan, directory: &Path) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(directory)?;
    let mut total = FileSummary::default();
    for spec in files(plan) {
        let path = directory.join(spec.name());
        let summary = File::create(&path)
            .and_then(|mut file| write_file(&spec, &mut file))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        report(&spec.name(), &summary);
        total += summary;
    }
    report("total", &total);
    Ok(())
}

fn make_long(plan: &Plan, path: &Path) -> Result<(), Box<dyn Error>> {
    let summary = File::create(path)
        .and_then(|mut file| write_long(plan, &mut file))
        .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    report(&path.display().to_string(), &summary);
    Ok(())
}

fn report(name: &str, summary: &FileSummary) {
    println!(
        "{name}: {} rows, {} readings, {} rows to reject, {} outliers",
        summary.rows, summary.readings, summary.rejects_expected, summary.suspects_expected
    );
}
