//! From heads and chunks to values: the half of a transaction that is fed.
//!
//! It splits targets, queries and cookies, chooses the reader of a body, and holds the ceilings. Called by
//! the proxy through [`Transaction`], and by its `inspect` before a phase.

use fuel::{Fuel, Spent};

use super::{BodyState, Connection, Transaction};
use crate::body::xml::XmlProblem;
use crate::body::{self, Body, BodyError, Collection, Kind, Limits, Outcome, XmlArguments};
use crate::limits::{BODY_VALUES_TIMES_MAX, TEXT_BYTES_MAX};
use crate::transaction::values::Values;
use crate::transform::Transformation;
use crate::variable::Variable as V;
use crate::xml::{self, Document, Tree};

/// Steps per byte of reading a body: a reader copies, decodes and checks each once.
const READ_STEPS: u64 = 6;

/// The same for keeping an XML document as a tree.
const TREE_STEPS: u64 = 6;

/// Bytes of a file that `FILES_TMP_CONTENT` shows, when a rule looks at it.
const FILE_CONTENT_BYTES: usize = 16 * 1024;

impl Transaction {
    /// Sets what is known before the first byte.
    pub(super) fn open(&mut self, connection: &Connection<'_>) {
        let client = connection.client.to_canonical().to_string();
        let values = &mut self.values;
        values.set(V::RemoteAddr, client.as_bytes());
        values.set(V::RemoteHost, client.as_bytes());
        values.set(V::UseragentIp, client.as_bytes());
        values.set_number(V::RemotePort, u64::from(connection.client_port));
        values.set(V::ServerAddr, connection.server.to_canonical().to_string().as_bytes());
        values.set_number(V::ServerPort, u64::from(connection.server_port));
        values.set(V::UniqueId, connection.unique_id.as_bytes());
        values.set(V::Webappid, self.set.settings.web_app_id.as_bytes());
        values.set(V::ModsecBuild, b"030000100");
    }

    fn body_limits(&self) -> Limits {
        let settings = &self.set.settings;
        let defaults = Limits::default();
        Limits {
            arguments_max: settings.arguments,
            depth_max: settings.json_depth,
            files_max: settings.upload_files,
            value_bytes_max: self.request_body_max.max(TEXT_BYTES_MAX),
            // With the window, or a caller who inspects more would see less of it.
            total_bytes_max: defaults
                .total_bytes_max
                .max(self.request_body_max.saturating_mul(BODY_VALUES_TIMES_MAX)),
            argument_separator: settings.argument_separator,
            keeps_xml: self.set.keeps_xml,
            xml_arguments: self.state.xml_arguments,
            file_content_bytes_max: if self.set.prefilter.wants_file_content() {
                FILE_CONTENT_BYTES
            } else {
                0
            },
            ..defaults
        }
    }

    /// Takes the request's first line: method, target as sent, protocol (`HTTP/1.1`).
    pub fn request_line(&mut self, method: &[u8], target: &[u8], protocol: &[u8]) {
        let mut line = Vec::with_capacity(method.len() + target.len() + protocol.len() + 2);
        for (number, part) in
            [method, target, protocol].into_iter().filter(|part| !part.is_empty()).enumerate()
        {
            if number > 0 {
                line.push(b' ');
            }
            line.extend_from_slice(part);
        }
        let values = &mut self.values;
        values.set(V::RequestLine, &line);
        values.set(V::RequestMethod, method);
        values.set(V::RequestProtocol, protocol);
        values.set(V::RequestUriRaw, target);
        let local = local_part(target);
        // Decoded once, as ModSecurity 3 has it: an escape in the path is nowhere else.
        values.set(V::RequestUri, &unescaped(local));
        let question = local.iter().position(|byte| *byte == b'?');
        let path = &unescaped(local.get(..question.unwrap_or(local.len())).unwrap_or_default());
        let query = question.and_then(|at| local.get(at + 1..)).unwrap_or_default();
        values.set(V::RequestFilename, path);
        values.set(V::PathInfo, path);
        let slash = path.iter().rposition(|byte| matches!(byte, b'/' | b'\\'));
        values.set(V::RequestBasename, slash.and_then(|at| path.get(at + 1..)).unwrap_or(path));
        values.set(V::QueryString, query);
        if !query.is_empty() {
            let limits = self.body_limits();
            let mut sink = Intake { values: &mut self.values, args_bytes: &mut self.args_bytes };
            let outcome = body::query(query, &limits, &mut sink);
            if outcome.has_url_error {
                self.values.set(V::UrlencodedError, b"1");
            }
            if outcome.error.is_some() {
                self.uninspected.values = true;
            }
        }
    }

