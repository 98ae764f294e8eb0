//! Objects as files hold them. Pure.

use super::{
    document::{Document, mistaken},
    finding::Finding,
};
use crate::{
    api::{OAuthClient, ProtectedResource},
    domain::names::ObjectName,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// What a file holds of ours. Other kinds are somebody else's.
#[derive(Default)]
pub(super) struct Manifests {
    pub(super) clients: Vec<OAuthClient>,
    pub(super) resources: Vec<ProtectedResource>,
    /// What is wrong before anybody looks at what the objects mean.
    pub(super) findings: Vec<(&'static str, ObjectName, Finding)>,
}

impl Manifests {
    /// Reads YAML or JSON of any number of documents and lists. `namespace`: of objects that name none.
    ///
    /// # Errors
    /// Where the text is no YAML.
    pub(super) fn read(&mut self, text: &str, namespace: &str) -> Result<(), String> {
        let documents: Vec<Document> = serde_saphyr::from_multiple(text).map_err(|error| first_line(&error.to_string()))?;
        for Document(document) in documents {
            self.take(document, namespace);
        }
        Ok(())
    }

    fn take(&mut self, document: Value, namespace: &str) {
        let text = |pointer: &str| document.pointer(pointer).and_then(Value::as_str);
        let is_ours = text("/apiVersion").is_some_and(|version| version.starts_with("keywright.dev/"));
        match text("/kind") {
            Some("OAuthClient") if is_ours => {
                let read = self.typed::<OAuthClient>("OAuthClient", document, namespace);
                self.clients.extend(read);
            }
            Some("ProtectedResource") if is_ours => {
                let read = self.typed::<ProtectedResource>("ProtectedResource", document, namespace);
                self.resources.extend(read);
            }
            _ => {
                let items = document.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
                items.into_iter().for_each(|item| self.take(item, namespace));
            }
        }
    }

    fn typed<K: DeserializeOwned + Serialize>(&mut self, kind: &'static str, mut document: Value, namespace: &str) -> Option<K> {
        let metadata = document.as_object_mut()?.entry("metadata").or_insert_with(|| Value::Object(serde_json::Map::new()));
        metadata.as_object_mut()?.entry("namespace").or_insert_with(|| namespace.into());
        let of = |member: &str| metadata.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
        let name = ObjectName::new(of("namespace"), of("name"));
        let mut fault =
            |message: String| self.findings.push((kind, name.clone(), Finding::fault(format!("{kind} {}", name.name), message)));
        if name.name.is_empty() {
            fault("metadata.name is missing".to_owned());
            return None;
        }
        let mistaken = mistaken("spec", document.get("spec").unwrap_or(&Value::Null));
        if !mistaken.is_empty() {
            fault(format!(
                "{}: without quotation marks, y, yes and on are true to YAML, and n, no and off are false: write \"y\"",
                mistaken.join(", ")
            ));
        }
        match serde_json::from_value::<K>(document.clone()) {
            Ok(object) => {
                let written = serde_json::to_value(&object).unwrap_or_default();
                let unknown = unknown("spec", document.get("spec"), written.get("spec"));
                if !unknown.is_empty() {
                    fault(format!("this version knows no {}: is it spelt right?", unknown.join(", ")));
                }
                Some(object)
            }
            Err(error) => {
                fault(format!("it cannot be read: {error}"));
                None
            }
        }
    }
}

/// The members that reading has dropped.
fn unknown(path: &str, given: Option<&Value>, known: Option<&Value>) -> Vec<String> {
    match (given, known) {
        (None | Some(Value::Null), _) => Vec::new(),
        (Some(_), None) => vec![path.to_owned()],
        (Some(Value::Object(given)), Some(Value::Object(known))) => {
            given.iter().flat_map(|(name, value)| unknown(&format!("{path}.{name}"), Some(value), known.get(name))).collect()
        }
        (Some(Value::Array(given)), Some(Value::Array(known))) => {
            let each = given.iter().enumerate();
            each.flat_map(|(at, value)| unknown(&format!("{path}[{at}]"), Some(value), known.get(at))).collect()
        }
        _ => Vec::new(),
    }
}

/// The rest draws the place in the file.
pub(super) fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Manifests {
        let mut manifests = Manifests::default();
        manifests.read(text, "billing").unwrap();
        manifests
    }

    const WORKER: &str = "{apiVersion: keywright.dev/v1alpha1, kind: OAuthClient, metadata: {name: worker}, spec: {access: []}}";

    #[test]
    fn documents_and_lists_are_read_and_other_kinds_are_passed_by() {
        let text = format!("{{kind: Service}}\n---\n{WORKER}\n---\n{{kind: List, apiVersion: v1, items: [{WORKER}, {{kind: Secret}}]}}\n");
        let manifests = read(&text);
        assert_eq!((manifests.clients.len(), manifests.findings.len()), (2, 0));
        assert_eq!(manifests.clients[0].metadata.namespace.as_deref(), Some("billing"));
        assert!(Manifests::default().read("a: [", "billing").is_err());
    }

    #[test]
    fn what_is_misspelt_or_cannot_be_read_is_named() {
        let message = |text: &str| read(text).findings.into_iter().map(|(_, _, finding)| finding.message).collect::<Vec<_>>().join("; ");
        let misspelt = WORKER.replace("access: []", "access: [{resource: shop/invoices, scopes: [a], scope: b}], rotaton: {every: 30d}");
        let told = message(&misspelt);
        assert!(told.contains("spec.access[0].scope") && told.contains("spec.rotaton") && !told.contains("resource"), "{told}");
        assert!(message(&WORKER.replace("access: []", "access: 7")).contains("it cannot be read"));
        let key =
            |y: &str| {
                message(&WORKER.replace(
                    "access: []",
                    &format!("access: [], authentication: {{privateKeyJwt: {{jwks: {{keys: [{{x: a, {y}: b}}]}}}}}}"),
                ))
            };
        assert!(key("y").contains("spec.authentication.privateKeyJwt.jwks.keys[0].true: without quotation marks"), "{}", key("y"));
        assert_eq!(key("\"y\""), "");
        assert!(message(&WORKER.replace("name: worker", "")).contains("metadata.name is missing"));
    }
}
