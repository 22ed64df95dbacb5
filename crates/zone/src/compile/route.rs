//! Compiles a zone's `[[route]]` entries.
//!
//! How a compiled route matches is [`crate::route`]'s. Called by [`super::compile`].

use std::collections::HashSet;
use std::sync::Arc;

use super::Compiler;
use crate::id::Id;
use crate::limits::{CONDITIONS_MAX, ROUTES_MAX};
use crate::read::Placed;
use crate::read::values::{Text, is_token, quoted};
use crate::route::{Action, HeaderMatch, Location, Matcher, PLACEHOLDERS, PathMatch, Route};
use crate::spec::{RouteSpec, ZoneSpec};

impl Compiler<'_> {
    pub(super) fn routes(&mut self, spec: &ZoneSpec, zone: &str) -> Vec<Route> {
        if spec.route.0.len() > ROUTES_MAX {
            self.report.error(spec.route.place, format!("more than {ROUTES_MAX} routes in one zone"));
        }
        let mut routes = Vec::new();
        let mut names = HashSet::new();
        let mut ids = HashSet::new();
        for (index, route) in spec.route.0.iter().enumerate().take(ROUTES_MAX) {
            let name = route.name.as_ref().map_or_else(|| format!("#{}", index + 1), |name| name.0.clone());
            if let Some(written) = &route.name
                && !names.insert(name.clone())
            {
                self.report.error(written.place, format!("another route is named {} too", quoted(&name)));
            }
            let id = route.id.as_ref().map_or_else(|| Id::derived("route", zone, &name), |id| id.value);
            if let Some(written) = &route.id
                && !ids.insert(id)
            {
                self.report.error(written.place, "another route has this id too");
            }
            let matcher = self.matcher(route);
            self.warn_hidden(route, &matcher, &routes);
            if let Some(action) = self.action(spec, route) {
                routes.push(Route { id, name, matcher, action });
            }
        }
        routes
    }

    /// Warns of a route that no request comes to, since one before it takes all that it would: elsewhere the
    /// longest path may win, here the first does.
    fn warn_hidden(&mut self, route: &Placed<RouteSpec>, matcher: &Matcher, before: &[Route]) {
        let Some(hides) = before.iter().find(|earlier| earlier.matcher.takes_all_of(matcher)) else { return };
        let message =
            format!("no request comes to this route: the route {} takes them all", quoted(&hides.name));
        self.report.warning(route.place, message, "the first that matches wins: move this one before it");
    }

    fn matcher(&mut self, route: &Placed<RouteSpec>) -> Matcher {
        for path in [&route.path, &route.path_prefix].into_iter().flatten() {
            self.path_condition(path);
        }
        let path = match (&route.path, &route.path_prefix) {
            (Some(path), Some(prefix)) => {
                self.report.error_with(
                    prefix.place,
                    "a route has either path or path_prefix",
                    "leave one out",
                );
                PathMatch::Exact(path.0.clone().into_bytes())
            }
            (Some(path), None) => PathMatch::Exact(path.0.clone().into_bytes()),
            (None, Some(prefix)) => PathMatch::Prefix(prefix.0.clone().into_bytes()),
            (None, None) => PathMatch::Any,
        };
        let mut methods = Vec::new();
        if let Some(written) = &route.method {
            self.conditions(written.0.len(), written.place);
            for method in written.0.iter().take(CONDITIONS_MAX) {
                self.method(method);
                methods.push(method.0.clone());
            }
        }
        let mut headers = Vec::new();
        if let Some(written) = &route.header {
            self.conditions(written.0.len(), written.place);
            for header in written.0.iter().take(CONDITIONS_MAX) {
                if let Some(name) = &header.name {
                    headers.push(HeaderMatch {
                        name: name.0.clone(),
                        equals: header.equals.as_ref().map(|text| text.0.clone().into_bytes()),
                    });
                }
            }
        }
        Matcher { path, methods, headers }
    }

    fn conditions(&mut self, count: usize, place: crate::problem::Place) {
        if count == 0 {
            self.report.error(place, "this must not be empty");
        }
        if count > CONDITIONS_MAX {
            self.report.error(place, format!("more than {CONDITIONS_MAX} in one route"));
        }
    }

    /// Reports what is no method; RFC 9110 §9.1 makes methods differ by case.
    pub(super) fn method(&mut self, method: &Placed<Text>) {
        if !method.0.bytes().all(is_token) {
            self.report.error(method.place, format!("{} is no method", quoted(&method.0)));
        } else if method.0.bytes().any(|byte| byte.is_ascii_lowercase()) {
            let message =
                format!("{} would match no usual request: methods differ by case", quoted(&method.0));
            let suggestion = format!("did you mean \"{}\"?", method.0.to_ascii_uppercase());
            self.report.error_with(method.place, message, suggestion);
        }
    }

    fn path_condition(&mut self, path: &Placed<Text>) {
        if !path.0.starts_with('/') {
            let suggestion = format!("did you mean \"/{}\"?", path.0);
            self.report.error_with(path.place, "a path begins with a slash", suggestion);
        } else if path.0.contains(['?', '#']) {
            self.report.error(path.place, "a path has no query and no fragment");
        } else if !path.0.bytes().all(|byte| byte.is_ascii_graphic()) {
            self.report.error_with(
                path.place,
                "paths are compared as sent",
                "percent-encode spaces and letters above ASCII",
            );
        }
    }

    fn action(&mut self, spec: &ZoneSpec, route: &Placed<RouteSpec>) -> Option<Action> {
        let count = usize::from(route.pool.is_some())
            + usize::from(route.redirect.is_some())
            + usize::from(route.answer.is_some());
        if count > 1 {
            let message = "a route has only one of pool, redirect and answer";
            self.report.error(route.place, message);
        }
        if route.strip_prefix.value && route.path_prefix.is_none() {
            let message = "strip_prefix needs a path_prefix";
            self.report.error(route.strip_prefix.place, message);
        }
        if let Some(name) = &route.pool {
            let pool = self.pool_index(spec, name)?;
            let prefix = route.path_prefix.as_ref().filter(|_| route.strip_prefix.value);
            let strip_prefix = prefix.map(|prefix| prefix.0.trim_end_matches('/').len());
            return Some(Action::Pool { pool, strip_prefix });
        }
        if let Some(redirect) = &route.redirect {
            if !matches!(redirect.status.0, 301 | 302 | 303 | 307 | 308) {
                self.report.error(redirect.status.place, "this must be 301, 302, 303, 307 or 308");
            }
            let location = self.location(redirect.location.as_ref()?)?;
            return Some(Action::Redirect { status: u16::try_from(redirect.status.0).ok()?, location });
        }
        if let Some(answer) = &route.answer {
            self.header_value(&answer.content_type);
            if matches!(answer.status.0, 204 | 205 | 304) && !answer.body.0.is_empty() {
                let message = format!("an answer with status {} has no body", answer.status.0);
                self.report.error_with(answer.body.place, message, "leave body out (RFC 9110 §15)");
            }
            return Some(Action::Answer {
                status: u16::try_from(answer.status.0).ok()?,
                content_type: answer.content_type.0.clone(),
                body: Arc::from(answer.body.0.as_bytes()),
            });
        }
        let message = "the route says nothing to do";
        self.report.missing(route.place, message, "write pool, redirect or answer".to_owned());
        None
    }

    fn location(&mut self, text: &Placed<Text>) -> Option<Location> {
        const STARTS: &[&str] = &["/", "http://", "https://", "$scheme://", "$path"];
        if !STARTS.iter().any(|start| text.0.starts_with(start)) {
            let message = format!("{} is no place to redirect to", quoted(&text.0));
            self.report.error_with(text.place, message, "begin it with https://, http:// or a slash");
        }
        match Location::parse(&text.0) {
            Ok(location) => Some(location),
            Err(unknown) => {
                let message = format!("there is no ${unknown} to replace");
                let suggestion = match crate::read::nearest(&unknown, PLACEHOLDERS) {
                    Some(near) if !unknown.is_empty() => format!("did you mean ${near}?"),
                    _ => "known are $scheme, $host, $path, $query; $$ is a dollar".to_owned(),
                };
                self.report.error_with(text.place, message, suggestion);
                None
            }
        }
    }
}
