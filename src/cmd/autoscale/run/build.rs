//! Building a pool's image from a folder.

use std::path::Path;

use anyhow::Context;
use bytes::Bytes;

use crate::cmd::Failure;
use crate::docker::Engine;
use crate::model::{PoolName, format_size};

/// The largest folder that is sent to the engine, bytes.
const MOST: u64 = 256 << 20;
/// What says which files are not sent.
const IGNORE: &str = ".dockerignore";

/// What the image of a pool is called that was built for it.
pub(super) fn tag(pool: &PoolName) -> String {
    format!("dockhealth-pool/{}:latest", pool.as_str().to_ascii_lowercase())
}

/// Builds `image` from the Dockerfile in `dir`.
pub(super) async fn build(engine: &Engine, dir: &Path, image: &str) -> Result<(), Failure> {
    let context = archive(dir).with_context(|| format!("--build {}", dir.display()))?;
    engine.build_image(context, image).await?;
    Ok(())
}

/// A folder as the engine takes it.
fn archive(dir: &Path) -> anyhow::Result<Bytes> {
    anyhow::ensure!(dir.join("Dockerfile").is_file(), "there is no Dockerfile in it");
    // It keeps secrets out of images, so to overlook it would put them in.
    anyhow::ensure!(
        !dir.join(IGNORE).exists(),
        "there is a {IGNORE}, which only Docker's own command line follows: docker build -t NAME, then --image NAME"
    );
    let size = size(dir, 0)?;
    anyhow::ensure!(
        size <= MOST,
        "it holds {}, more than {}",
        format_size(size as f64),
        format_size(MOST as f64)
    );
    let mut archive = tar::Builder::new(Vec::new());
    archive.follow_symlinks(false);
    archive.append_dir_all(".", dir)?;
    Ok(archive.into_inner()?.into())
}

/// What the files in it come to, bytes.
fn size(dir: &Path, depth: u32) -> anyhow::Result<u64> {
    anyhow::ensure!(depth < 64, "its folders lie too deep");
    let mut sum = 0_u64;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        sum = sum.saturating_add(if meta.is_dir() { size(&entry.path(), depth + 1)? } else { meta.len() });
        if sum > MOST {
            break;
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_sent_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let error = archive(dir.path()).unwrap_err().to_string();
        assert!(error.contains("no Dockerfile"), "{error}");
        std::fs::create_dir(dir.path().join("src")).unwrap();
        std::fs::write(dir.path().join("Dockerfile"), "FROM scratch\n").unwrap();
        std::fs::write(dir.path().join("src/app.py"), "x").unwrap();
        let sent = archive(dir.path()).unwrap();
        let mut read = tar::Archive::new(&sent[..]);
        let mut names: Vec<String> = read
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        names.sort();
        assert_eq!(names, ["./", "Dockerfile", "src", "src/app.py"]);
        std::fs::write(dir.path().join(IGNORE), ".env\n").unwrap();
        let error = archive(dir.path()).unwrap_err().to_string();
        assert!(error.contains("docker build"), "{error}");
    }
}
