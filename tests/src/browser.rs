//! A page in a real browser: does it fit, can it be read, does it stay quiet.
//!
//! [`inspect`] opens a page in headless Chromium at the widths of a phone, a tablet and a desktop, in
//! light and in dark, and prints it. A script in the page *around* it (`browser.html`) measures; the page
//! itself needs none and is held to having none.
//!
//! `GEMBA_CHROMIUM` names the browser; otherwise it is looked for on the PATH. Without one there is
//! nothing to inspect, which is said loudly, and is an error where `CI` is set or
//! `GEMBA_REQUIRE_BROWSER=1`.

use crate::process::run_ok;
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const NAMES: [&str; 4] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
];
const PATIENCE: Duration = Duration::from_secs(120);
const PROBE: &str = include_str!("browser.html");

/// What the browser made of a page.
#[derive(Debug)]
pub struct Inspection {
    /// One for each width and colour scheme.
    pub frames: Vec<Frame>,
    /// Sheets of A4.
    pub printed_pages: usize,
}

/// A page at one width, in one colour scheme.
#[derive(Debug)]
pub struct Frame {
    pub width: u64,
    pub dark: bool,
    /// What a reader sees, as text.
    pub text: String,
    /// `1 Morning report`, `2 Losses`, …
    pub headings: Vec<String>,
    /// Whether a script of the page has run and set `window.hacked`.
    pub hacked: bool,
    /// Everything that is wrong with it: what overflows, is cut, overlaps, has no name, too little
    /// contrast, or could run or load something.
    pub faults: Vec<String>,
    classes: BTreeMap<String, BTreeMap<String, usize>>,
}

impl Frame {
    /// How many elements of a class are in the section with this id.
    pub fn count(&self, section: &str, class: &str) -> usize {
        self.classes
            .get(section)
            .and_then(|classes| classes.get(class))
            .copied()
            .unwrap_or(0)
    }

    /// The ids of the sections that are there.
    pub fn sections(&self) -> impl Iterator<Item = &str> {
        self.classes.keys().map(String::as_str)
    }
}

impl Inspection {
    /// Fails with everything that is wrong anywhere.
    pub fn ensure_sound(&self) -> Result<()> {
        let mut faults = String::new();
        for frame in &self.frames {
            let scheme = if frame.dark { "dark" } else { "light" };
            for fault in &frame.faults {
                faults.push_str(&format!("\n  {} px, {scheme}: {fault}", frame.width));
            }
            if frame.hacked {
                faults.push_str(&format!("\n  {} px, {scheme}: a script ran", frame.width));
            }
        }
        ensure!(faults.is_empty(), "the page is not sound:{faults}");
        Ok(())
    }
}

/// Opens a page in a browser; None without one.
pub fn inspect(html: &str) -> Result<Option<Inspection>> {
    let Some(browser) = find()? else {
        return Ok(None);
    };
    let folder = Folder::new()?;
    std::fs::write(folder.0.join("page.html"), html)?;
    std::fs::write(folder.0.join("probe.html"), PROBE)?;
    let mut frames = measure(&browser, &folder.0, false)?;
    frames.extend(measure(&browser, &folder.0, true)?);
    Ok(Some(Inspection {
        frames,
        printed_pages: print(&browser, &folder.0)?,
    }))
}

fn find() -> Result<Option<PathBuf>> {
    if let Some(named) = std::env::var_os("GEMBA_CHROMIUM") {
        let path = PathBuf::from(named);
        ensure!(
            path.is_file(),
            "GEMBA_CHROMIUM names {}, which is no file",
            path.display()
        );
        return Ok(Some(path));
    }
    let folders: Vec<PathBuf> = std::env::var_os("PATH")
        .map(|path| std::env::split_paths(&path).collect())
        .unwrap_or_default();
    let found = NAMES
        .iter()
        .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
        .find(|path| path.is_file());
    if found.is_none() {
        let required = std::env::var_os("CI").is_some()
            || std::env::var_os("GEMBA_REQUIRE_BROWSER").is_some_and(|value| value == "1");
        ensure!(
            !required,
            "no browser: none of {} is on the PATH, and GEMBA_CHROMIUM is not set",
            NAMES.join(", ")
        );
        // Past the test runner, which keeps what a passing test prints to itself.
        writeln!(
            std::io::stderr(),
            "\n*** SKIPPED: no browser. Install chromium, or name one with GEMBA_CHROMIUM. ***\n"
        )?;
    }
    Ok(found)
}

