//! Containers of a drill's own: made of this very program on a network of their own, and removed after.

use serde_json::{Value, json};

use crate::chaos::{Scenario, Selector};
use crate::cmd::{Failure, own_image};
use crate::docker::{AnonymousVolumes, ContainerActuator, ContainerBuilder, ContainerSource, Engine};
use crate::model::{ContainerName, DrillId};

/// What they carry, with the drill's id. scripts/down knows it too.
pub(super) const LABEL: &str = "dockhealth.drill-id";
/// What they are to each other, for scenarios that care.
const PART: &str = "dockhealth.drill";

/// The dummies of one drill.
pub(super) struct Dummies {
    engine: Engine,
    id: DrillId,
    /// Tells this drill's from others'.
    short: String,
}

impl Dummies {
    /// None yet.
    pub(super) fn of(engine: Engine, id: DrillId) -> Self {
        let simple = id.simple().to_string();
        // The end is random; the beginning is the time.
        let short = simple[simple.len() - 8..].to_owned();
        Self { engine, id, short }
    }

    /// Makes and starts so many. Where the scenario asks for that, a quarter of them, one at least, are what the others
    /// need.
    pub(super) async fn raise(&self, count: u32, scenario: &Scenario) -> Result<Vec<ContainerName>, Failure> {
        own_image::make(&self.engine, ("dockhealth", &self.tag())).await?;
        self.engine.create_network(&self.network(), (LABEL, &self.id.to_string())).await?;
        let mut names = Vec::new();
        let needed = cares(scenario).then(|| (count / 4).max(1));
        for number in 1..=count {
            let name =
                ContainerName::new(format!("{}-{number}", self.network())).expect("made of valid parts");
            let parts = needed.map(|needed| self.parts(number, needed));
            let container = self.engine.create(&name, &self.body(parts)).await?;
            self.engine.start(&container).await?;
            names.push(name);
        }
        Ok(names)
    }

    fn body(&self, parts: Option<[(&str, String); 4]>) -> Value {
        let mut labels = json!({
            "dockhealth.monitor": "true", "dockhealth.on-stop": "restart", "dockhealth.chaos": "true",
            LABEL: self.id.to_string(),
        });
        for (label, value) in parts.into_iter().flatten() {
            labels[label] = json!(value);
        }
        json!({
            "Image": format!("dockhealth:{}", self.tag()), "Cmd": ["dummy", "--every", "1h"], "Labels": labels,
            "HostConfig": { "NetworkMode": self.network() },
        })
    }

    /// The labels of a number as compose would set them: each of the first is a service that some of the rest need.
    fn parts(&self, number: u32, needed: u32) -> [(&'static str, String); 4] {
        let (part, service, needs) = if number <= needed {
            ("needed", format!("needed-{number}"), String::new())
        } else {
            let of = (number - 1) % needed + 1;
            ("needs", format!("needs-{number}"), format!("needed-{of}:service_started:false"))
        };
        [
            (PART, part.to_owned()),
            ("com.docker.compose.project", self.network()),
            ("com.docker.compose.service", service),
            ("com.docker.compose.depends_on", needs),
        ]
    }

    /// Removes all of it, as far as it is there.
    pub(super) async fn clear(&self) -> Result<(), Failure> {
        let id = self.id.to_string();
        for facts in self.engine.list().await?.iter().filter(|facts| facts.labels.get(LABEL) == Some(&id)) {
            self.engine.remove(&facts.id, AnonymousVolumes::Remove).await?;
        }
        self.engine.remove_network(&self.network()).await?;
        Ok(self.engine.remove_image("dockhealth", &self.tag()).await?)
    }

    fn network(&self) -> String {
        format!("dockhealth-drill-{}", self.short)
    }

    fn tag(&self) -> String {
        format!("drill-{}", self.short)
    }
}

/// Whether a scenario tells containers apart by what they are to each other.
fn cares(scenario: &Scenario) -> bool {
    let of_part = |selector: &Selector| matches!(selector, Selector::Label(key, _) if key == PART);
    scenario.phases.iter().any(|phase| phase.targets.selectors.iter().any(of_part))
}
