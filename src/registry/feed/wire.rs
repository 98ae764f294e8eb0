//! Lists and watches on the wire: kube's client and requests, with each object read on its own.
//!
//! Not `Api::list` and `Api::watch`, for three reasons: one object that cannot be read would fail the whole list, kube logs the
//! whole answer when it cannot read it (Secrets among it), and the `Retry-After` of a 429 is lost.

use crate::{ambient, domain::names::ObjectName, replica::contact::Moment};
use http::{Request, Response, StatusCode, header::RETRY_AFTER};
use http_body_util::BodyExt as _;
use kube::{
    Api, Client, Resource,
    api::{ListParams, WatchParams},
    client::Body,
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use std::{marker::PhantomData, sync::Arc, time::Duration};
use tokio::time::timeout;

/// Why a list or a watch failed, or was given up.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The resourceVersion is too old for the server: everything has to be listed again.
    #[error("the API server has forgotten the version that the watch of {kind} had reached")]
    Expired {
        /// The kind, in the plural, with its group.
        kind: String,
    },
    /// The server refused.
    #[error("the API server refuses to list or watch {kind} ({code} {message}){}", advice(*.code))]
    Refused {
        /// The kind.
        kind: String,
        /// The HTTP status.
        code: u16,
        /// What it said.
        message: String,
        /// `Retry-After` (RFC 9110 §10.2.3).
        retry_after: Option<Duration>,
    },
    /// The request did not get through, or its answer broke off.
    #[error("cannot list or watch {kind}: the connection to the API server failed")]
    Connection {
        /// The kind.
        kind: String,
        /// What happened.
        #[source]
        source: kube::Error,
    },
    /// No answer, or nothing on a watch that should have said something or ended.
    #[error("the API server says nothing when asked for {kind}")]
    Silent {
        /// The kind.
        kind: String,
    },
    /// Watches end as soon as they begin.
    #[error("the API server ends the watch of {kind} as soon as it begins")]
    Cut {
        /// The kind.
        kind: String,
    },
    /// An answer that is none of the API's.
    #[error("the API server's answer about {kind} cannot be read: {what}")]
    Garbled {
        /// The kind.
        kind: String,
        /// What is wrong, without any of the content.
        what: &'static str,
    },
    /// A consistent list that is older than what was seen before.
    #[error(
        "a list of {kind} at version {version} is older than what was seen before ({reached}): asked again, and believed if it stays so"
    )]
    Older {
        /// The kind.
        kind: String,
        /// Of the list.
        version: u64,
        /// What the snapshot holds.
        reached: u64,
    },
}

fn advice(code: u16) -> &'static str {
    match code {
        403 => ": the ServiceAccount needs get, list and watch on it",
        404 => ": install the CustomResourceDefinitions",
        _ => "",
    }
}

/// An object that this version cannot read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreadable {
    /// Which one; of a cluster-scoped kind, the namespace is empty.
    pub name: ObjectName,
    /// Its UID.
    pub uid: String,
    /// What is wrong. Says nothing for a Secret, because the message would quote it.
    pub why: String,
}

/// What a list showed.
pub(super) struct Listing<K> {
    pub(super) objects: Vec<K>,
    pub(super) unreadable: Vec<Unreadable>,
    pub(super) version: u64,
    pub(super) begun: Moment,
}

/// The first object that a consistent list shows, and the version of that list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) begun: Moment,
    /// The version that was known when it began.
    pub(super) known: u64,
    pub(super) version: u64,
    pub(super) object: Option<u64>,
}

/// One line of a watch.
pub(super) enum Line<K> {
    Applied(K, u64),
    Unreadable(Unreadable, u64),
    Deleted(ObjectName, u64),
    Bookmark(u64),
}

/// What a feed asks for.
pub(super) struct Wire<K> {
    client: Client,
    request: kube::core::Request,
    list: ListParams,
    watch: WatchParams,
    kind: String,
    kinds: PhantomData<fn() -> K>,
}

