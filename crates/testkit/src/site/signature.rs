//! Request signatures in the manner of S3 (AWS Signature Version 4), made and checked.
//!
//! A signature covers method, path, query, chosen fields and the body's hash, so a proxy that touches any of
//! them breaks it. One key pair, one date, no clock. Called by [`super::objects`]. Read next:
//! [`super::objects`].

use anyhow::{Context as _, Result, ensure};

use crate::digest::{hex, hmac_sha256, sha256_hex};
use crate::fields::Fields;
use crate::origin::Request;

/// The time every request is signed for.
pub const AMZ_DATE: &str = "20261101T120000Z";
const DAY: &str = "20261101";
const KEY_ID: &str = "TESTKITKEYID00000001";
const SECRET: &str = "testkit/secret+key";
const SCOPE: &str = "20261101/eu-central-1/s3/aws4_request";

/// The fields that sign a request: `extra` (signed too), `x-amz-date`, `x-amz-content-sha256`,
/// `Authorization`.
pub fn signed_fields(
    method: &str,
    target: &str,
    host: &str,
    payload: &str,
    extra: &[(&str, &str)],
) -> Fields {
    let mut fields = Fields::of(extra);
    fields.push("x-amz-date", AMZ_DATE);
    fields.push("x-amz-content-sha256", payload);
    let mut names: Vec<String> = fields.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.push("host".to_owned());
    names.sort();
    names.dedup();
    let signature = signature(method, target, host, &fields, &names, payload);
    fields.push(
        "Authorization",
        format!(
            "AWS4-HMAC-SHA256 Credential={KEY_ID}/{SCOPE}, SignedHeaders={}, Signature={signature}",
            names.join(";")
        ),
    );
    fields
}

/// Checks a request's signature over what arrived, and the body against the hash it was signed with.
///
/// # Errors
/// When anything signed is not as it was; the error says what.
pub fn check(request: &Request) -> Result<()> {
    let authorization = request.fields.all("authorization");
    ensure!(authorization.len() == 1, "{} Authorization fields", authorization.len());
    let text = authorization.first().context("no Authorization")?;
    let rest = text.strip_prefix("AWS4-HMAC-SHA256 ").context("another scheme")?;
    let part = |name: &str| {
        rest.split(", ")
            .find_map(|part| part.strip_prefix(name))
            .with_context(|| format!("no {name} in {text}"))
    };
    ensure!(part("Credential=")? == format!("{KEY_ID}/{SCOPE}"), "another key");
    let names: Vec<String> = part("SignedHeaders=")?.split(';').map(str::to_owned).collect();
    ensure!(names.iter().any(|name| name == "host"), "Host is not signed");
    let payload = request.fields.first("x-amz-content-sha256").context("no x-amz-content-sha256")?;
    let expected =
        signature(&request.method, &request.target, &request.authority, &request.fields, &names, payload);
    ensure!(part("Signature=")? == expected, "the signature does not match what arrived");
    let is_hash = payload.len() == 64;
    ensure!(!is_hash || payload == request.body_sha256, "the body is not the one that was signed");
    Ok(())
}

fn signature(
    method: &str,
    target: &str,
    host: &str,
    fields: &Fields,
    names: &[String],
    payload: &str,
) -> String {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut pairs: Vec<String> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| if pair.contains('=') { pair.to_owned() } else { format!("{pair}=") })
        .collect();
    pairs.sort();
    let mut lines = String::new();
    for name in names {
        let value = if name == "host" { host.to_owned() } else { fields.all(name).join(",") };
        lines.push_str(&format!("{name}:{value}\n"));
    }
    let canonical = format!("{method}\n{path}\n{}\n{lines}\n{}\n{payload}", pairs.join("&"), names.join(";"));
    let to_sign = format!("AWS4-HMAC-SHA256\n{AMZ_DATE}\n{SCOPE}\n{}", sha256_hex(canonical.as_bytes()));
    let mut key = format!("AWS4{SECRET}").into_bytes();
    for part in [DAY, "eu-central-1", "s3", "aws4_request"] {
        key = hmac_sha256(&key, part.as_bytes());
    }
    hex(&hmac_sha256(&key, to_sign.as_bytes()))
}
