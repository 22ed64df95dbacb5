//! HTTP/3 towards a visitor.

use std::task::{Context, Poll};

use exchange::{Chunk, Fields, Incoming, Response};

use crate::Gone;

/// The HTTP/3 side of an exchange.
pub(crate) enum Http3 {}

impl Http3 {
    pub(crate) fn is_body_read(&self) -> bool {
        match *self {}
    }
    pub(crate) fn poll_body(&mut self, _cx: &mut Context<'_>) -> Poll<Result<Incoming<'_>, Gone>> {
        match *self {}
    }
    pub(crate) fn poll_gone(&mut self, _cx: &mut Context<'_>) -> Poll<Gone> {
        match *self {}
    }
    pub(crate) fn inform(&mut self, _cx: &mut Context<'_>, _response: &Response) {
        match *self {}
    }
    pub(crate) fn respond(&mut self, _cx: &mut Context<'_>, _response: &Response, _is_complete: bool) {
        match *self {}
    }
    pub(crate) fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        match *self {}
    }
    pub(crate) fn send(&mut self, _cx: &mut Context<'_>, _chunk: Chunk<'_>, _is_last: bool) -> bool {
        match *self {}
    }
    pub(crate) fn send_trailers(&mut self, _cx: &mut Context<'_>, _trailers: &Fields) {
        match *self {}
    }
    pub(crate) fn abort(&mut self) {
        match *self {}
    }
}