    /// Takes one field of the request's head, in the order they were sent.
    pub fn request_header(&mut self, name: &[u8], value: &[u8]) {
        self.values.add_named(V::RequestHeaders, V::RequestHeadersNames, name, value);
        if name.eq_ignore_ascii_case(b"cookie") {
            self.cookies(value);
        } else if name.eq_ignore_ascii_case(b"host") {
            self.values.set(V::ServerName, host_name(value));
        } else if name.eq_ignore_ascii_case(b"authorization") {
            self.authorization(value);
        }
    }

    fn cookies(&mut self, value: &[u8]) {
        for pair in value.split(|byte| *byte == b';') {
            let pair = pair.trim_ascii_start();
            if pair.is_empty() {
                continue;
            }
            let equals = pair.iter().position(|byte| *byte == b'=');
            let name = pair.get(..equals.unwrap_or(pair.len())).unwrap_or_default();
            let value = equals.and_then(|at| pair.get(at + 1..)).unwrap_or_default();
            self.values.add_named(V::RequestCookies, V::RequestCookiesNames, name, value);
        }
    }

    fn authorization(&mut self, value: &[u8]) {
        let blank = value.iter().position(|byte| *byte == b' ');
        let scheme = value.get(..blank.unwrap_or(value.len())).unwrap_or_default();
        self.values.set(V::AuthType, scheme);
        if scheme.eq_ignore_ascii_case(b"basic") {
            let mut decoded = Vec::new();
            let rest = blank.and_then(|at| value.get(at + 1..)).unwrap_or_default();
            Transformation::Base64DecodeExt.apply(rest, &mut decoded);
            let user = decoded.split(|byte| *byte == b':').next().unwrap_or_default();
            self.values.set(V::RemoteUser, user);
        }
    }

    /// Takes the next chunk of the request's body, after [`super::Phase::RequestHead`] was evaluated.
    ///
    /// # Errors
    ///
    /// [`Spent`] when the fuel does not suffice to read it; nothing of it was read.
    pub fn request_body(&mut self, chunk: &[u8], fuel: &mut Fuel) -> Result<(), Spent> {
        self.request_body_seen = self.request_body_seen.saturating_add(chunk.len() as u64);
        if !self.wants_request_body() || matches!(self.body, BodyState::Ended) {
            self.uninspected.request_body_bytes += chunk.len() as u64;
            return Ok(());
        }
        if matches!(self.body, BodyState::Awaited) {
            self.begin_body();
        }
        let keeps_raw = match &self.body {
            BodyState::Read { kind: Kind::Urlencoded, .. } => true,
            BodyState::Raw { is_kept } => *is_kept,
            _ => self.state.force_request_body,
        };
        let mut cut = 0;
        if keeps_raw {
            let room = self.request_body_max.saturating_sub(self.raw.len());
            let kept = chunk.get(..room).unwrap_or(chunk);
            fuel.spend(kept.len() as u64 / 4)?;
            self.raw.extend_from_slice(kept);
            cut = chunk.len() - kept.len();
        }
        let ceiling = self.request_body_max as u64;
        if let BodyState::Read { kind, body, is_cut } = &mut self.body {
            let room = ceiling.saturating_sub(body.bytes_without_files());
            // The content of files passes by a multipart reader at constant memory and does not count.
            let fed = if *kind == Kind::Multipart {
                if room == 0 { &[] } else { chunk }
            } else {
                chunk.get(..usize::try_from(room).unwrap_or(usize::MAX)).unwrap_or(chunk)
            };
            let steps = match kind {
                Kind::Multipart => 1,
                Kind::Xml if self.set.keeps_xml => READ_STEPS + TREE_STEPS,
                _ => READ_STEPS,
            };
            fuel.spend(fed.len() as u64 * steps)?;
            let mut sink = Intake { values: &mut self.values, args_bytes: &mut self.args_bytes };
            body.feed(fed, &mut sink);
            cut = chunk.len() - fed.len();
            *is_cut |= cut > 0;
        }
        self.uninspected.request_body_bytes += cut as u64;
        Ok(())
    }

