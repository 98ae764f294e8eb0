//! A call to the API server, as its authorizer would name it, and the matcher that picks calls out.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use http::{Method, Uri};

/// What a call does: Kubernetes' request verbs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    Get,
    List,
    Watch,
    Create,
    Update,
    Patch,
    Delete,
    DeleteCollection,
    /// Neither of these on a resource: `/version`, `/readyz`, `/openapi/v3`.
    Other,
}

impl Verb {
    /// Whether it writes.
    pub fn is_mutating(self) -> bool {
        matches!(self, Self::Create | Self::Update | Self::Patch | Self::Delete | Self::DeleteCollection)
    }
}

/// One call that came to the proxy.
#[derive(Debug, Clone)]
pub struct Call {
    /// Counts from 1 in the order of arrival.
    pub number: u64,
    /// When it came.
    pub at: Instant,
    pub verb: Verb,
    pub group: String,
    pub version: String,
    /// `secrets`, or `oauthclients/status` with a subresource, as in RBAC rules. Empty for a path that names no resource.
    pub resource: String,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub user_agent: String,
    /// What the caller was told; none: nothing yet, or the connection was closed.
    pub status: Option<u16>,
    /// Whether the API server was asked.
    pub forwarded: bool,
}

impl fmt::Display for Call {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, verb, path, status, .. } = self;
        write!(formatter, "{number}: {verb:?} {path}")?;
        match status {
            Some(status) => write!(formatter, " → {status}"),
            None => write!(formatter, " → no reply"),
        }
    }
}

impl Call {
    /// Reads a request line. The rules are those of RequestInfoFactory in k8s.io/apiserver `pkg/endpoints/request/requestinfo.go`.
    pub(super) fn parse(number: u64, method: &Method, uri: &Uri, user_agent: String) -> Self {
        let query: BTreeMap<String, String> = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        let segments: Vec<&str> = uri.path().split('/').filter(|segment| !segment.is_empty()).collect();
        let (group, version, rest) = match segments.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => ("", "", [].as_slice()),
        };
        let (namespace, rest) = match rest {
            // The namespace itself, or one of its two subresources.
            ["namespaces", namespace] | ["namespaces", namespace, "status" | "finalize"] => (Some(*namespace), rest),
            ["namespaces", namespace, rest @ ..] => (Some(*namespace), rest),
            _ => (None, rest),
        };
        let (resource, name) = match rest {
            [resource] => ((*resource).to_owned(), None),
            [resource, name] => ((*resource).to_owned(), Some(*name)),
            [resource, name, subresource, ..] => (format!("{resource}/{subresource}"), Some(*name)),
            [] => (String::new(), None),
        };
        Self {
            number,
            at: Instant::now(),
            verb: verb(method, &resource, name.is_some(), query.get("watch").map(String::as_str)),
            group: group.to_owned(),
            version: version.to_owned(),
            resource,
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            path: uri.path().to_owned(),
            query,
            user_agent,
            status: None,
            forwarded: false,
        }
    }
}

fn verb(method: &Method, resource: &str, named: bool, watch: Option<&str>) -> Verb {
    if resource.is_empty() {
        return Verb::Other;
    }
    match (method, named) {
        (&Method::GET, false) if watch.is_some_and(|watch| matches!(watch, "1" | "true")) => Verb::Watch,
        (&Method::GET, false) => Verb::List,
        (&Method::GET, true) => Verb::Get,
        (&Method::POST, _) => Verb::Create,
        (&Method::PUT, _) => Verb::Update,
        (&Method::PATCH, _) => Verb::Patch,
        (&Method::DELETE, true) => Verb::Delete,
        (&Method::DELETE, false) => Verb::DeleteCollection,
        _ => Verb::Other,
    }
}

/// Which calls are meant: `calls().patch().of("oauthclients/status").in_namespace(&namespace)`. What is not said matches everything.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    verbs: Vec<Verb>,
    resources: Vec<String>,
    except: Vec<String>,
    namespace: Option<String>,
    name: Option<String>,
    user_agent: Option<String>,
}

/// Every call.
pub fn calls() -> Calls {
    Calls::default()
}

impl Calls {
    pub fn get(self) -> Self {
        self.verb(Verb::Get)
    }

    pub fn list(self) -> Self {
        self.verb(Verb::List)
    }

    pub fn watch(self) -> Self {
        self.verb(Verb::Watch)
    }

