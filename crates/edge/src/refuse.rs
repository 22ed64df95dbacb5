//! Answers that the node makes itself: refusals, faults, redirects, fixed answers.

use std::borrow::Cow;
use std::future::poll_fn;
use std::task::Poll;

use exchange::{BodySize, Cause, Chunk, Fault, Known, Method, Page, Refusal, Response, write_page};
use rules::Refusing;
use wire::Exchange;

use crate::course::Course;
use crate::forward;
use crate::instead::{note_fields, page_for};
use crate::limits;

/// The methods that `Allow` names (RFC 9110 §10.2.1): others are passed on but for CONNECT and TRACE.
pub(crate) const METHODS: &[u8] = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Gives a whole small answer. With HEAD the body stays away and its length is told.
pub(crate) async fn reply(exchange: &mut Exchange, course: &mut Course, mut response: Response, body: &[u8]) {
    forward::towards_visitor(&mut response, course, &exchange.connection, exchange.request.version);
    limits::settle(exchange, course, &mut response);
    note_fields(course, &exchange.connection, (&exchange.request, &response), course.began_us);
    let is_head = exchange.request.method == Method::Head;
    if is_head || response.status == 304 {
        response.declared_length = Some(body.len() as u64);
        response.body = BodySize::None;
    } else {
        response.body = BodySize::of_length(body.len() as u64);
    }
    course.status = Some(response.status);
    poll_fn(|cx| {
        exchange.respond(cx, &response);
        if response.body != BodySize::None {
            exchange.send(cx, Chunk::Borrowed(body), true);
        }
        Poll::Ready(())
    })
    .await;
}

/// Refuses with the own answer of a rule or limit.
pub(crate) async fn answer_as(
    exchange: &mut Exchange,
    course: &mut Course,
    own: &Refusing,
    (refusal, reason): (Refusal, &'static str),
) {
    course.refusal = Some(refusal);
    course.reason = reason;
    let mut response = Response { status: own.status, body: BodySize::None, ..Response::default() };
    response.fields.push(b"Content-Type", own.content_type.as_bytes());
    response.fields.push(b"Cache-Control", b"no-store");
    reply(exchange, course, response, own.content.as_bytes()).await;
}

/// Gives a page. Boxed by its callers: there are many, and a refused request may cost an allocation.
async fn page(
    exchange: &mut Exchange,
    course: &mut Course,
    mut response: Response,
    word: &'static str,
    message: &'static str,
    cause: Cause,
) {
    let status = response.status;
    if let Some(own) = page_for(exchange, course, &response) {
        let status = own.status.unwrap_or(status);
        response.status = status;
        response.fields.push(b"Content-Type", own.content_type.as_bytes());
        response.fields.push(b"Cache-Control", b"no-store");
        let body = zone::filled(own.content.as_bytes(), &course.id.to_string(), status, word);
        return reply(exchange, course, response, &body).await;
    }
    let own = course.site.as_ref().and_then(|site| {
        let page = site.zone.error_page(status)?;
        Some((page.filled(&course.id.to_string(), status, word), Cow::Owned(page.content_type.clone())))
    });
    let (body, kind) = match own {
        Some(own) => own,
        None => {
            let accept = exchange.request.fields.known(Known::Accept).unwrap_or_default();
            let mut body = Vec::new();
            let kind = write_page(&Page { status, word, message, cause, id: course.id }, accept, &mut body);
            (body, Cow::Borrowed(kind))
        }
    };
    response.fields.push(b"Content-Type", kind.as_bytes());
    response.fields.push(b"Cache-Control", b"no-store");
    reply(exchange, course, response, &body).await;
}

/// Answers with a refusal.
pub(crate) async fn refuse(
    exchange: &mut Exchange,
    course: &mut Course,
    refusal: Refusal,
    reason: &'static str,
) {
    refuse_as(exchange, course, refusal, refusal.status(), reason).await;
}

/// Answers with a refusal under another status than its own.
pub(crate) async fn refuse_as(
    exchange: &mut Exchange,
    course: &mut Course,
    refusal: Refusal,
    status: u16,
    reason: &'static str,
) {
    course.refusal = Some(refusal);
    course.reason = reason;
    let mut response = Response { status, ..Response::default() };
    match refusal {
        Refusal::Method => response.fields.push(b"Allow", METHODS),
        // Spread, so that those who were sent away together do not come back together.
        Refusal::Overload if course.shed.is_some() => {
            let after_s = [b'2' + course.id.spread(8)];
            response.fields.push(b"Retry-After", &after_s);
        }
        Refusal::FloodLimited | Refusal::DeadlyRequest => {
            response.fields.push(b"Retry-After", course.retry_s.to_string().as_bytes());
        }
        Refusal::Overload => response.fields.push(b"Retry-After", b"1"),
        _ => {}
    }
    if matches!(
        refusal,
        // After CONNECT a visitor may have sent what it believes to be a tunnel's bytes.
        Refusal::Method
            | Refusal::Malformed
            | Refusal::HeadTimeout
            | Refusal::BodyTimeout
            | Refusal::BodyTooLarge
    ) {
        exchange.close_after();
    }
    let (word, message, cause) = (refusal.as_str(), refusal.public_message(), refusal.cause());
    Box::pin(page(exchange, course, response, word, message, cause)).await;
}

/// Answers with a fault, or breaks the answer off if it has begun.
pub(crate) async fn fail(exchange: &mut Exchange, course: &mut Course, fault: Fault, node: &str) {
    course.fault = Some(fault);
    if exchange.state() != wire::ResponseState::Waiting {
        exchange.abort();
        return;
    }
    let mut response = Response { status: fault.status(), ..Response::default() };
    let value = format!("{node}; error={}", fault.as_str());
    response.fields.push(b"Proxy-Status", value.as_bytes());
    if let Some(status) = course.cache.status() {
        status.push_to(node, &mut response.fields);
    }
    if fault.status() == 503 {
        // Spread, as above.
        let after_s = [b'1' + course.id.spread(4)];
        response.fields.push(b"Retry-After", &after_s);
    }
    let (word, message, cause) = (fault.as_str(), fault.public_message(), fault.cause());
    Box::pin(page(exchange, course, response, word, message, cause)).await;
}

/// A redirect.
pub(crate) async fn redirect(exchange: &mut Exchange, course: &mut Course, status: u16, location: &[u8]) {
    let mut response = Response { status, ..Response::default() };
    response.fields.push_known(b"Location", location, Known::Location, false);
    reply(exchange, course, response, b"").await;
}