    /// Says that so many more bytes of the request's body follow and are not fed, after the last chunk: its
    /// reader takes no offence at the end that is missing.
    pub fn request_body_left(&mut self, bytes: u64) {
        self.request_body_seen = self.request_body_seen.saturating_add(bytes);
        self.uninspected.request_body_bytes = self.uninspected.request_body_bytes.saturating_add(bytes);
        if let BodyState::Read { is_cut, .. } = &mut self.body {
            *is_cut = true;
        }
    }

    /// Opens the reader that the content type of a form, or a rule, chose.
    fn begin_body(&mut self) {
        self.body = match self.state.body_kind {
            Some(kind) => {
                let limits = self.body_limits();
                let body = Box::new(Body::new(kind, self.content_type(), &limits));
                BodyState::Read { kind, body, is_cut: false }
            }
            None => BodyState::Raw { is_kept: self.state.force_request_body },
        };
    }

    fn content_type(&self) -> &[u8] {
        self.values.named(V::RequestHeaders, b"content-type").unwrap_or_default()
    }

    /// Sets what a phase needs before its first rule.
    pub(super) fn prepare(&mut self, phase: u8, fuel: &mut Fuel) -> Result<(), Spent> {
        if self.phase < 1 {
            self.state.body_kind = form_kind(self.content_type());
            self.values.set_number(V::ArgsCombinedSize, self.args_bytes);
        }
        if phase >= 2 && self.phase < 2 {
            self.end_request_body(fuel)?;
        }
        if phase >= 4 && self.phase < 4 && !self.response.is_empty() {
            self.values.set(V::ResponseBody, &self.response);
            if self.uninspected.response_body_bytes > 0 {
                self.values.set(V::OutboundDataError, b"1");
            }
        }
        Ok(())
    }

    fn end_request_body(&mut self, fuel: &mut Fuel) -> Result<(), Spent> {
        let state = std::mem::replace(&mut self.body, BodyState::Ended);
        self.values.set_number(V::RequestBodyLength, self.request_body_seen);
        if let BodyState::Read { kind, body, is_cut } = state {
            let mut sink = Intake { values: &mut self.values, args_bytes: &mut self.args_bytes };
            let mut outcome = body.finish(&mut sink);
            if kind == Kind::Xml && self.set.keeps_xml {
                let tree = outcome.tree.take();
                self.keep_document(tree, outcome.error.as_ref(), is_cut, fuel)?;
            }
            // A body cut at the ceiling has no end, which is no fault of its own.
            let error = outcome.error.filter(|_| !is_cut).map(|error| error.to_string());
            self.set_body_error(error.as_deref());
            self.values.set_number(V::UrlencodedError, u64::from(outcome.has_url_error));
            if kind == Kind::Multipart {
                self.set_multipart(&outcome, is_cut);
            }
        } else {
            let awaits_xml = self.state.body_kind == Some(Kind::Xml) && self.state.request_body_access;
            if awaits_xml && self.set.keeps_xml && self.request_body_seen == 0 {
                // No body where one is read as XML is no document either.
                self.keep_document(None, None, false, fuel)?;
            }
            self.set_body_error(None);
        }
        if !self.raw.is_empty() {
            let raw = std::mem::take(&mut self.raw);
            self.values.set(V::RequestBody, &raw);
        }
        if self.uninspected.request_body_bytes > 0 {
            self.values.set(V::InboundDataError, b"1");
        }
        self.values.set_number(V::ArgsCombinedSize, self.args_bytes);
        Ok(())
    }

