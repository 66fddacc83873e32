//! The SQL that the README and the pages under docs/ show has to run.

use anyhow::{Context, Result};
use gemba_tests::{empty, run};
use std::path::{Path, PathBuf};

/// Every ```sql block of a page, in order. What is not meant to run is a ```text block.
fn sql_blocks(page: &str) -> String {
    let mut sql = String::new();
    let mut inside = false;
    for line in page.lines() {
        match line.trim() {
            "```sql" => inside = true,
            "```" => inside = false,
            _ if inside => {
                sql.push_str(line);
                sql.push('\n');
            }
            _ => {}
        }
    }
    sql
}

fn pages() -> Result<Vec<PathBuf>> {
    // Where cargo runs it, not where it was built.
    let tests = std::env::var("CARGO_MANIFEST_DIR").context("run it with cargo")?;
    let root = Path::new(&tests).parent().context("the project's folder")?;
    let mut pages = vec![root.join("README.md")];
    for entry in std::fs::read_dir(root.join("docs"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
    pages.sort();
    Ok(pages)
}

#[test]
fn the_sql_of_every_page_runs() -> Result<()> {
    let mut tested = 0;
    for path in pages()? {
        let name = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .to_lowercase();
        let sql = sql_blocks(&std::fs::read_to_string(&path)?);
        if sql.is_empty() {
            continue;
        }
        let db = empty(&format!("docs_{name}"))?;
        let script =
            std::env::temp_dir().join(format!("gemba_docs_{}_{name}.sql", std::process::id()));
        std::fs::write(&script, &sql)?;
        let finished = run(db
            .tool("psql")
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"])
            .arg(&script))?;
        std::fs::remove_file(&script)?;
        assert!(finished.success, "{}: {}", path.display(), finished.stderr);
        tested += 1;
    }
    assert!(
        tested >= 3,
        "only {tested} pages with SQL: were the fences renamed?"
    );
    Ok(())
}
