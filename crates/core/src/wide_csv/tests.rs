use super::value;
use super::*;
use crate::cu_bems::sensor_id;
use crate::local_time;
use proptest::prelude::*;

fn open(text: &str) -> Result<WideReader<&[u8]>, OpenError> {
    WideReader::open(text.as_bytes(), &Options::default())
}

fn blocks(text: &[u8], options: &Options) -> Vec<Block> {
    let mut reader = WideReader::open(text, options).unwrap();
    std::iter::from_fn(|| reader.next_block().unwrap()).collect()
}

fn all(text: &str) -> Vec<Block> {
    blocks(text.as_bytes(), &Options::default())
}

fn at(text: &str) -> i64 {
    local_time::parse(text.as_bytes(), DateOrder::Ymd).unwrap()
}

fn rejects(blocks: &[Block]) -> Vec<(u64, Option<&str>, String, &str)> {
    let rejects = blocks.iter().flat_map(|b| &b.rejects);
    rejects
        .map(|r| {
            (
                r.line,
                r.column.as_deref(),
                r.reason.to_string(),
                r.raw.as_str(),
            )
        })
        .collect()
}

#[test]
fn cu_bems_form() {
    let text = "Date,z1_AC1(kW),z1_S1(degC),z1_S1(RH%),z1_S1(lux)\n\
                2019-10-22 13:26:00,1.25,,61.5,12\n\
                2019-10-22 13:27:00,NaN,25.015,oops,-0\n\
                2,,,,\n";
    let options = Options {
        plausible: vec![PlausibleRange {
            unit: "degc".into(),
            min: 150_000,
            max: 450_000,
        }],
        ..Options::default()
    };
    let mut reader = WideReader::open(text.as_bytes(), &options).unwrap();
    assert_eq!(reader.date_order(), DateOrder::Ymd);
    assert_eq!(
        (reader.plausible(0), reader.plausible(1)),
        (None, Some((150_000, 450_000)))
    );
    assert_eq!(
        sensor_id("x", Some(6), &reader.channels()[2]),
        "F6.z1.S1.RH"
    );
    let block = reader.next_block().unwrap().unwrap();
    assert_eq!(
        block.times,
        [at("2019-10-22 13:26:00"), at("2019-10-22 13:27:00")]
    );
    assert_eq!(block.lines, [2, 3]);
    let want = [
        [12_500, MISSING],
        [MISSING, 250_150],
        [615_000, MISSING],
        [120_000, 0],
    ];
    assert_eq!(block.columns, want.map(Vec::from));
    let want = [
        (3, Some("z1_S1(RH%)"), "not a number".to_owned(), "oops"),
        (4, Some("Date"), "not a local timestamp".to_owned(), "2,,,,"),
    ];
    assert_eq!(rejects(std::slice::from_ref(&block)), want);
    assert!(reader.next_block().unwrap().is_none());
}

#[test]
fn hourly_form_with_bom_and_unnamed_time() {
    let mut text = String::from("\u{feff},Floor1,Floor2\r\n");
    for hour in 0..14 * 24 {
        text += &format!("7/{}/18 {}:00,9.{hour:09},\r\n", hour / 24 + 1, hour % 24);
    }
    let mut reader = open(&text).unwrap();
    assert_eq!(
        (reader.date_order(), reader.channels()[1].floor),
        (DateOrder::Mdy, Some(2))
    );
    let first = reader.next_block().unwrap().unwrap();
    assert_eq!(
        (first.times.len(), first.times[0]),
        (24, at("2018-07-01 00:00"))
    );
    assert_eq!(first.columns[0][23], 90_000);
    assert!(first.columns[1].iter().all(|&v| v == MISSING) && first.rejects.is_empty());
}

#[test]
fn date_and_time_in_two_columns() {
    let mut text = String::from("date,time,Power\n");
    for minute in 0..1500 {
        text += &format!(
            "1/{}/16,{}:{:02},62.5\n",
            minute / 1440 + 1,
            minute / 60 % 24,
            minute % 60
        );
    }
    let mut reader = open(&text).unwrap();
    assert_eq!(reader.date_order(), DateOrder::Mdy);
    assert_eq!(reader.channels().len(), 1);
    assert_eq!(reader.next_block().unwrap().unwrap().times.len(), 1440);
    let second = reader.next_block().unwrap().unwrap();
    assert_eq!(
        (second.times[0], second.lines[0]),
        (at("2016-01-02 00:00"), 1442)
    );
    let ambiguous = open(
        text.split_inclusive('\n')
            .take(100)
            .collect::<String>()
            .as_str(),
    )
    .map(|_| ());
    assert!(matches!(ambiguous, Err(OpenError::AmbiguousDates(_))));
}

