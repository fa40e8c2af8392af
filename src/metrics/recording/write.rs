//! Writing a recording.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use super::{Line, RecordedContainer, RecordedSample, RecordingEnd, RecordingHeader};
use crate::metrics::ContainerSample;
use crate::model::{ContainerName, SeriesName, Timestamp};

/// What becomes of a file that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overwrite {
    /// It stays, and nothing is recorded.
    Refuse,
    /// The recording takes its place.
    Replace,
}

/// Writes samples as they come. Each line is handed to the system whole, so that a recording whose program was killed
/// lacks at most the line under way.
pub struct Recorder<W = File> {
    out: W,
    told: HashMap<ContainerName, RecordedContainer>,
    samples: u64,
}

impl Recorder {
    /// Begins the recording at `path`.
    pub fn create(path: &Path, overwrite: Overwrite, header: RecordingHeader) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true);
        match overwrite {
            Overwrite::Refuse => options.create_new(true),
            Overwrite::Replace => options.create(true).truncate(true),
        };
        Self::new(options.open(path)?, header)
    }
}

impl<W: Write> Recorder<W> {
    pub(super) fn new(out: W, header: RecordingHeader) -> io::Result<Self> {
        let mut recorder = Self { out, told: HashMap::new(), samples: 0 };
        recorder.line(&Line::Header(header))?;
        Ok(recorder)
    }

    /// Writes a sample, of it the series that `wanted` says yes to.
    pub fn sample(
        &mut self,
        time: Timestamp,
        sample: &[ContainerSample],
        wanted: impl Fn(&SeriesName) -> bool,
    ) -> io::Result<()> {
        for of in sample {
            let container = RecordedContainer {
                name: of.name.clone(),
                id: of.id.clone(),
                image: of.image.clone(),
                project: of.project.clone(),
                service: of.service.clone(),
            };
            if self.told.get(&of.name) != Some(&container) {
                self.line(&Line::Container(container.clone()))?;
                self.told.insert(of.name.clone(), container);
            }
        }
        // Those that are gone would pile up. Every container of the sample is told of by now.
        if self.told.len() > sample.len() {
            self.told.retain(|name, _| sample.iter().any(|of| of.name == *name));
        }
        let values = |of: &ContainerSample| {
            of.values.iter().filter(|(name, _)| wanted(name)).map(|(n, v)| (n.clone(), *v)).collect()
        };
        let containers = sample.iter().map(|of| (of.name.clone(), values(of))).collect();
        self.line(&Line::Sample(RecordedSample { time, containers }))?;
        self.samples += 1;
        Ok(())
    }

    /// Ends it in order.
    pub fn end(mut self, time: Timestamp) -> io::Result<()> {
        let samples = self.samples;
        self.line(&Line::End(RecordingEnd { time, samples }))
    }

    fn line(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.out.write_all(&text)
    }
}
