//! Prints the page of the sample plant: `cargo run -p gemba-report --example sample > page.html`.
//! Another document may be given on standard input by naming it `-`.

use std::error::Error;
use std::io::Read;

fn main() -> Result<(), Box<dyn Error>> {
    let mut data = include_str!("../tests/sample.json").to_owned();
    if std::env::args().nth(1).as_deref() == Some("-") {
        data.clear();
        std::io::stdin().read_to_string(&mut data)?;
    }
    print!("{}", gemba_report::morning::page(&data)?);
    Ok(())
}
