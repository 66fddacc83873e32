//! The long form with what an import finds out about it.

use anyhow::{Context, Result};
use postgres::Client;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

/// By unit, the least and the greatest value that is plausible.
type Ranges = BTreeMap<String, (f64, f64)>;

/// Copies a long file and calls suspect what lies outside the plausible ranges of a database with gemba: an import
/// does that by itself, and the others would otherwise be asked for rows that they do not have.
pub fn mark(client: &mut Client, from: &Path, to: &Path) -> Result<()> {
    let ranges = client
        .query(
            "SELECT unit::text, min_value::float8, max_value::float8 FROM telemetry.plausible_ranges",
            &[],
        )?
        .iter()
        .map(|row| (row.get(0), (row.get(1), row.get(2))))
        .collect();
    let mut out = BufWriter::new(File::create(to)?);
    copy(&ranges, &mut BufReader::new(File::open(from)?), &mut out)?;
    out.flush()?;
    Ok(())
}

fn copy(ranges: &Ranges, lines: &mut impl BufRead, out: &mut impl Write) -> Result<()> {
    let mut line = String::new();
    lines.read_line(&mut line)?;
    out.write_all(line.as_bytes())?;
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        // timestamp, sensor_id, floor_number, equipment_type, reading_value, unit, status
        let mut ends = line.trim_end().rsplitn(4, ',');
        let mut field = || {
            ends.next()
                .context("a line of the long form has too few fields")
        };
        let (_status, unit, value) = (field()?, field()?, field()?);
        let value: f64 = value.parse()?;
        match ranges.get(unit) {
            Some((least, greatest)) if value < *least || value > *greatest => {
                let (rest, _) = line.rsplit_once(',').unwrap_or((&line, ""));
                writeln!(out, "{rest},suspect")?;
            }
            _ => out.write_all(line.as_bytes())?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_outside_is_suspect() -> Result<()> {
        let ranges = Ranges::from([("kW".to_owned(), (0.0, 300.0))]);
        let given = "timestamp,sensor_id,floor_number,equipment_type,reading_value,unit,status\n\
                     t,a,1,HVAC,300.00,kW,normal\n\
                     t,b,1,HVAC,300.01,kW,normal\n\
                     t,c,1,HVAC,-0.5,kW,normal\n\
                     t,d,1,environment,-0.5,degC,normal\n";
        let mut out = Vec::new();
        copy(&ranges, &mut given.as_bytes(), &mut out)?;
        let wanted = given
            .replace("300.01,kW,normal", "300.01,kW,suspect")
            .replace("-0.5,kW,normal", "-0.5,kW,suspect");
        assert_eq!(String::from_utf8(out)?, wanted);
        Ok(())
    }
}