/// A page of a list, its objects not read yet.
#[derive(Deserialize)]
struct Page {
    metadata: PageMetadata,
    #[serde(default)]
    items: Option<Vec<Value>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PageMetadata {
    resource_version: String,
    #[serde(rename = "continue", default)]
    next: String,
}

#[derive(Deserialize)]
struct RawLine {
    #[serde(rename = "type")]
    kind: String,
    object: Value,
}

impl<K: Resource<DynamicType = ()> + DeserializeOwned> Wire<K> {
    pub(super) fn new(api: Api<K>, labels: Option<String>, fields: Option<String>) -> Self {
        let group = K::group(&());
        let kind = if group.is_empty() { K::plural(&()).into_owned() } else { format!("{}.{group}", K::plural(&())) };
        Self {
            request: kube::core::Request::new(api.resource_url()),
            client: api.into_client(),
            list: ListParams { label_selector: labels.clone(), field_selector: fields.clone(), ..ListParams::default() },
            watch: WatchParams { label_selector: labels, field_selector: fields, ..WatchParams::default() },
            kind,
            kinds: PhantomData,
        }
    }

    pub(super) fn kind(&self) -> String {
        self.kind.clone()
    }

    /// Everything, in pages of one consistent list; where its pages expire, in one piece.
    pub(super) async fn list(&self, page: u32, answer: Duration) -> Result<Listing<K>, Fault> {
        match self.list_in_pages(Some(page), answer).await {
            Err(Fault::Expired { .. }) => self.list_in_pages(None, answer).await,
            other => other,
        }
    }

    async fn list_in_pages(&self, limit: Option<u32>, answer: Duration) -> Result<Listing<K>, Fault> {
        let begun = ambient::moment();
        let mut listing = Listing { objects: Vec::new(), unreadable: Vec::new(), version: 0, begun };
        let mut parameters = ListParams { limit, ..self.list.clone() };
        loop {
            let page = self.page(&parameters, answer).await?;
            listing.version = self.version(&page.metadata.resource_version)?;
            for item in page.items.unwrap_or_default() {
                match decode(item) {
                    Ok(object) => listing.objects.push(object),
                    Err(unreadable) => listing.unreadable.push(unreadable),
                }
            }
            if page.metadata.next.is_empty() {
                return Ok(listing);
            }
            parameters.continue_token = Some(page.metadata.next);
        }
    }

    /// The head: a consistent list of one object.
    pub(super) async fn head(&self, known: u64, answer: Duration) -> Result<Head, Fault> {
        let begun = ambient::moment();
        let page = self.page(&ListParams { limit: Some(1), ..self.list.clone() }, answer).await?;
        let object = page.items.iter().flatten().next().and_then(resource_version);
        Ok(Head { begun, known, version: self.version(&page.metadata.resource_version)?, object })
    }

    async fn page(&self, parameters: &ListParams, answer: Duration) -> Result<Page, Fault> {
        let request = self.request.list(parameters).map_err(|error| self.broken(kube::Error::BuildRequest(error)))?;
        let body = async { self.send(request).await?.into_body().collect_bytes().await.map_err(|error| self.broken(error)) };
        let body = timeout(answer, body).await.map_err(|_| self.silent())??;
        serde_json::from_slice(&body).map_err(|_| self.garbled("it is no list"))
    }