#[test]
fn time_columns() {
    let time_header = |text: &str| open(text).map(|r| r.names[r.time.date].clone());
    assert_eq!(
        time_header("a,TimeStamp,b\n1,2018-07-01,2\n").unwrap(),
        "TimeStamp"
    );
    assert_eq!(time_header(",Date,b\n0,2018-07-01,2\n").unwrap(), "Date");
    assert_eq!(
        time_header("a,when\n,2018-07-01\n1.5,2018-07-02\n").unwrap(),
        "when"
    );
    assert_eq!(time_header(",b\n").unwrap(), "");
    assert_eq!(
        open(",Date,b\n0,2018-07-01,2\n").unwrap().channels().len(),
        1
    );
    let error = |text: &str| open(text).map(|_| ()).unwrap_err().to_string();
    assert_eq!(error(""), "the file is empty");
    assert_eq!(error("\n \n"), "the file is empty");
    assert_eq!(error("Date\n"), "no data column beside the time column");
    assert_eq!(error("Date,a,b,a\n"), "the header \"a\" occurs twice");
    assert!(error("a,b\n1,2\n").starts_with("no time column"));
}

#[test]
fn one_name_with_two_units_is_two_sensors() {
    let reader = open("Date,Power(kW),Power(kWh),Load(kW)\n").unwrap();
    let ids: Vec<String> = reader
        .channels()
        .iter()
        .map(|c| sensor_id("m", None, c))
        .collect();
    assert_eq!(ids, ["m.Power.kW", "m.Power.kWh", "m.Load"]);
    assert!(matches!(
        open("Date,a b,a_b\n"),
        Err(OpenError::DuplicateHeader { .. })
    ));
}

#[test]
fn blocks_end_with_the_day_and_where_time_goes_back() {
    let text = "ts,a\n2018-07-01 23:59,1\n2018-07-02 00:00,2\n2018-07-02 00:00,3\n2018-07-01 10:00,4\n2018-07-03 00:00,5\n";
    let seen: Vec<_> = all(text)
        .into_iter()
        .map(|b| (b.columns[0][0] / SCALE, b.after_all_before))
        .collect();
    assert_eq!(
        seen,
        [(1, true), (2, true), (3, false), (4, false), (5, true)]
    );
}

#[test]
fn blocks_are_capped() {
    let mut text = String::from("ts,a\n");
    for second in 0..6000 {
        text += &format!(
            "2018-07-01 {:02}:{:02}:{:02},1\n",
            second / 3600,
            second / 60 % 60,
            second % 60
        );
    }
    text += &"x\n".repeat(6000);
    let sizes: Vec<_> = all(&text)
        .iter()
        .map(|b| (b.times.len(), b.rejects.len(), b.after_all_before))
        .collect();
    assert_eq!(
        sizes,
        [(5000, 0, true), (1000, 5000, true), (0, 1000, true)]
    );
}

#[test]
fn odd_rows() {
    let text = "ts,\"a, or\nso\",b\n\n2018-07-01 00:00,\"1.5\",\"2\n\"\r\n  \r\n2018-07-01 00:01\n2018-07-01 00:02,1,2,3\n\
                2018-07-01 00:03,1e400,Infinity\nbad,1\n\"2018-07-01 00:04\",\"say \"\"x\"\"\",7";
    let blocks = all(text);
    assert_eq!(blocks.len(), 1);
    assert_eq!(blocks[0].lines, [4, 7, 9, 11]);
    assert_eq!(blocks[0].columns[0], [15_000, MISSING, MISSING, MISSING]);
    assert_eq!(blocks[0].columns[1], [20_000, MISSING, MISSING, 70_000]);
    let big = "out of range for numeric(10,4)".to_owned();
    let want = [
        (
            8,
            None,
            "more fields than the header".to_owned(),
            "2018-07-01 00:02,1,2,3",
        ),
        (9, Some("a, or\nso"), big.clone(), "1e400"),
        (9, Some("b"), big, "Infinity"),
        (10, Some("ts"), "not a local timestamp".to_owned(), "bad,1"),
        (
            11,
            Some("a, or\nso"),
            "not a number".to_owned(),
            "say \"x\"",
        ),
    ];
    assert_eq!(rejects(&blocks), want);
}

#[test]
fn raw_text_is_cut_and_lossy() {
    let mut text = b"ts,a\n2018-07-01 00:00,\xff".to_vec();
    text.extend("é".repeat(300).bytes());
    let raw = &blocks(&text, &Options::default())[0].rejects[0].raw;
    assert_eq!(
        (raw.chars().count(), raw.chars().next()),
        (RAW_MAX, Some('\u{fffd}'))
    );
}

#[test]
fn an_endless_record_is_an_error() {
    let text = format!("ts,a\n2018-07-01 00:00,\"{}", "x\n".repeat(2_000_000));
    assert!(matches!(
        open(&text),
        Err(OpenError::Read(ReadError::RecordTooLong { .. }))
    ));
}

