//! An image of this very program, for containers of our own.

use std::fs;

use anyhow::Context;
use bytes::Bytes;

use super::Failure;
use crate::docker::Engine;

/// Makes an image from scratch that holds this very program, which is static.
pub(super) async fn make(engine: &Engine, (repository, tag): (&str, &str)) -> Result<(), Failure> {
    let archive = archive().context("no image of this program can be made")?;
    engine.import_image(archive, repository, tag, &[r#"ENTRYPOINT ["/dockhealth"]"#]).await?;
    Ok(())
}

/// A root file system with nothing but this program.
fn archive() -> anyhow::Result<Bytes> {
    let program = fs::read("/proc/self/exe").context("/proc/self/exe")?;
    let mut header = tar::Header::new_gnu();
    header.set_size(program.len() as u64);
    header.set_mode(0o755);
    header.set_cksum();
    let mut archive = tar::Builder::new(Vec::with_capacity(program.len() + 4096));
    archive.append_data(&mut header, "dockhealth", program.as_slice())?;
    Ok(archive.into_inner()?.into())
}
