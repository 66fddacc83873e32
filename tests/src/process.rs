//! Running PostgreSQL's programs, and as whom.

use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// How a program ended.
#[derive(Debug)]
pub struct Finished {
    pub success: bool,
    pub stdout: String,
    pub stderr: String,
}

/// Runs to the end and reports; only failing to start is an error.
pub fn run(command: &mut Command) -> Result<Finished> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not start {command:?}"))?;
    Ok(Finished {
        success: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// Runs to the end, which has to be a good one; returns what it printed.
pub fn run_ok(command: &mut Command) -> Result<String> {
    let finished = run(command)?;
    ensure!(
        finished.success,
        "{command:?} failed\n{}{}",
        finished.stdout,
        finished.stderr
    );
    Ok(finished.stdout)
}

/// Sends a signal such as `"-9"` to a process of a server.
pub fn signal(signal: &str, pid: i32) -> Result<()> {
    run_ok(
        server_command(Path::new("kill"))?
            .args([signal, &pid.to_string()])
            .current_dir("/"),
    )?;
    Ok(())
}

/// The words to put before a server program. PostgreSQL refuses to run as root, so root runs it as
/// `postgres`.
pub(crate) fn as_server_user() -> Result<&'static [&'static str]> {
    static ROOT: OnceLock<bool> = OnceLock::new();
    let root = match ROOT.get() {
        Some(root) => *root,
        None => {
            let id = run_ok(Command::new("id").arg("-u"))?;
            *ROOT.get_or_init(|| id.trim() == "0")
        }
    };
    Ok(if !root {
        &[]
    } else if ["/usr/sbin/runuser", "/sbin/runuser"]
        .iter()
        .any(|path| Path::new(path).exists())
    {
        &["runuser", "-u", "postgres", "--"]
    } else {
        &["sudo", "-n", "-u", "postgres", "--"]
    })
}

/// A command for a program that has to own the cluster's files.
pub(crate) fn server_command(program: &Path) -> Result<Command> {
    let words = as_server_user()?;
    Ok(match words.split_first() {
        None => Command::new(program),
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    })
}