fn measure(browser: &Path, folder: &Path, dark: bool) -> Result<Vec<Frame>> {
    let scheme = format!("--blink-settings=preferredColorScheme={}", u8::from(!dark));
    let dom = open(
        browser,
        folder,
        "probe.html",
        &["--dump-dom", "--virtual-time-budget=30000", &scheme],
    )?;
    let json = dom
        .split_once("<pre id=\"result\">")
        .and_then(|(_, rest)| rest.split_once("</pre>"))
        .map(|(json, _)| json)
        .with_context(|| format!("the probe left no result in {} bytes", dom.len()))?;
    let result: Value = serde_json::from_str(json).context("the probe's result is not JSON")?;
    let frames: Vec<Frame> = list(&result)?.iter().map(frame).collect::<Result<_>>()?;
    ensure!(!frames.is_empty(), "the probe measured nothing");
    for frame in &frames {
        ensure!(
            frame.dark == dark,
            "the browser did not take the colour scheme"
        );
    }
    Ok(frames)
}

fn frame(value: &Value) -> Result<Frame> {
    let text = |value: &Value| value.as_str().map(str::to_owned).context("not a text");
    Ok(Frame {
        width: value["width"].as_u64().context("no width")?,
        dark: value["dark"].as_bool().context("no scheme")?,
        text: text(&value["text"])?,
        headings: list(&value["headings"])?
            .iter()
            .map(text)
            .collect::<Result<_>>()?,
        hacked: value["hacked"].as_bool().context("no hacked")?,
        faults: list(&value["faults"])?
            .iter()
            .map(text)
            .collect::<Result<_>>()?,
        classes: serde_json::from_value(value["classes"].clone())?,
    })
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value
        .as_array()
        .with_context(|| format!("not a list: {value}"))
}

/// Prints the page and counts the sheets.
fn print(browser: &Path, folder: &Path) -> Result<usize> {
    let file = folder.join("page.pdf");
    let mut to = OsString::from("--print-to-pdf=");
    to.push(&file);
    let to = to
        .into_string()
        .ok()
        .context("the temporary folder's path is not UTF-8")?;
    open(
        browser,
        folder,
        "page.html",
        &["--no-pdf-header-footer", &to],
    )?;
    let pdf = std::fs::read(&file).context("the browser printed nothing")?;
    ensure!(
        pdf.starts_with(b"%PDF-"),
        "what the browser printed is not a PDF"
    );
    // Chromium writes the page objects uncompressed; "/Type /Pages" is the list of them.
    let mark = b"/Type /Page";
    Ok(pdf
        .windows(mark.len() + 1)
        .filter(|bytes| bytes.starts_with(mark) && bytes.last() != Some(&b's'))
        .count())
}

/// Runs the browser on a file of the folder, with a profile of its own; returns what it wrote.
fn open(browser: &Path, folder: &Path, page: &str, options: &[&str]) -> Result<String> {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let profile = folder.join(format!("profile.{run}"));
    let (out, err) = (
        folder.join(format!("out.{run}")),
        folder.join(format!("err.{run}")),
    );
    let mut child = Command::new(browser)
        // The sandbox refuses root, and containers often refuse the sandbox.
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
        ])
        .args([
            "--no-first-run",
            "--disable-quic",
            "--disable-sync",
            "--hide-scrollbars",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
        ])
        .arg("--allow-file-access-from-files")
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(options)
        .arg(format!("file://{}", folder.join(page).display()))
        .stdin(Stdio::null())
        .stdout(File::create(&out)?)
        .stderr(File::create(&err)?)
        .spawn()
        .with_context(|| format!("could not start {}", browser.display()))?;
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if started.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            bail!("the browser did not finish {page} within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    ensure!(
        status.success(),
        "the browser failed on {page}: {status}\n{}",
        String::from_utf8_lossy(&std::fs::read(&err)?)
    );
    Ok(String::from_utf8_lossy(&std::fs::read(&out)?).into_owned())
}

/// A folder for one inspection, removed with it; `GEMBA_TEST_KEEP=1` leaves it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
        let template = std::env::temp_dir().join("gemba-browser.XXXXXX");
        let path = run_ok(Command::new("mktemp").arg("-d").arg(template))?;
        Ok(Self(PathBuf::from(path.trim_end())))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::env::var_os("GEMBA_TEST_KEEP").is_some() {
            eprintln!("kept {}", self.0.display());
        } else if let Err(error) = std::fs::remove_dir_all(&self.0) {
            eprintln!("could not remove {}: {error}", self.0.display());
        }
    }
}
