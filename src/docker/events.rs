//! The engine's stream of events.

use bytes::{Buf, BytesMut};
use futures_util::stream::{self, BoxStream, StreamExt};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use super::{EngineError, EngineEvent, convert, raw};
use crate::model::Timestamp;

/// The longest line that is read, bytes: labels are a part of each event.
const LONGEST_LINE: usize = 1 << 20;

/// The request for events from `since`, in the engine's time.
pub(super) fn target(since: Timestamp) -> String {
    let millis = since.millis().max(0);
    let filters = raw::encode(r#"{"type":["container","network"]}"#);
    format!("/events?since={}.{:03}000000&filters={filters}", millis / 1000, millis % 1000)
}

/// The events in `body`, in order; then the error that ended it.
pub(super) fn read(body: Incoming) -> BoxStream<'static, Result<EngineEvent, EngineError>> {
    let lines = stream::unfold(Some(Lines { body, buffer: BytesMut::new(), searched: 0 }), |state| async {
        let mut lines = state?;
        match lines.next().await {
            Ok(line) => Some((Ok(line), Some(lines))),
            Err(error) => Some((Err(error), None)),
        }
    });
    lines.filter_map(async |line| line.map(|line| understood(&line)).transpose()).boxed()
}

fn understood(line: &[u8]) -> Option<EngineEvent> {
    match serde_json::from_slice::<Value>(line) {
        Ok(json) => convert::event(&json),
        Err(error) => {
            tracing::debug!(%error, "an event of the engine cannot be read");
            None
        }
    }
}

struct Lines {
    body: Incoming,
    buffer: BytesMut,
    searched: usize,
}

impl Lines {
    /// The next line, without its end; an error when there will be no more.
    async fn next(&mut self) -> Result<BytesMut, EngineError> {
        loop {
            if let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + end);
                self.buffer.advance(1);
                self.searched = 0;
                return Ok(line);
            }
            self.searched = self.buffer.len();
            if self.searched > LONGEST_LINE {
                return Err(EngineError::Malformed(format!("an event longer than {LONGEST_LINE} bytes")));
            }
            let frame = match self.body.frame().await {
                Some(frame) => frame.map_err(raw::lost)?,
                None => {
                    return Err(EngineError::Unreachable("the engine ended its stream of events".to_owned()));
                }
            };
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}
