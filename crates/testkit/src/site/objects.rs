//! An object store in the manner of S3: large objects, ranges, ETags, multipart uploads, signed requests.
//!
//! Every request must carry a good signature ([`super::signature`]); otherwise 403 with an XML error that
//! says what does not match. Objects are made up from their key and hashed on the way in: nothing is stored.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET`, `HEAD /bucket/gen/N` | N bytes; ETag, ranges, `x-amz-meta-*`, `response-content-*` in the query |
//! | `PUT /bucket/KEY` | ETag is the body's hash |
//! | `POST /bucket/KEY?uploads`, `PUT ?partNumber=&uploadId=`, `POST ?uploadId=` | a multipart upload |
//! | `DELETE /bucket/KEY` | 204 |
//! | `GET /bucket?list-type=2&…` | XML |
//!
//! Called by end-to-end tests. Read next: [`super::signature`].

use anyhow::Result;

use super::{Body, Call, DATE, Gates, Range, Site, range_of, signature};
use crate::digest::sha256_hex;
use crate::fields::Fields;
use crate::origin::{Answer, OriginSpec, Request};

const HOST: &str = "objects.example";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
const MODIFIED: &str = "Wed, 14 Oct 2026 09:00:00 GMT";

/// Starts the site `objects.example`.
///
/// # Errors
/// When no socket can be had.
pub fn start() -> Result<Site> {
    let origin = OriginSpec::new().answering(answer)?;
    Ok(Site { hostname: HOST, origin, calls: calls(), gates: Gates::default() })
}

/// A signed download of so many made-up bytes: any size, constant memory at both ends.
pub fn download(name: &str, length: u64) -> Call {
    signed(Call::get(name, format!("/bucket/gen/{length}")), UNSIGNED, &[])
}

/// A signed upload of so many made-up bytes, its body not part of the signature but hashed into the answer.
pub fn upload(name: &str, length: u64) -> Call {
    signed(Call::new(name, "PUT", format!("/bucket/up/{length}")).pattern(length, length), UNSIGNED, &[])
}