    /// Opens a watch of what comes after `from`, which the server ends after `lasting`.
    pub(super) async fn watch(self: &Arc<Self>, from: u64, lasting: Duration, answer: Duration) -> Result<Lines<K>, Fault> {
        let seconds = u32::try_from(lasting.as_secs().max(1)).unwrap_or(u32::MAX);
        let parameters = WatchParams { timeout: Some(seconds), ..self.watch.clone() };
        let request = self.request.watch(&parameters, &from.to_string());
        let request = request.map_err(|error| self.broken(kube::Error::BuildRequest(error)))?;
        let response = timeout(answer, self.send(request)).await.map_err(|_| self.silent())??;
        Ok(Lines { wire: Arc::clone(self), body: response.into_body(), buffer: Vec::new(), scanned: 0 })
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Body>, Fault> {
        let response = self.client.send(request.map(Body::from)).await.map_err(|error| self.broken(error))?;
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = response.into_body().collect_bytes().await.map_err(|error| self.broken(error))?;
        Err(self.refused(status, &serde_json::from_slice(&body).unwrap_or_default(), seconds.map(Duration::from_secs)))
    }

    fn refused(&self, code: StatusCode, status: &Value, retry_after: Option<Duration>) -> Fault {
        if code == StatusCode::GONE {
            return Fault::Expired { kind: self.kind() };
        }
        let message = status.get("message").and_then(Value::as_str).unwrap_or_default();
        let message = message.chars().take(300).collect();
        Fault::Refused { kind: self.kind(), code: code.as_u16(), message, retry_after }
    }

    fn read_line(&self, line: &[u8]) -> Result<Line<K>, Fault> {
        let RawLine { kind, object } = serde_json::from_slice(line).map_err(|_| self.garbled("a line of the watch is no event"))?;
        if kind == "ERROR" {
            let code = object.get("code").and_then(Value::as_u64).and_then(|code| u16::try_from(code).ok());
            let code = code.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return Err(self.refused(code, &object, None));
        }
        let version = resource_version(&object).ok_or_else(|| self.garbled("an event has no resourceVersion that is a number"))?;
        Ok(match kind.as_str() {
            "BOOKMARK" => Line::Bookmark(version),
            "DELETED" => Line::Deleted(name_of(&object), version),
            "ADDED" | "MODIFIED" => match decode(object) {
                Ok(object) => Line::Applied(object, version),
                Err(unreadable) => Line::Unreadable(unreadable, version),
            },
            _ => return Err(self.garbled("an event has an unknown type")),
        })
    }

    fn version(&self, text: &str) -> Result<u64, Fault> {
        text.parse().map_err(|_| self.garbled("its resourceVersion is no number (KEP-5504)"))
    }

    fn broken(&self, source: kube::Error) -> Fault {
        Fault::Connection { kind: self.kind(), source }
    }

    pub(super) fn silent(&self) -> Fault {
        Fault::Silent { kind: self.kind() }
    }

    pub(super) fn cut(&self) -> Fault {
        Fault::Cut { kind: self.kind() }
    }

    fn garbled(&self, what: &'static str) -> Fault {
        Fault::Garbled { kind: self.kind(), what }
    }
}

/// An open watch.
pub(super) struct Lines<K> {
    wire: Arc<Wire<K>>,
    body: Body,
    buffer: Vec<u8>,
    scanned: usize,
}

impl<K: Resource<DynamicType = ()> + DeserializeOwned> Lines<K> {
    /// The next event. `None`: the server has ended the watch. Nothing is lost where this future is dropped.
    pub(super) async fn next(&mut self) -> Result<Option<Line<K>>, Fault> {
        loop {
            let fresh = self.buffer.get(self.scanned..).unwrap_or_default();
            if let Some(end) = fresh.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=self.scanned + end).collect();
                self.scanned = 0;
                return self.wire.read_line(&line).map(Some);
            }
            self.scanned = self.buffer.len();
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(source)) => return Err(self.wire.broken(source)),
                Some(Ok(frame)) => self.buffer.extend_from_slice(frame.data_ref().map(AsRef::as_ref).unwrap_or_default()),
            }
        }
    }
}

/// Reads one object. The fields' owners are left out: they are half of it, and nobody asks for them.
fn decode<K: Resource<DynamicType = ()> + DeserializeOwned>(mut object: Value) -> Result<K, Unreadable> {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    let (name, uid) = (name_of(&object), text(&object, "/metadata/uid"));
    serde_json::from_value(object).map_err(|error| {
        let secret = K::kind(&()) == "Secret";
        let why = if secret { "its form is another than that of a Secret".to_owned() } else { error.to_string() };
        Unreadable { name, uid, why }
    })
}

fn name_of(object: &Value) -> ObjectName {
    ObjectName::new(text(object, "/metadata/namespace"), text(object, "/metadata/name"))
}

fn resource_version(object: &Value) -> Option<u64> {
    text(object, "/metadata/resourceVersion").parse().ok()
}

fn text(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Secret;
    use serde_json::json;

    #[test]
    fn s12_what_cannot_be_read_of_a_secret_is_not_quoted() {
        let object = json!({"metadata": {"name": "keys", "namespace": "kw", "uid": "u"}, "data": "canary"});
        let unreadable = decode::<Secret>(object).unwrap_err();
        assert_eq!((unreadable.name.to_string().as_str(), unreadable.uid.as_str()), ("kw/keys", "u"));
        assert!(!format!("{unreadable:?}").contains("canary"));
    }

    #[test]
    fn the_owners_of_fields_are_left_out() {
        let object = json!({"metadata": {"name": "keys", "managedFields": "not even a list"}});
        assert!(decode::<Secret>(object).unwrap().metadata.managed_fields.is_none());
    }
}
