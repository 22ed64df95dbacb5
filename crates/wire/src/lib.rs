//! Listeners and protocols towards visitors: bytes in, one [`Exchange`] out.
//!
//! `wire` accepts connections on sockets it is given, speaks TLS (`tls.rs`), HTTP/1 (`h1.rs`, on the sans-I/O
//! crate `http1`), HTTP/2 (`h2.rs`, on the h2 crate) and HTTP/3 (`h3.rs`, on quinn and the sans-I/O crate
//! `http3`), and hands each request to a [`Service`] as an [`Exchange`]: the head, the body, and the place to
//! answer, the same whatever the protocol.
//!
//! Deliberately absent: zones, rules, the cache, origins, binding of sockets. Caller: `edge`.
//! Read next: `exchange.rs`, then `h1.rs`.

mod abuse;
mod accept;
mod conn;
mod exchange;
mod h1;
mod h2;
mod h3;
mod hello;
mod ja4;
mod kept;
pub mod limits;
mod nobody;
mod places;
mod proxy_protocol;
mod scratch;
mod thread;
mod tls;
mod web_socket;

pub use abuse::Abuse;
pub use accept::{TcpListenerSettings, accept_tcp, begin_tcp};
pub use exchange::{Exchange, Gone, ResponseState};
pub use h3::{CONNECTION_ID_BYTES, QuicListenerSettings, Strays, accept_quic, answer_strays};
pub use hello::{Hello, NotHello, read_hello};
pub use kept::Kept;
pub use nobody::Informed;
pub use proxy_protocol::{Proxied, read_header as read_proxy_header};
pub use scratch::with_scratch;
pub use thread::{Service, Thread, TlsChoice, VisitorTimes, WireEvent};
