//! Server-sent events, as the HTML standard defines them.

use std::io::{self, BufRead, BufReader, Read};

/// No event of ours is longer, bytes.
const LONGEST_LINE: u64 = 1024 * 1024;

/// One event of a stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// Its id, to go on after it.
    pub id: Option<String>,
    /// Its type; empty where none was given.
    pub kind: String,
    /// Its data.
    pub data: String,
}

/// Reads events as they come.
pub struct SseReader(BufReader<Box<dyn Read>>);

impl SseReader {
    /// A reader of the stream's body.
    pub fn new(body: impl Read + 'static) -> Self {
        Self(BufReader::new(Box::new(body)))
    }

    /// The next event; `None` at the end of the stream.
    pub fn next_event(&mut self) -> io::Result<Option<SseEvent>> {
        let mut event = SseEvent::default();
        let mut data: Option<String> = None;
        loop {
            let mut line = Vec::new();
            let read = (&mut self.0).take(LONGEST_LINE + 1).read_until(b'\n', &mut line)?;
            if read == 0 {
                return Ok(None);
            }
            if read as u64 > LONGEST_LINE || data.as_ref().is_some_and(|d| d.len() as u64 > LONGEST_LINE) {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "an event longer than 1 MiB"));
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                if let Some(data) = data.take() {
                    event.data = data;
                    return Ok(Some(event));
                }
                event = SseEvent::default();
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "data" => match &mut data {
                    Some(data) => *data = format!("{data}\n{value}"),
                    None => data = Some(value.to_owned()),
                },
                "id" => event.id = Some(value.to_owned()),
                "event" => value.clone_into(&mut event.kind),
                // A line that begins with a colon is a sign of life.
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<SseEvent> {
        let mut reader = SseReader::new(io::Cursor::new(text.to_owned()));
        std::iter::from_fn(|| reader.next_event().unwrap()).collect()
    }

    #[test]
    fn events_comments_and_several_lines_of_data() {
        let events = all(
            ": hello\n\nid: 7\nevent: event\ndata: {\"a\":\ndata: 1}\n\ndata:x\r\n\r\nretry: 1\n\ndata: cut",
        );
        assert_eq!(events.len(), 2);
        assert_eq!((events[0].id.as_deref(), events[0].kind.as_str()), (Some("7"), "event"));
        assert_eq!(events[0].data, "{\"a\":\n1}");
        assert_eq!(events[1], SseEvent { id: None, kind: String::new(), data: "x".into() });
    }

    #[test]
    fn an_endless_line_is_an_error() {
        let mut reader = SseReader::new(io::repeat(b'a'));
        assert!(reader.next_event().is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let mut reader = SseReader::new(io::Cursor::new(bytes));
            while let Ok(Some(_)) = reader.next_event() {}
        }
    }
}