    pub fn create(self) -> Self {
        self.verb(Verb::Create)
    }

    pub fn update(self) -> Self {
        self.verb(Verb::Update)
    }

    pub fn patch(self) -> Self {
        self.verb(Verb::Patch)
    }

    pub fn delete(self) -> Self {
        self.verb(Verb::Delete)
    }

    /// Every verb that writes.
    pub fn mutating(mut self) -> Self {
        let all = [Verb::Create, Verb::Update, Verb::Patch, Verb::Delete, Verb::DeleteCollection];
        self.verbs.extend(all);
        self
    }

    /// This verb, besides those already named.
    pub fn verb(mut self, verb: Verb) -> Self {
        self.verbs.push(verb);
        self
    }

    /// This resource, besides those already named: `secrets` (not its subresources), or `oauthclients/status`.
    pub fn of(mut self, resource: &str) -> Self {
        self.resources.push(resource.to_owned());
        self
    }

    /// Not this resource, for instance `leases` among the mutating calls.
    pub fn except(mut self, resource: &str) -> Self {
        self.except.push(resource.to_owned());
        self
    }

    pub fn in_namespace(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// Only callers whose User-Agent contains this.
    pub fn from(mut self, user_agent: &str) -> Self {
        self.user_agent = Some(user_agent.to_owned());
        self
    }

    /// Whether the call is one of those.
    pub fn includes(&self, call: &Call) -> bool {
        let wanted = |wanted: &Option<String>, given: &Option<String>| wanted.is_none() || wanted == given;
        (self.verbs.is_empty() || self.verbs.contains(&call.verb))
            && (self.resources.is_empty() || self.resources.contains(&call.resource))
            && !self.except.contains(&call.resource)
            && wanted(&self.namespace, &call.namespace)
            && wanted(&self.name, &call.name)
            && self.user_agent.as_ref().is_none_or(|part| call.user_agent.contains(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(method: &str, uri: &str) -> (Verb, String, Option<String>, Option<String>) {
        let call = Call::parse(1, &method.parse().unwrap(), &uri.parse().unwrap(), String::new());
        (call.verb, call.resource, call.namespace, call.name)
    }

    #[test]
    fn paths_are_read_as_the_authorizer_reads_them() {
        let text = |text: &str| Some(text.to_owned());
        let table = [
            ("GET", "/version", Verb::Other, "", None, None),
            ("GET", "/apis", Verb::Other, "", None, None),
            ("GET", "/apis/keywright.dev/v1alpha1", Verb::Other, "", None, None),
            ("GET", "/api/v1/secrets?watch=false", Verb::List, "secrets", None, None),
            ("GET", "/api/v1/secrets?watch=true", Verb::Watch, "secrets", None, None),
            ("GET", "/api/v1/namespaces", Verb::List, "namespaces", None, None),
            ("GET", "/api/v1/namespaces/a", Verb::Get, "namespaces", text("a"), text("a")),
            ("PUT", "/api/v1/namespaces/a/finalize", Verb::Update, "namespaces/finalize", text("a"), text("a")),
            ("POST", "/api/v1/namespaces/a/secrets", Verb::Create, "secrets", text("a"), None),
            ("DELETE", "/api/v1/namespaces/a/secrets", Verb::DeleteCollection, "secrets", text("a"), None),
            ("DELETE", "/api/v1/namespaces/a/secrets/b", Verb::Delete, "secrets", text("a"), text("b")),
            ("PATCH", "/apis/g/v1/namespaces/a/things/b/status?force=1", Verb::Patch, "things/status", text("a"), text("b")),
        ];
        for (method, uri, verb, resource, namespace, name) in table {
            assert_eq!(parsed(method, uri), (verb, resource.to_owned(), namespace, name), "{method} {uri}");
        }
    }

    #[test]
    fn what_is_not_said_matches_everything() {
        let call = Call::parse(1, &Method::PATCH, &Uri::from_static("/apis/g/v1/namespaces/a/things/b"), "keywright/1".to_owned());
        for included in [calls(), calls().mutating().of("things"), calls().get().patch().named("b").in_namespace("a").from("keywright")] {
            assert!(included.includes(&call), "{included:?}");
        }
        for excluded in [calls().get(), calls().of("things/status"), calls().except("things"), calls().named("a"), calls().from("kubectl")]
        {
            assert!(!excluded.includes(&call), "{excluded:?}");
        }
    }
}
