//! Rempart as met by clients that nobody here wrote: curl, browsers, HTTP/3, gRPC and WebSocket libraries,
//! load generators, and hostile peers that send exact bytes.
//!
//! Each test starts a node and its origins, runs one script of `tests/clients/` in the Python environment
//! that `tests/prepare` makes, gives it the addresses as JSON, and asserts that it ends with 0. What a script
//! checks stands in its first lines. It holds no expectations of its own beyond a healthy end of the node.
//! Read next: [`stage`], then `tests/clients/stage.py`.

mod stage;

use anyhow::Result;
use stage::Stage;

#[test]
fn curl_is_served_over_http1_and_http2() -> Result<()> {
    Stage::new()?.play("curl.py")
}

#[test]
fn curl_cffi_is_served_over_http3() -> Result<()> {
    Stage::new()?.play("http3_curl_cffi.py")
}

#[test]
fn aioquic_is_served_over_http3() -> Result<()> {
    Stage::new()?.play("http3_aioquic.py")
}

#[test]
fn compressed_answers_are_undone_by_curl_and_curl_cffi() -> Result<()> {
    Stage::compressing()?.play("compression.py")
}

#[test]
fn stored_answers_are_served_over_http3() -> Result<()> {
    Stage::storing()?.play("http3_cache.py")
}

#[test]
fn a_drain_says_goaway_and_ends_what_is_in_flight() -> Result<()> {
    Stage::new()?.play_to_its_end("drain.py")
}

#[test]
fn quic_connections_go_on_over_an_upgrade() -> Result<()> {
    Stage::new()?.play("upgrade.py")
}

#[test]
fn upgrades_in_a_row_leave_no_quic_visitor_waiting() -> Result<()> {
    Stage::draining("drain_ms = 4000")?.play_upgrades("upgrades.py")
}

#[test]
fn quic_visitors_of_edges_of_an_earlier_supervisor_are_told() -> Result<()> {
    Stage::new()?.play_alone("orphans.py")
}

#[test]
fn a_candidate_leaves_quic_to_one_of_an_earlier_supervisor() -> Result<()> {
    Stage::trying("drain_ms = 120000")?.play_alone("candidates.py")
}

#[test]
fn quic_visitors_whose_process_is_gone_are_told() -> Result<()> {
    Stage::new()?.play_with_deaths("strays.py")
}

#[test]
fn a_browser_loads_a_page_over_http2_and_http3() -> Result<()> {
    Stage::new()?.play("browser.py")
}

#[test]
fn grpc_calls_of_all_four_forms_pass() -> Result<()> {
    Stage::before("grpc_origin.py", "h2c", "protocol = \"http2\"")?.play("grpc_client.py")
}

#[test]
fn websockets_pass_with_their_extensions() -> Result<()> {
    Stage::before("websocket_origin.py", "http", "")?.play("websocket_client.py")
}

#[test]
fn loads_of_h2load_and_wrk_have_no_failures() -> Result<()> {
    Stage::new()?.play("loads.py")
}

#[test]
fn http2_violations_get_the_errors_of_rfc_9113_over_tls() -> Result<()> {
    Stage::new()?.play_with("http2_violations.py", "tls")
}

#[test]
fn http2_violations_get_the_errors_of_rfc_9113_on_cleartext() -> Result<()> {
    Stage::new()?.play_with("http2_violations.py", "cleartext")
}

#[test]
fn tls_violations_end_their_own_connection() -> Result<()> {
    Stage::new()?.play("tls_violations.py")
}

#[test]
fn http2_floods_end_the_abuser_alone() -> Result<()> {
    Stage::new()?.play("http2_floods.py")
}

#[test]
fn http3_floods_end_the_abuser_alone() -> Result<()> {
    Stage::new()?.play("http3_floods.py")
}

#[test]
fn http1_messages_have_their_expected_outcomes() -> Result<()> {
    Stage::new()?.play_with("http1_messages.py", "http")
}

#[test]
fn http1_messages_have_the_same_outcomes_over_tls() -> Result<()> {
    Stage::new()?.play_with("http1_messages.py", "https")
}
