//! HTTP/3 towards visitors: a real QUIC client on 127.0.0.1 against `accept_quic`.
//!
//! `client.rs` is the visitor, `site.rs` the service that answers; the scenarios are in the other files. Time
//! is moved by hand ([`site::Node::pass_ms`]), never waited for.

mod answers;
mod client;
mod connections;
mod hostile;
mod requests;
mod site;

/// Runs a scenario on a runtime like the edge's.
fn run(scenario: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(Default::default())
        .expect("a runtime can be made");
    runtime.block_on(async {
        let scenario = std::pin::pin!(scenario);
        let given_up = tokio::time::timeout(std::time::Duration::from_secs(120), scenario).await;
        given_up.expect("the scenario hangs");
    });
}
