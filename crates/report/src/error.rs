//! What can go wrong on the way to a page.

/// Why there is no page. The message says which half failed; `source()` says what exactly.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The document is not JSON, lacks a key, has an unknown one, or a value that its key does not take.
    #[error("the report's data is not what the page expects")]
    Data(#[from] serde_json::Error),
    /// The template could not be written out.
    #[error("the page could not be written")]
    Render(#[from] askama::Error),
}
