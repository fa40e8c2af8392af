//! ICMP, the bus, the port, the controller.

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::time::Duration;

use serde_json::Value;

use super::{Finding, NatsConfig, Reach, State};
use crate::bus::{AgentCommand, AgentReply, Bus, BusStatus, NatsBus, Role};
use crate::client::{AgentSocket, Api, ApiError, ApiOptions, HostView, NotificationsView};
use crate::model::Consent;
use crate::model::HostName;
use crate::monitor::ping::{IcmpPinger, Pinger, ProbePlan, SocketMode};

/// How long the NATS server has to let us in.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Whether an echo to this machine itself comes back.
pub(super) async fn icmp() -> Finding {
    let remedy = "run with CAP_NET_RAW, or open net.ipv4.ping_group_range to this group";
    let pinger = match IcmpPinger::open() {
        Ok(pinger) => pinger,
        Err(error) => return Finding::not("icmp", State::Missing, error.to_string(), remedy),
    };
    let how = match pinger.mode() {
        SocketMode::Raw => "raw sockets",
        SocketMode::Datagram => "unprivileged datagram sockets",
    };
    let second = Duration::from_secs(1);
    let plan = ProbePlan { count: 1, spacing: Duration::ZERO, timeout: second, threshold: None };
    match pinger.probe(&[IpAddr::V4(Ipv4Addr::LOCALHOST)], plan).await {
        Ok(outcomes) if outcomes.iter().any(|o| o.received > 0) => {
            Finding::works("icmp", format!("{how}; an echo to 127.0.0.1 came back"))
        }
        Ok(_) => Finding::not(
            "icmp",
            State::Missing,
            format!("{how}, but no echo to 127.0.0.1 came back"),
            "look for a firewall rule that drops ICMP",
        ),
        Err(error) => Finding::not("icmp", State::Missing, error.to_string(), remedy),
    }
}

/// Whether the NATS server lets us in, where one was named.
pub(super) async fn bus(nats: Option<&NatsConfig>, host: Option<HostName>) -> Finding {
    let Some(nats) = nats else {
        let remedy = "a single host needs none; for a fleet name the server with --nats";
        return Finding::not("bus", State::Skipped, "no NATS server was named", remedy);
    };
    let remedy = "check --nats, the login, and that the server runs";
    let role = host.map_or(Role::Controller, Role::Agent);
    let bus = match NatsBus::connect(nats.options(role)).await {
        Ok(bus) => bus,
        Err(error) => return Finding::not("bus", State::Missing, error.to_string(), remedy),
    };
    let mut status = bus.status();
    let connected = status.wait_for(|status| *status == BusStatus::Connected);
    if tokio::time::timeout(CONNECT_WITHIN, connected).await.is_ok_and(|status| status.is_ok()) {
        return Finding::works("bus", format!("{} lets us in", nats.urls.join(", ")));
    }
    let why = match bus.status().borrow().clone() {
        BusStatus::Disconnected(why) => why,
        BusStatus::Connected => "too slow".into(),
    };
    Finding::not("bus", State::Missing, format!("{}: {why}", nats.urls.join(", ")), remedy)
}

/// Whether the port is free, or a controller's already.
pub(super) fn port(listen: SocketAddr, reach: &Reach) -> Finding {
    match TcpListener::bind(listen) {
        Ok(_) => Finding::works("port", format!("{listen} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse && is_controller(listen, reach) => {
            Finding::works("port", format!("a controller listens on {listen}"))
        }
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let detail = format!("another program listens on {listen}");
            let remedy =
                "choose another port with --listen; if it is a controller with TLS, name it with --server";
            Finding::not("port", State::Missing, detail, remedy)
        }
        Err(error) => {
            let remedy = "choose an address of this machine with --listen";
            Finding::not("port", State::Missing, format!("{listen}: {error}"), remedy)
        }
    }
}

/// Whether who listens there speaks like a controller, asked in the clear, or as `reach` says when it names the same
/// port; a refusal counts too.
fn is_controller(listen: SocketAddr, reach: &Reach) -> bool {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    let server = format!("http://{}", SocketAddr::new(ip, listen.port()));
    let server = server.parse().expect("an address and port make a URL");
    let clear = Api::new(ApiOptions { server, ..ApiOptions::default() }).ok();
    let named = reach.port().filter(|port| *port == listen.port()).and_then(|_| reach.api().ok());
    let speaks = |api: Api| {
        let answer = api.get::<Value>("/threshold");
        matches!(answer, Ok(Value::Number(_)) | Err(ApiError::Problem { status: 401 | 403 | 421 | 503, .. }))
    };
    clear.into_iter().chain(named).any(speaks)
}