    /// Keeps a document for the rules that judge it, and makes values of the paths that rules look at;
    /// without a tree there is none, which is not valid.
    fn keep_document(
        &mut self,
        tree: Option<Box<Tree>>,
        error: Option<&BodyError>,
        is_cut: bool,
        fuel: &mut Fuel,
    ) -> Result<(), Spent> {
        // A cut document lacks its end, which is no fault; what was wrong before is one.
        let is_only_cut = |error: &BodyError| {
            is_cut && matches!(error, BodyError::Xml(error) if error.problem == XmlProblem::Truncated)
        };
        let is_broken = error.is_some_and(|error| !is_only_cut(error));
        let (tree, is_broken) = match tree {
            Some(tree) => (tree, is_broken),
            // Cut before its root.
            None if is_cut && !is_broken => return Ok(()),
            None => (Box::new(Tree::new()), true),
        };
        self.values.add(V::XmlDocument, b"", b"[XML document tree]");
        // Where elements are arguments alone, `XML` has no values; grammars judge the document all the same.
        let paths =
            if self.state.xml_arguments == XmlArguments::Only { &[][..] } else { &self.set.paths[..] };
        for (name, path) in paths {
            for place in path.select(&tree, fuel)? {
                let text = xml::path::text_of(&tree, place);
                fuel.spend(8 + text.len() as u64 / 4)?;
                self.values.add(V::XmlPath, name, text);
            }
        }
        self.state.document = Some(Box::new(Document::new(tree, is_broken)));
        Ok(())
    }

    fn set_body_error(&mut self, message: Option<&str>) {
        let flag: &[u8] = if message.is_some() { b"1" } else { b"0" };
        self.values.set(V::ReqbodyError, flag);
        self.values.set(V::ReqbodyProcessorError, flag);
        if let Some(message) = message {
            self.values.set(V::ReqbodyErrorMsg, message.as_bytes());
            self.values.set(V::ReqbodyProcessorErrorMsg, message.as_bytes());
        }
    }

    fn set_multipart(&mut self, outcome: &Outcome, is_cut: bool) {
        let flags = &outcome.multipart;
        let values = &mut self.values;
        values.set_number(V::FilesCombinedSize, outcome.files_bytes);
        // What a cut body lacks at its end is no fault of its own.
        let strict = flags.has_strict_error() && !is_cut;
        for (variable, flag) in [
            (V::MultipartStrictError, strict),
            (V::MultipartBoundaryQuoted, flags.boundary_quoted),
            (V::MultipartBoundaryWhitespace, flags.boundary_whitespace),
            (V::MultipartCrlfLfLines, flags.has_mixed_lines()),
            (V::MultipartDataAfter, flags.data_after),
            (V::MultipartDataBefore, flags.data_before),
            (V::MultipartFileLimitExceeded, flags.file_limit_exceeded),
            (V::MultipartHeaderFolding, flags.header_folding),
            (V::MultipartInvalidHeaderFolding, flags.invalid_header_folding),
            (V::MultipartInvalidPart, flags.invalid_part),
            (V::MultipartInvalidQuoting, flags.invalid_quoting),
            (V::MultipartLfLine, flags.lf_line),
            (V::MultipartMissingSemicolon, flags.missing_semicolon),
            (V::MultipartSemicolonMissing, flags.missing_semicolon),
        ] {
            values.set_number(variable, u64::from(flag));
        }
        values.set_number(V::MultipartUnmatchedBoundary, u64::from(flags.unmatched_boundary));
    }

    /// Takes the response's status and protocol.
    pub fn response_line(&mut self, status: u16, protocol: &[u8]) {
        let values = &mut self.values;
        values.set_number(V::ResponseStatus, u64::from(status));
        // Another name of it, which ModSecurity 3 has.
        values.set_number(V::Status, u64::from(status));
        values.set(V::ResponseProtocol, protocol);
        let line = [protocol, b" ", status.to_string().as_bytes()].concat();
        values.set(V::StatusLine, &line);
    }

    /// Takes one field of the response's head.
    pub fn response_header(&mut self, name: &[u8], value: &[u8]) {
        self.values.add_named(V::ResponseHeaders, V::ResponseHeadersNames, name, value);
        if name.eq_ignore_ascii_case(b"content-type") {
            let kind = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            self.values.set(V::ResponseContentType, kind);
            let folded = kind.to_ascii_lowercase();
            self.wants_response_body =
                self.set.settings.response_body_types.iter().any(|one| one.as_bytes() == folded);
        } else if name.eq_ignore_ascii_case(b"content-length") {
            self.values.set(V::ResponseContentLength, value);
        }
    }