fn xml(status: u16, text: String) -> Answer {
    Answer::new(status)
        .part(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{text}"))
        .field("Content-Type", "application/xml")
}

fn answer(request: &Request) -> Answer {
    let answer = match signature::check(request) {
        Ok(()) => signed_answer(request),
        Err(error) => {
            xml(403, format!("<Error><Code>SignatureDoesNotMatch</Code><Message>{error}</Message></Error>"))
        }
    };
    answer
        .field("x-amz-request-id", "4442587FB7D0A2F9")
        .field("x-amz-id-2", "vlR7PnpV2Ce81l0PRw6jlUpck7Jo5ZsQjryTjKlc5aLWGVHPZLj5NeC6qMa0emYBDXOo6QBU0Wo=")
        .field("Server", "AmazonS3")
        .field("Date", DATE)
}

fn signed_answer(request: &Request) -> Answer {
    let path = request.path();
    let key = path.strip_prefix("/bucket/").unwrap_or_default();
    let upload_id = sha256_hex(key.as_bytes()).get(..20).unwrap_or_default().to_owned();
    match request.method.as_str() {
        "GET" | "HEAD" => match key.strip_prefix("gen/").and_then(|length| length.parse().ok()) {
            Some(length) => object(request, length),
            None if path == "/bucket" => list(request),
            None => xml(404, format!("<Error><Code>NoSuchKey</Code><Key>{key}</Key></Error>")),
        },
        "PUT" if request.has_parameter("partNumber") && request.parameter("uploadId") != Some(&upload_id) => {
            xml(404, "<Error><Code>NoSuchUpload</Code></Error>".to_owned())
        }
        "PUT" => Answer::new(200)
            .field("ETag", format!("\"{}\"", request.body_sha256))
            .field("x-amz-server-side-encryption", "AES256"),
        "POST" if request.has_parameter("uploads") => xml(
            200,
            format!(
                "<InitiateMultipartUploadResult><UploadId>{upload_id}</UploadId>\
                 </InitiateMultipartUploadResult>"
            ),
        ),
        "POST" => xml(
            200,
            format!(
                "<CompleteMultipartUploadResult><Key>{key}</Key><ETag>\"{}-{}\"</ETag>\
                 </CompleteMultipartUploadResult>",
                request.body_sha256,
                String::from_utf8_lossy(&request.body).matches("<Part>").count()
            ),
        ),
        "DELETE" => Answer::new(204).field("x-amz-delete-marker", "true"),
        _ => xml(405, "<Error><Code>MethodNotAllowed</Code></Error>".to_owned()),
    }
}

fn object(request: &Request, length: u64) -> Answer {
    let tag = format!("\"obj-{length}\"");
    let kind =
        request.parameter("response-content-type").unwrap_or("binary%2Foctet-stream").replace("%2F", "/");
    let fields = |answer: Answer| {
        answer
            .field("ETag", tag.clone())
            .field("Last-Modified", MODIFIED)
            .field("Accept-Ranges", "bytes")
            .field("x-amz-meta-Owner", "Zo\u{eb}")
            .field("x-amz-version-id", "3HL4kqtJlcpXroDTDmJ+rmSpXd3dIbrHY")
    };
    if request.fields.first("if-none-match") == Some(tag.as_str()) {
        return fields(Answer::new(304));
    }
    match range_of(request.fields.first("range"), length) {
        Range::Whole => fields(Answer::new(200).pattern(length, 0, length)).field("Content-Type", kind),
        Range::Part(first, last) => fields(Answer::new(206).pattern(length, first, last - first + 1))
            .field("Content-Type", kind)
            .field("Content-Range", format!("bytes {first}-{last}/{length}")),
        Range::Unsatisfiable => xml(416, "<Error><Code>InvalidRange</Code></Error>".to_owned()),
    }
}

fn list(request: &Request) -> Answer {
    let prefix = request.parameter("prefix").unwrap_or_default();
    let keys: String =
        (0..50).map(|number| format!("<Contents><Key>{prefix}{number}</Key></Contents>")).collect();
    xml(200, format!("<ListBucketResult><Prefix>{prefix}</Prefix>{keys}</ListBucketResult>"))
}

/// Signs a call as it stands; `extra` fields are added and signed.
fn signed(call: Call, payload: &str, extra: &[(&str, &str)]) -> Call {
    let mut fields: Fields = signature::signed_fields(&call.method, &call.target, HOST, payload, extra);
    for (name, value) in call.fields.iter() {
        fields.push(name, value);
    }
    Call { fields, ..call }
}

/// Signs a call with its body's hash.
fn sealed(call: Call, extra: &[(&str, &str)]) -> Call {
    let hash = call.body.sha256_hex();
    signed(call, &hash, extra)
}

fn calls() -> Vec<Call> {
    const MIB: u64 = 1 << 20;
    let upload_id = sha256_hex(b"big.bin").get(..20).unwrap_or_default().to_owned();
    let part = |number: u64| {
        let target = format!("/bucket/big.bin?partNumber={number}&uploadId={upload_id}");
        sealed(
            Call::new(&format!("part {number} of a multipart upload"), "PUT", target)
                .pattern(number, 5 * MIB),
            &[],
        )
    };
    let get = |name: &str, length: u64| Call::get(name, format!("/bucket/gen/{length}"));
    let ranged = |name: &str, range: &str| sealed(get(name, 50 * MIB), &[("Range", range)]).expecting(206);
    let streamed = Body::Bytes(b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n".to_vec());
    let mut forged = sealed(get("a forged signature", 10), &[]);
    forged.target.push_str("?versionId=1");
    vec![
        sealed(get("a small object", 10), &[]),
        sealed(get("an empty object", 0), &[]),
        download("an object of 64 MiB", 64 * MIB),
        sealed(Call::new("an object's head", "HEAD", "/bucket/gen/99999999999"), &[]),
        ranged("the first MiB", "bytes=0-1048575"),
        ranged("a MiB in the middle", "bytes=26214400-27262975"),
        ranged("the last bytes", "bytes=-777"),
        sealed(get("beyond the end", 10), &[("Range", "bytes=10-")]).expecting(416),
        sealed(get("an object not modified", 10), &[("If-None-Match", "\"obj-10\"")]).expecting(304),
        sealed(
            Call::get("a download under another type", "/bucket/gen/7?response-content-type=text%2Fplain"),
            &[],
        ),
        sealed(Call::get("a key with odd letters", "/bucket/a%20b/%2B~(c)*'!%C3%A9"), &[]).expecting(404),
        sealed(Call::get("a path that must not be tidied", "/bucket//a/../b/./c%2F"), &[]).expecting(404),
        sealed(Call::get("a listing", "/bucket?list-type=2&prefix=img%2F&delimiter=%2F&max-keys=50"), &[]),
        sealed(
            Call::new("a small upload", "PUT", "/bucket/small.txt").body("hello"),
            &[("Content-Type", "text/plain"), ("x-amz-meta-Title", "a  b"), ("x-amz-acl", "private")],
        ),
        sealed(Call::new("an empty upload", "PUT", "/bucket/empty"), &[("x-amz-storage-class", "GLACIER")]),
        sealed(
            Call::new("an upload that waits for 100", "PUT", "/bucket/mid.bin")
                .pattern(1, 8 * MIB)
                .field("Expect", "100-continue"),
            &[("Content-MD5", "XUFAKrxLKna5cZ2REBfFkg==")],
        ),
        upload("an upload of 32 MiB", 32 * MIB),
        signed(
            Call { body: streamed, ..Call::new("a body in chunks of its own", "PUT", "/bucket/streamed") },
            "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            &[("Content-Encoding", "aws-chunked"), ("x-amz-trailer", "x-amz-checksum-crc32")],
        ),
        sealed(Call::new("the beginning of a multipart upload", "POST", "/bucket/big.bin?uploads"), &[]),
        part(1),
        part(2),
        sealed(
            Call::new(
                "the end of a multipart upload",
                "POST",
                format!("/bucket/big.bin?uploadId={upload_id}"),
            )
            .body("<CompleteMultipartUpload><Part>1</Part><Part>2</Part></CompleteMultipartUpload>"),
            &[],
        ),
        sealed(Call::new("a removal", "DELETE", "/bucket/small.txt"), &[]).expecting(204),
        forged.expecting(403),
        Call::get("no signature", "/bucket/gen/10").expecting(403),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::visitor::Visitor;

    #[test]
    fn a_changed_byte_anywhere_breaks_the_signature() {
        let site = start().unwrap();
        let call = site.call("a small upload").unwrap();
        let ask = |target: &str, fields: &Fields, body: &[u8]| {
            Visitor::tcp(site.address()).unwrap().ask("PUT", target, HOST, fields, body).unwrap().status
        };
        let changed = |name: &str, value: &str| -> Fields {
            let change = |(have, was): (&str, &str)| {
                (have.to_owned(), if have == name { value.to_owned() } else { was.to_owned() })
            };
            call.fields.iter().map(change).collect()
        };
        assert_eq!(ask(&call.target, &call.fields, b"hello"), 200);
        assert_eq!(ask(&call.target, &call.fields, b"hellO"), 403);
        assert_eq!(ask("/bucket/small%2Etxt", &call.fields, b"hello"), 403);
        assert_eq!(ask(&call.target, &changed("x-amz-meta-Title", "a b"), b"hello"), 403);
        assert_eq!(ask(&call.target, &changed("Content-Type", "text/plain; charset=utf-8"), b"hello"), 403);
    }
}