/// Whether a controller answers, and what it knows of hosts that claim one identity.
pub(super) fn controller(reach: &Reach) -> Finding {
    let hosts: Result<Vec<HostView>, String> = match reach.api() {
        Ok(api) => api.get("/hosts").map_err(|error| error.to_string()),
        Err(failure) => Err(failure.to_string()),
    };
    match hosts {
        Ok(hosts) => {
            let conflicts: Vec<String> = hosts
                .iter()
                .filter_map(|host| Some(format!("{}: {}", host.hostname, host.conflict.as_ref()?)))
                .collect();
            if conflicts.is_empty() {
                let count =
                    if hosts.len() == 1 { "one host".into() } else { format!("{} hosts", hosts.len()) };
                return Finding::works("controller", format!("it answers and knows {count}"));
            }
            let remedy = "give each agent its own --hostname, and each engine one agent";
            Finding::not("controller", State::Limited, conflicts.join("; "), remedy)
        }
        Err(why) => {
            let remedy =
                "start one with `dockhealth up` or `dockhealth controller`, or name it with --server";
            Finding::not("controller", State::Limited, why, remedy)
        }
    }
}

/// Whether the controller's notifications arrive.
pub(super) fn notifications(reach: &Reach) -> Finding {
    let remedy = "name a receiver with --notify-url or --notify-url-file, then run `dockhealth notify test`";
    let told: Result<NotificationsView, String> = match reach.api() {
        Ok(api) => api.get("/notifications?limit=1").map_err(|error| error.to_string()),
        Err(failure) => Err(failure.to_string()),
    };
    let Ok(NotificationsView { receivers, .. }) = told else {
        let detail = "the controller does not say";
        return Finding::not("notifications", State::Skipped, detail, "see what is said of the controller");
    };
    let failing: Vec<String> = receivers
        .iter()
        .filter_map(|one| Some(format!("{} ({} wait) {}", one.receiver, one.waiting, one.detail.as_ref()?)))
        .collect();
    match (receivers.len(), failing.is_empty()) {
        (0, _) => Finding::not("notifications", State::Skipped, "nobody is told of incidents", remedy),
        (_, false) => {
            let remedy = "look at the receiver and its URL, then run `dockhealth notify test`";
            Finding::not("notifications", State::Limited, failing.join("; "), remedy)
        }
        (1, true) => Finding::works("notifications", format!("{} is told", receivers[0].receiver)),
        (several, true) => Finding::works("notifications", format!("{several} receivers are told")),
    }
}

/// Whether campaigns of faults may be ordered of this host: as its agent says, else as the settings here do.
pub(super) fn chaos(agent: &AgentSocket, set: Consent) -> Finding {
    let told = match agent.ask(&AgentCommand::Report) {
        Ok(AgentReply::Report(report)) => report.capabilities.into_iter().find(|known| known.name == "chaos"),
        _ => None,
    };
    let (whose, allowed) =
        told.map_or(("the settings here say", set == Consent::Given), |told| ("its agent says", told.works));
    if allowed {
        let detail =
            format!("allowed, as {whose}: containers of this host may be attacked by `antagonist --host`");
        return Finding::works("chaos", detail);
    }
    let detail = format!("not allowed, as {whose}: no fault can be ordered over the fleet");
    let remedy = "to allow it, start the agent with --chaos, or put `chaos = true` into its settings file";
    Finding::not("chaos", State::Skipped, detail, remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_free_or_taken_by_a_stranger() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = taken.local_addr().unwrap();
        // The stranger hangs up on everyone.
        std::thread::spawn(move || taken.incoming().for_each(drop));
        let reach = Reach::default();
        assert_eq!(port(listen, &reach).state, State::Missing);
        let elsewhere = SocketAddr::from(([192, 0, 2, 1], 1));
        assert!(port(elsewhere, &reach).detail.starts_with("192.0.2.1:1: "));
    }
}
