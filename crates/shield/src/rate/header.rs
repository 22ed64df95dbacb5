//! Fields that tell a visitor about limits.
//!
//! `RateLimit` and `RateLimit-Policy` as draft-ietf-httpapi-ratelimit-headers-10 has them (structured fields,
//! RFC 9651), `Retry-After` as RFC 9110 §10.2.3 in seconds. Times are rounded up: a visitor who waits that
//! long may try.

use super::{Decision, Limit};

fn seconds(ms: u64) -> u64 {
    ms.div_ceil(1000)
}

/// A name as a structured string: what may not stand in one is left out.
fn quoted(name: &str) -> String {
    let kept =
        name.chars().filter(|character| (' '..='~').contains(character) && !matches!(character, '"' | '\\'));
    format!("\"{}\"", kept.collect::<String>())
}

/// The value of `RateLimit-Policy` for a rule: `"name";q=100;w=60`.
#[must_use]
pub fn policy_field(name: &str, limit: &Limit) -> String {
    format!("{};q={};w={}", quoted(name), limit.threshold(), seconds(limit.period_ms()))
}

/// The value of `RateLimit` for a rule: `"name";r=12;t=34`.
#[must_use]
pub fn rate_limit_field(name: &str, decision: &Decision) -> String {
    let (remaining, ms) = match decision {
        Decision::Within { remaining, reset_ms } => (*remaining, *reset_ms),
        Decision::Over { retry_ms } => (0, *retry_ms),
    };
    format!("{};r={remaining};t={}", quoted(name), seconds(ms))
}

/// The value of `Retry-After` for a refusal: whole seconds, at least one.
#[must_use]
pub fn retry_after(retry_ms: u64) -> u64 {
    seconds(retry_ms).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_structured_and_rounded_up() {
        let limit = Limit::new(100, 60_000, 0).unwrap();
        assert_eq!(policy_field("login", &limit), "\"login\";q=100;w=60");
        let within = Decision::Within { remaining: 12, reset_ms: 33_001 };
        assert_eq!(rate_limit_field("lo\"g\\in\r\n", &within), "\"login\";r=12;t=34");
        assert_eq!(rate_limit_field("a", &Decision::Over { retry_ms: 10 }), "\"a\";r=0;t=1");
        assert_eq!([retry_after(0), retry_after(1000), retry_after(1001)], [1, 1, 2]);
    }
}
