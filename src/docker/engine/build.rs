//! Images of our own, from a Dockerfile.

use bytes::Bytes;
use serde_json::Value;

use super::{Engine, IMPORT};
use crate::docker::raw::{self, Ask, encode};
use crate::docker::{EngineError, convert};

impl Engine {
    /// Builds the image `tag` from the Dockerfile in a tar archive, with what the engine has of its layers. An error is the
    /// engine's own last word.
    pub async fn build_image(&self, context: Bytes, tag: &str) -> Result<(), EngineError> {
        let target = format!("/build?t={}&rm=true&forcerm=true", encode(tag));
        let body = raw::bytes(&self.address, Ask::post(target, IMPORT).tar(context)).await?;
        // It answers before it knows how that ends, so the outcome is in its lines.
        let mut lines =
            serde_json::Deserializer::from_slice(&body).into_iter::<Value>().filter_map(Result::ok);
        match lines.find_map(|line| convert::text(&line, "/error").map(str::to_owned)) {
            Some(error) => Err(raw::refusal(500, &error)),
            None => Ok(()),
        }
    }
}
