//! How often a request may still be passed on: `Max-Forwards` (RFC 9110 §7.6.2).
//!
//! It is for who looks along a way of proxies, and holds for OPTIONS. TRACE is not served, and for other
//! methods the field may be left alone, which it is. Caller: `pipeline.rs`, once a request is to go to an
//! origin.

use exchange::{BodySize, Method, Request, Response};
use wire::Exchange;

use crate::course::Course;
use crate::refuse::{METHODS, reply};

const NAME: &[u8] = b"max-forwards";

/// Takes one off, if the request has such a field; whether it must go no further. What is no number says
/// nothing, and is passed on as it is; of more than one field nobody can say which holds.
pub(crate) fn is_last(request: &mut Request) -> bool {
    if request.method != Method::Options {
        return false;
    }
    let Some((name, left)) = only_field(request) else { return false };
    let Some(left) = left.checked_sub(1) else { return true };
    request.fields.set(&name, itoa::Buffer::new().format(left).as_bytes());
    false
}

/// Its name as it was written, and its number.
fn only_field(request: &Request) -> Option<(Vec<u8>, u32)> {
    let mut fields = request.fields.iter().filter(|field| field.name.eq_ignore_ascii_case(NAME));
    let (Some(field), None) = (fields.next(), fields.next()) else { return None };
    let is_number = !field.value.is_empty() && field.value.iter().all(u8::is_ascii_digit);
    // More than fits is more than there are proxies.
    let left = std::str::from_utf8(field.value).ok()?.parse().unwrap_or(u32::MAX);
    is_number.then(|| (field.name.to_vec(), left))
}

/// Answers as the last on the way: what is asked about is the proxy itself.
pub(crate) async fn answer_as_last(exchange: &mut Exchange, course: &mut Course) {
    let mut response = Response { status: 200, body: BodySize::None, ..Response::default() };
    response.fields.push(b"Allow", METHODS);
    response.fields.push(b"Cache-Control", b"no-store");
    reply(exchange, course, response, b"").await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(method: &[u8], values: &[&str]) -> (bool, Vec<String>) {
        let mut request = Request::default();
        request.set_method(method);
        for value in values {
            request.fields.push(b"Max-Forwards", value.as_bytes());
        }
        let is_last = is_last(&mut request);
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        (is_last, request.fields.iter().map(|field| text(field.value)).collect())
    }

    #[test]
    fn one_is_taken_off_and_none_goes_no_further() {
        assert_eq!(counted(b"OPTIONS", &["10"]), (false, vec!["9".to_owned()]));
        assert_eq!(counted(b"OPTIONS", &["1"]), (false, vec!["0".to_owned()]));
        assert!(counted(b"OPTIONS", &["0"]).0);
        assert!(counted(b"OPTIONS", &["000"]).0);
        assert_eq!(counted(b"OPTIONS", &[]), (false, vec![]));
    }

    #[test]
    fn more_than_fits_is_cut_to_what_does() {
        assert_eq!(counted(b"OPTIONS", &["99999999999999999999"]), (false, vec!["4294967294".to_owned()]));
    }

    #[test]
    fn other_methods_and_what_is_no_number_are_left_alone() {
        for (method, value) in [
            ("GET", "0"),
            ("POST", "3"),
            ("OPTIONS", ""),
            ("OPTIONS", "-1"),
            ("OPTIONS", "1, 2"),
            ("OPTIONS", "x"),
        ] {
            assert_eq!(
                counted(method.as_bytes(), &[value]),
                (false, vec![value.to_owned()]),
                "{method} {value}"
            );
        }
        assert!(!counted(b"OPTIONS", &["0", "1"]).0, "which of them holds?");
    }
}