#[test]
fn values() {
    let parse = |text: &str| value::parse(text.as_bytes());
    for (text, want) in [
        ("12.34", 123_400),
        ("-0.5", -5_000),
        ("+7", 70_000),
        (".5", 5_000),
        ("5.", 50_000),
        ("0.00005", 1),
        ("-0.00005", -1),
        ("0.00004999", 0),
        ("1.5E+2", 1_500_000),
        ("15e-1", 15_000),
        ("999999.99994", 9_999_999_999),
        ("000000000012.5", 125_000),
        ("0e99999999999999999999", 0),
        ("1e-99999999999999999999", 0),
        ("-0.0", 0),
        ("", MISSING),
        ("nan", MISSING),
        ("NA", MISSING),
        ("NULL", MISSING),
        ("-", MISSING),
    ] {
        assert_eq!(parse(text), Ok(want), "{text}");
    }
    for text in [
        "1000000",
        "999999.99995",
        "-1e6",
        "inf",
        "-Infinity",
        "1e99999999999999999999",
    ] {
        assert_eq!(parse(text), Err(RejectReason::OutOfRange), "{text}");
    }
    for text in [
        "x", ".", "+", "1,5", "1e", "e5", "1.2.3", "--1", "1 2", "0x1F", "1_000",
    ] {
        assert_eq!(parse(text), Err(RejectReason::NotANumber), "{text}");
    }
}

/// Gives one byte at a time, so that every record crosses a refill.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        let n = self.0.len().min(out.len()).min(1);
        out[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

proptest! {
    #[test]
    fn scaled_values_round_trip(value in -9_999_999_999_i64..=9_999_999_999) {
        prop_assert_eq!(value::parse(format_scaled(value).as_bytes()), Ok(value));
        prop_assert_eq!(value::parse(format!("{value}e-4").as_bytes()), Ok(value));
    }

    #[test]
    fn rounding_is_exact(value in -99_999_999_999_999_i64..=99_999_999_999_999) {
        let half_away = (value.abs() + 50_000) / 100_000 * value.signum();
        let (sign, size) = (if value < 0 { "-" } else { "" }, value.abs());
        let text = format!("{sign}{}.{:09}", size / 1_000_000_000, size % 1_000_000_000);
        prop_assert_eq!(value::parse(text.as_bytes()), Ok(half_away));
    }

    #[test]
    fn bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut text = b"ts,a,b\n".to_vec();
        text.extend_from_slice(&bytes);
        let options = Options { date_order: Some(DateOrder::Dmy), ..Options::default() };
        let _ = blocks(&text, &options);
        if let Ok(mut reader) = WideReader::open(&bytes[..], &Options::default()) {
            while let Ok(Some(_)) = reader.next_block() {}
        }
    }

    /// Our splitting of lines, with and without quotes, is that of the csv crate.
    #[test]
    fn fields_are_those_of_the_csv_crate(text in "([a1 ]{0,2}[,\"\n\r.]{0,2}){0,30}") {
        let mut ours: Vec<Vec<Vec<u8>>> = Vec::new();
        let mut lines = Lines::new(Trickle(text.as_bytes()));
        let mut fields = Fields::default();
        while let Some(span) = lines.record(0, &mut fields).unwrap() {
            if !fields.is_blank(lines.buffer()) {
                ours.push((0..fields.len()).map(|i| fields.get(lines.buffer(), i).to_vec()).collect());
            }
            lines.consume(span);
        }
        let theirs: Vec<Vec<Vec<u8>>> = csv::ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .terminator(csv::Terminator::Any(b'\n'))
            .from_reader(text.as_bytes())
            .byte_records()
            .map(|r| r.unwrap().iter().map(|f| f.trim_ascii().to_vec()).collect())
            .filter(|r: &Vec<Vec<u8>>| r.len() > 1 || !r[0].is_empty())
            .collect();
        // A record of one empty quoted field is a blank line to the filter above only.
        ours.retain(|r| r.len() > 1 || !r[0].is_empty());
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn lines_count_physical_lines(gaps in proptest::collection::vec((0_usize..3, any::<bool>()), 1..40)) {
        let mut text = String::from("ts,a\n");
        let mut want = Vec::new();
        for (minute, (blank, quoted)) in gaps.into_iter().enumerate() {
            text += &"\n".repeat(blank);
            want.push(text.matches('\n').count() as u64 + 1);
            text += &format!("2018-07-01 00:{minute:02},{}\n", if quoted { "\"1\n\"" } else { "1" });
        }
        let mut reader = WideReader::open(Trickle(text.as_bytes()), &Options::default()).unwrap();
        prop_assert_eq!(reader.next_block().unwrap().unwrap().lines, want);
    }
}
