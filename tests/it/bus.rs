//! The bus: one contract, kept by both adapters; a real nats-server for the second.

use crate::support::nats::NatsServer;

#[test]
fn a_killed_server_comes_back_on_its_port() {
    let mut server = NatsServer::start();
    let reachable = |server: &NatsServer| std::net::TcpStream::connect(("127.0.0.1", server.port())).is_ok();
    assert!(reachable(&server));
    server.kill();
    assert!(!reachable(&server), "a killed server does not listen");
    server.restart();
    assert!(reachable(&server));
}
