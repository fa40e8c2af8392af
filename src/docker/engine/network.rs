//! Networks of our own, for containers of our own.

use serde_json::json;

use super::{CHANGE, Engine};
use crate::docker::EngineError;
use crate::docker::raw::{self, Ask, encode};

impl Engine {
    /// Makes a bridge network with one label.
    pub async fn create_network(&self, name: &str, label: (&str, &str)) -> Result<(), EngineError> {
        let body = json!({ "Name": name, "CheckDuplicate": true, "Labels": { label.0: label.1 } });
        raw::json(&self.address, Ask::post("/networks/create", CHANGE).json(&body)).await.map(drop)
    }

    /// Removes a network, which no container may use; one that is not there is a success.
    pub async fn remove_network(&self, name: &str) -> Result<(), EngineError> {
        let target = format!("/networks/{}", encode(name));
        match raw::bytes(&self.address, Ask::delete(target, CHANGE)).await {
            Err(EngineError::Refused(words)) if words.contains("not found") => Ok(()),
            answer => answer.map(drop),
        }
    }
}
