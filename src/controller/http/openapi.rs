//! The interface's own description, which `openapi.json` keeps: clients are generated from it.

#[cfg(test)]
mod document;

use std::io::Read as _;
use std::sync::LazyLock;

use flate2::read::GzDecoder;

/// `openapi.json`, packed by `build.rs`.
static PACKED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/openapi.json.gz"));

/// The document as JSON.
pub(super) fn json() -> String {
    static JSON: LazyLock<String> = LazyLock::new(|| {
        let mut text = String::new();
        GzDecoder::new(PACKED).read_to_string(&mut text).expect("build.rs packed a text");
        text
    });
    JSON.clone()
}
