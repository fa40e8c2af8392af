//! The table of settings. Options that belong to a single call of a single command stand in that command's file.

use super::{Places, Setting};

macro_rules! table {
    ($($(#[$doc:meta])* $group:ident $heading:literal {
        $($setting:ident $name:literal $shape:expr, $help:literal;)*
    })*) => {
        $(
            $(#[doc = $help] pub const $setting: Setting = $shape.called($name, $heading, $help);)*
            $(#[$doc])* pub const $group: &[&Setting] = &[$(&$setting),*];
        )*
        const GROUPS: &[&[&Setting]] = &[$($group),*];
    };
}

table! {
    /// What every long-running program has.
    COMMON "General" {
        DATA_DIR "data-dir" Setting::value("DIR"),
            "Where state is kept [default: /var/lib/dockhealth as root, else ~/.local/state/dockhealth]";
        THRESHOLD "threshold" Setting::value("PERCENT").or("50"),
            "Packet loss above which a container is restarted, until one is stored through the API";
        THREADS "threads" Setting::value("COUNT").or("2").on_edge("1"), "Threads that work, besides one for each database";
    }
    /// The machine the defaults are for.
    MACHINE "General" {
        PROFILE "profile" Setting::value("default|edge").or("default"),
            "edge: defaults for small boards, as this help names them; what is given stays as given";
    }
    /// The settings file itself.
    FILE "General" {
        CONFIG "config" Setting::value("FILE"),
            "TOML file of settings; every option is a key of it, and a variable DOCKHEALTH_<OPTION> [default: /etc/dockhealth/dockhealth.toml where it exists]";
    }
    /// The NATS server and how to log in there.
    NATS "NATS" {
        NATS_URL "nats" Setting::value("URL").or("nats://127.0.0.1:4222"),
            "The NATS server; several, separated by commas, are tried in turn";
        NATS_USER "nats-user" Setting::value("NAME"), "User to log in as";
        NATS_PASSWORD_FILE "nats-password-file" Setting::value("FILE"), "File that holds the user's password";
        NATS_TOKEN_FILE "nats-token-file" Setting::value("FILE"), "File that holds a token to log in with";
        NATS_CREDS_FILE "nats-creds-file" Setting::value("FILE"), "Credentials file (JWT and seed) to log in with";
        NATS_TLS_CA "nats-tls-ca" Setting::value("FILE"),
            "PEM file of the authorities to trust; with it the connection must be TLS";
        NATS_TLS_CERT "nats-tls-cert" Setting::value("FILE"), "PEM file of the client's own certificate";
        NATS_TLS_KEY "nats-tls-key" Setting::value("FILE"), "PEM file of that certificate's key";
    }
    /// The agent's host.
    HOST "Host" {
        HOSTNAME "hostname" Setting::value("NAME"),
            "The name this host is known by in the fleet [default: the Docker engine's own name]";
        DOCKER_HOST "docker-host" Setting::value("ADDRESS").or("unix:///var/run/docker.sock").also_env("DOCKER_HOST"),
            "The Docker engine: unix:///path or tcp://host:port; the variable DOCKER_HOST counts too";
        REPORT_INTERVAL "report-interval" Setting::value("SPAN").or("5s").on_edge("7s"), "Time between two reports to the controller";
        METRICS_INTERVAL "metrics-interval" Setting::value("SPAN").or("10s").on_edge("30s"),
            "Time between two samples of the host and its containers, 1s to 1h; 0 or off measures nothing";
        NETWORK "network" Setting::value("auto|classifiers|proc|off").or("auto").on_edge("proc"),
            "How it is measured who the containers talk to: by the best that works here (docs/network.md); by classifiers, which count alone; as totals from /proc; not at all";
        NETWORK_CLOCK "network-clock" Setting::value("NAME"),
            "Name of the clock that this host shares with others that are given the same name, as virtual machines of one computer may: latency between them is then told one way";
        OUTBOX_MAX "outbox-max" Setting::value("SIZE").or("256MiB").on_edge("64MiB"),
            "Most that metrics waiting for the controller take on the disk, and never more than 5 % of what is free there; then the oldest are dropped";
        DRY_RUN "dry-run" Setting::switch(), "Observe and report, but change no container";
        CHAOS "chaos" Setting::switch(),
            "Let whoever may write to the controller hurt containers of this host on purpose (`dockhealth antagonist --host`); those labelled dockhealth.chaos=false never";
        POOLS "pools" Setting::switch(),
            "Let whoever may write to the controller run containers of images that are on this host, and open a port for them (`dockhealth pools`)";
    }
    /// How containers are checked.
    CHECKS "Checks" {
        INTERVAL "interval" Setting::value("SPAN").or("10s"), "Time between the starts of two sweeps; sprt probes all the time";
        PROBES "probes" Setting::value("COUNT").or("5"), "Echo requests to each address in a check";
        PROBE_SPACING "probe-spacing" Setting::value("SPAN").or("100ms"), "Time between two requests to one address";
        PROBE_TIMEOUT "probe-timeout" Setting::value("SPAN").or("1s"), "How long an answer may take";
        CONFIRM_PROBES "confirm-probes" Setting::value("COUNT").or("20"),
            "Requests, spread over 2 s, that must confirm a failed check; 0 restarts on the first";
        DETECTOR "detector" Setting::value("fixed|sprt").or("fixed"),
            "How loss is judged: by checks of so many probes, or by a sequential test on an unending stream of them, which decides sooner";
        FALSE_RESTARTS "false-restarts-per-container-year" Setting::value("NUMBER").or("0.001"),
            "sprt: how often a container that loses no more than the threshold may be restarted a year";
        MISS "miss" Setting::value("SHARE").or("0.01"),
            "sprt: the share of tests that may overlook loss 20 points above the threshold";
        MIN_EVIDENCE "min-evidence" Setting::value("SPAN").or("1s"),
            "sprt: how long lost probes must span, since loss comes in bursts";
        ASSUME_PINGABLE "assume-pingable" Setting::switch(),
            "Count loss even of a container that never answered";
    }
    /// What is healed, how, and how often at most.
    HEALING "Healing" {
        MONITOR_ALL "monitor-all" Setting::switch(), "Monitor every container that nothing else was said of";
        ON_STOP "on-stop" Setting::value("restart|leave"),
            "What to do with a monitored container that was told to stop [default: restart those an administrator named, leave others]";
        RESTART_MODE "restart-mode" Setting::value("restart|recreate").or("restart"),
            "Restart a lossy container in place, or destroy it and create it anew";
        ANONYMOUS_VOLUMES "recreate-anonymous-volumes" Setting::value("refuse|keep").or("refuse"),
            "Whether a container with anonymous volumes may be recreated";
        STOP_TIMEOUT "stop-timeout" Setting::value("SPAN"),
            "Time a container has to stop before it is killed [default: the container's own]";
        GRACE "grace" Setting::value("SPAN").or("10s"),
            "Time after a start in which failures do not count; a longer healthcheck start period goes before";
        BUDGET "budget" Setting::value("RATE").or("5/1h"), "Restarts of one container before it is quarantined";
        FUTILE_AFTER "futile-after" Setting::value("COUNT").or("3"),
            "Restarts in a row that did not help what runs and ails, after which it is left alone for --futile-retry; 0: never";
        FUTILE_RETRY "futile-retry" Setting::value("SPAN").or("1d"), "Time after which one more is tried";
        BACKOFF "backoff" Setting::value("SPAN").or("10s"),
            "Time between two restarts of one container, doubled by each";
        BACKOFF_MAX "backoff-max" Setting::value("SPAN").or("10m"), "Where that doubling ends";
        HOST_BUDGET "host-budget" Setting::value("RATE").or("10/10m"), "Restarts for packet loss on the whole host";
        SETTLE "settle" Setting::value("SPAN").or("500ms"),
            "Time a stopped container is left to whoever stopped it";
    }
    /// What holds for all hosts together.
    FLEET "Fleet" {
        FLEET_BUDGET "fleet-budget" Setting::value("RATE|off").or("30/10m"),
            "Restarts of running containers on all hosts together; agents that the controller does not answer keep to their own";
    }
    /// The controller's door.
    DOOR "Server" {
        LISTEN "listen" Setting::value("ADDRESS").or("127.0.0.1:8930"), "Address and port of the REST interface";
        RESPONSE_WINDOW "response-window" Setting::value("SPAN").or("4s"), "How long a list waits for the hosts' answers";
        ALLOWED_HOST "allowed-host" Setting::list("NAME"),
            "A further name the server is reached by (guards against DNS rebinding)";
        TLS_CERT "tls-cert" Setting::value("FILE"), "PEM file of the server's certificate chain";
        TLS_KEY "tls-key" Setting::value("FILE"), "PEM file of its key";
    }
    /// Where metrics are kept.
    STORE "Metrics" {
        STORE_URL "store" Setting::value("embedded|URL").or("embedded"),
            "Where metrics are kept: embedded, in controller.db, or on a server that speaks Prometheus' remote write and PromQL";
        STORE_WRITE_URL "store-write-url" Setting::value("URL"),
            "Where that server is written to [default: /api/v1/write below --store]";
        STORE_CREDENTIALS_FILE "store-credentials-file" Setting::value("FILE"),
            "File that holds user:password, or a bearer token, for that server";
        STORE_CA_FILE "store-ca-file" Setting::value("FILE"),
            "PEM file of the authorities to trust for that server instead of the public ones";
        RETENTION "retention" Setting::value("SPAN").or("7d"),
            "How long the embedded store keeps metrics; by the minute once they are older than a day";
    }
    /// Who is told of incidents.
    NOTIFY "Notifications" {
        NOTIFY_URL "notify-url" Setting::list("[TEMPLATE+]URL"),
            "Where incidents are told by HTTP POST; a URL that is itself a secret belongs in --notify-url-file";
        NOTIFY_URL_FILE "notify-url-file" Setting::list("FILE"), "File that holds such URLs, one a line";
        NOTIFY_TEMPLATE "notify-template" Setting::value("json|slack|discord|ntfy"),
            "What is spoken at URLs that say none before a + [default: what the server is known for, else json]";
        NOTIFY_ON "notify-on" Setting::list("WORD").or("host,engine,network,shared,identity,pool,quarantined,action_failed,unhealed"),
            "What is told; besides these, clock, and failing: containers however soon they are healed";
        NOTIFY_WAIT "notify-wait" Setting::value("SPAN").or("10s"),
            "How long what belongs together is collected into one message; what is over by then is not told";
        NOTIFY_UNHEALED "notify-unhealed" Setting::value("SPAN").or("5m"),
            "For how long a container fails before that alone is told";
        NOTIFY_CA_FILE "notify-ca-file" Setting::value("FILE"),
            "PEM file of the authorities to trust there instead of the public ones";
        PUBLIC_URL "public-url" Setting::value("URL"), "Where people reach this controller, for links in messages";
    }
    /// The log.
    LOG "Log" {
        LOG_FILE "log-file" Setting::value("FILE"), "Log into this file too, rotated by size";
        LOG_MAX_SIZE "log-max-size" Setting::value("SIZE").or("10MiB").on_edge("1MiB"), "Size at which it is rotated; 4 older ones are kept";
        LOG_FORMAT "log-format" Setting::value("text|json").or("text"), "How lines are written";
        LOG_LEVEL "log-level" Setting::value("LEVEL").or("info"), "error, warn, info, debug (every check) or trace";
    }
    /// Where the command line finds the controller.
    CLIENT "Server" {
        SERVER "server" Setting::value("URL").or("http://127.0.0.1:8930"), "The controller";
        TOKEN_FILE "token-file" Setting::value("FILE"),
            "File that holds the access token [default: `token` in the data directory, for a server on this machine]";
        CA_FILE "ca-file" Setting::value("FILE"), "PEM file of the authorities to trust instead of the public ones";
    }
    /// Consent to speak without TLS, for server and client.
    INSECURE "Server" {
        INSECURE_HTTP "insecure-http" Setting::switch(), "Speak HTTP without TLS beyond this machine";
    }
}

/// Every setting of the table.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().flat_map(|group| group.iter().copied())
}

/// Every setting that may stand in the file and in a variable.
pub fn anywhere() -> impl Iterator<Item = &'static Setting> {
    all().filter(|setting| setting.places == Places::Anywhere)
}
