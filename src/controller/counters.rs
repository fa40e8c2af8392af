//! What the controller counts, for `/metrics`.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::EventKind;

macro_rules! counters {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $help:literal;)*) => {
        /// One thing that is counted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Counter {
            $($(#[$doc])* $variant,)*
        }

        impl Counter {
            /// Every counter.
            pub(crate) const ALL: &[Self] = &[$(Self::$variant,)*];

            /// Its name in `/metrics`.
            pub(crate) fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// What it counts.
            pub(crate) fn help(self) -> &'static str {
                match self {
                    $(Self::$variant => $help,)*
                }
            }
        }
    };
}

counters! {
    Reports = "dockhealth_reports_total", "Host reports taken in, pushed and asked for.";
    ReportsRefused = "dockhealth_reports_refused_total",
        "Host reports refused: unreadable, for another host, answered before pushed, or too many hosts.";
    ListRounds = "dockhealth_list_rounds_total", "Rounds of asking every agent for its report.";
    ListMissing = "dockhealth_list_missing_total", "Hosts that did not answer such a round in time.";
    Batches = "dockhealth_outbox_batches_total", "Outbox batches stored and acknowledged.";
    BatchesRefused = "dockhealth_outbox_batches_refused_total",
        "Outbox batches not acknowledged: unreadable, for another host, or not stored.";
    BatchesDeferred = "dockhealth_outbox_batches_deferred_total",
        "Outbox batches passed over because too many waited; their agents send them again.";
    Ticks = "dockhealth_metric_ticks_stored_total", "Ticks of metrics stored: one is all that a host measured at a moment.";
    Samples = "dockhealth_metric_samples_stored_total", "Samples of metrics stored.";
    TicksRefused = "dockhealth_metric_ticks_refused_total",
        "Ticks of metrics refused for good: unreadable, of an impossible time, or too large.";
    NetworkReports = "dockhealth_network_reports_total", "Reports of hosts' container networks taken in.";
    NetworkReportsRefused = "dockhealth_network_reports_refused_total",
        "Such reports refused: unreadable, for another host, repeated, of an unknown process, or too long.";
    NetworkPairsLeftOut = "dockhealth_network_pairs_left_out_total",
        "Pairs of the network map left out because one interval had too many.";
    EventsLost = "dockhealth_events_lost_total", "Events of the controller's own that could not be stored.";
    StoreErrors = "dockhealth_store_errors_total", "Writes to the database that failed.";
    Requests = "dockhealth_http_requests_total", "HTTP requests answered.";
    RequestsRefused = "dockhealth_http_requests_refused_total", "HTTP requests answered with a problem.";
    AcceptErrors = "dockhealth_http_accept_errors_total", "Connections that could not be accepted.";
    TlsErrors = "dockhealth_http_tls_errors_total", "TLS handshakes that failed.";
    NotificationsMade = "dockhealth_notifications_total", "Notifications of incidents made, each once whatever the receivers.";
    NotificationsDelivered = "dockhealth_notifications_delivered_total", "Notifications that a receiver took.";
    NotificationAttemptsFailed = "dockhealth_notification_attempts_failed_total",
        "Attempts to deliver a notification that failed; most are made again.";
    NotificationsFailed = "dockhealth_notifications_failed_total",
        "Notifications given up: refused by the receiver, not taken for 24 h, or too many waited.";
    StreamsLagged = "dockhealth_http_streams_lagged_total", "Times that a slow stream client missed updates.";
}

/// All counters of this process.
#[derive(Debug)]
pub(crate) struct Counters {
    each: [AtomicU64; Counter::ALL.len()],
    /// Events stored, by kind; the last are of kinds this version does not know.
    events: [AtomicU64; EventKind::ALL.len() + 1],
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            each: std::array::from_fn(|_| AtomicU64::new(0)),
            events: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Counters {
    /// Counts one.
    pub(crate) fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Counts `many`.
    pub(crate) fn add(&self, counter: Counter, many: u64) {
        self.each[counter as usize].fetch_add(many, Ordering::Relaxed);
    }

    /// How many there were.
    pub(crate) fn get(&self, counter: Counter) -> u64 {
        self.each[counter as usize].load(Ordering::Relaxed)
    }

    /// Counts an event that was stored.
    pub(crate) fn event(&self, kind: EventKind) {
        self.events[kind as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How many events of each kind were stored.
    pub(crate) fn events(&self) -> impl Iterator<Item = (EventKind, u64)> {
        let kinds = EventKind::ALL.iter().copied().chain([EventKind::Other]);
        kinds.map(|kind| (kind, self.events[kind as usize].load(Ordering::Relaxed)))
    }
}
