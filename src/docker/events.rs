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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::docker::{ContainerAction, EngineAddress};

    /// What is made of a stream that an engine sends in these pieces and then ends.
    async fn told(pieces: Vec<Vec<u8>>) -> Vec<Result<EngineEvent, EngineError>> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = EngineAddress::Tcp(listener.local_addr().unwrap().to_string());
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
            for piece in pieces {
                let head = format!("{:x}\r\n", piece.len());
                let chunk = [head.as_bytes(), &piece, b"\r\n"].concat();
                if stream.write_all(&chunk).await.is_err() {
                    return;
                }
            }
            let _ = stream.write_all(b"0\r\n\r\n").await;
        });
        let ask = raw::Ask::get(target(Timestamp::from_millis(1)), Duration::from_secs(5));
        read(raw::open(&address, ask).await.unwrap()).collect().await
    }

    fn line(action: &str) -> String {
        format!(
            "{{\"Type\":\"container\",\"Action\":\"{action}\",\"Actor\":{{\"ID\":\"0123456789ab\"}},\"time\":1}}\n"
        )
    }

    #[tokio::test]
    async fn lines_are_put_together_and_what_is_no_event_is_left_out() {
        let all = [line("kill"), "not JSON\n".to_owned(), "\n{}\n".to_owned(), line("die"), line("exec_die")]
            .concat();
        for size in [1, 7, 64, 4096] {
            let mut events = told(all.as_bytes().chunks(size).map(<[u8]>::to_vec).collect()).await;
            assert!(matches!(events.pop(), Some(Err(EngineError::Unreachable(_)))), "the end is told");
            let actions: Vec<_> = events.into_iter().map(|event| event.unwrap().action).collect();
            assert_eq!(actions, [ContainerAction::Kill, ContainerAction::Die(None)], "in pieces of {size}");
        }
    }

    #[tokio::test]
    async fn a_line_without_end_ends_the_stream() {
        let pieces = [vec![line("kill").into_bytes()], vec![vec![b'x'; 65536]; 20]].concat();
        let events = told(pieces).await;
        assert_eq!(events.len(), 2);
        assert!(matches!(events[1], Err(EngineError::Malformed(_))), "{:?}", events[1]);
    }

    #[test]
    fn since_is_a_fraction_of_seconds() {
        assert!(target(Timestamp::from_millis(1_500_000_000_007)).contains("since=1500000000.007000000&"));
        assert!(target(Timestamp::from_millis(-1)).contains("since=0.000000000&"));
    }
}