    /// Takes the next chunk of the response's body, after [`super::Phase::ResponseHead`] was evaluated.
    ///
    /// # Errors
    ///
    /// [`Spent`] when the fuel does not suffice to keep it.
    pub fn response_body(&mut self, chunk: &[u8], fuel: &mut Fuel) -> Result<(), Spent> {
        self.response_body_seen = self.response_body_seen.saturating_add(chunk.len() as u64);
        let room = if self.wants_response_body() { self.response_body_max - self.response.len() } else { 0 };
        let kept = chunk.get(..room).unwrap_or(chunk);
        fuel.spend(kept.len() as u64 / 4)?;
        self.response.extend_from_slice(kept);
        self.uninspected.response_body_bytes += (chunk.len() - kept.len()) as u64;
        Ok(())
    }
}

/// Puts what a reader hands over where variables find it.
struct Intake<'a> {
    values: &'a mut Values,
    args_bytes: &'a mut u64,
}

impl body::Sink for Intake<'_> {
    fn take(&mut self, collection: Collection, name: &[u8], value: &[u8]) {
        let values = &mut *self.values;
        let bytes = (name.len() + value.len()) as u64;
        match collection {
            Collection::Args => {
                *self.args_bytes += bytes;
                values.add_named(V::Args, V::ArgsNames, name, value);
            }
            Collection::ArgsGet => {
                *self.args_bytes += bytes;
                values.add_named(V::ArgsGet, V::ArgsGetNames, name, value);
            }
            Collection::ArgsPost => {
                *self.args_bytes += bytes;
                values.add_named(V::ArgsPost, V::ArgsPostNames, name, value);
            }
            Collection::Files => values.add(V::Files, name, value),
            Collection::FilesNames => values.add(V::FilesNames, name, value),
            Collection::FilesSizes => values.add(V::FilesSizes, name, value),
            Collection::FilesTmpContent => values.add(V::FilesTmpContent, name, value),
            Collection::MultipartPartHeaders => values.add(V::MultipartPartHeaders, name, value),
            Collection::MultipartName => values.add(V::MultipartName, name, value),
            Collection::MultipartFilename => values.add(V::MultipartFilename, name, value),
            Collection::XmlText => values.add(V::XmlText, name, value),
            Collection::XmlAttributes => values.add(V::XmlAttributes, name, value),
        }
    }
}

/// The format of a form, by its content type.
fn form_kind(content_type: &[u8]) -> Option<Kind> {
    let begins =
        |prefix: &[u8]| content_type.get(..prefix.len()).is_some_and(|own| own.eq_ignore_ascii_case(prefix));
    if begins(b"application/x-www-form-urlencoded") {
        Some(Kind::Urlencoded)
    } else if begins(b"multipart/form-data") {
        Some(Kind::Multipart)
    } else {
        None
    }
}

/// A target without scheme and host: what follows them, from the first slash on (RFC 9112 §3.2.2).
fn local_part(target: &[u8]) -> &[u8] {
    if target.first() == Some(&b'/') {
        return target;
    }
    let Some(at) = memchr::memmem::find(target, b"://") else { return target };
    let scheme = target.get(..at).unwrap_or_default();
    if scheme.is_empty() || !scheme.iter().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(byte)) {
        return target;
    }
    let rest = target.get(at + 3..).unwrap_or_default();
    match rest.iter().position(|byte| matches!(byte, b'/' | b'?')) {
        Some(start) => rest.get(start..).unwrap_or_default(),
        None => b"/",
    }
}

/// A path with its `%HH` decoded, once; `+` and broken escapes stay.
fn unescaped(path: &[u8]) -> Vec<u8> {
    let digit =
        |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16)).map(|digit| digit as u8);
    let mut out = Vec::with_capacity(path.len());
    let mut at = 0;
    while let Some(byte) = path.get(at) {
        match (byte, digit(path.get(at + 1)), digit(path.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(high * 16 + low);
                at += 3;
            }
            _ => {
                out.push(*byte);
                at += 1;
            }
        }
    }
    out
}

/// A host without its port.
fn host_name(host: &[u8]) -> &[u8] {
    if host.first() == Some(&b'[') {
        let end = host.iter().position(|byte| *byte == b']').map_or(host.len(), |at| at + 1);
        return host.get(..end).unwrap_or(host);
    }
    host.split(|byte| *byte == b':').next().unwrap_or_default()
}
