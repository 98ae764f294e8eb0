//! Which installation works on an object. One at a time: whoever `status.controller` names, until somebody names another one in the
//! annotation `keywright.dev/controller`, or until the namespace of the one that it names is gone, and all of that installation with
//! it. Pure, but for what was said before.
//!
//! Every installation goes by the same rule, on a live read before each write, so that the former one steps back when the next one
//! steps in. What it had sent already fails by its preconditions, or is healed as an edit by hand is.

use crate::api::ANNOTATION_CONTROLLER;
use kube::ResourceExt;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// Whose an object is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Holding {
    /// This installation's.
    Ours,
    /// Another one's, as somebody has decided.
    Theirs,
    /// Another one's, and somebody has to decide whether that is right, in words.
    Contested(String),
}

/// Whose `object` is, for the installation `own`. `controller` is its `status.controller`.
pub(crate) fn holding(
    object: &impl ResourceExt,
    controller: Option<&str>,
    own: &str,
    may_have_namespace: impl Fn(&str) -> bool,
) -> Holding {
    let named = object.annotations().get(ANNOTATION_CONTROLLER).map(String::as_str).filter(|named| !named.is_empty());
    let is_gone = |other: &str| !may_have_namespace(other.split('/').next().unwrap_or_default());
    match (named, controller) {
        (Some(named), _) if named == own => Holding::Ours,
        (Some(named), Some(holder)) if named == holder || holder != own => Holding::Theirs,
        (Some(named), _) => Holding::Contested(not_taken_over(named, own)),
        (None, None) => Holding::Ours,
        (None, Some(holder)) if holder == own || is_gone(holder) => Holding::Ours,
        (None, Some(holder)) => Holding::Contested(held(holder, own)),
    }
}

fn held(holder: &str, own: &str) -> String {
    format!(
        "the installation {holder} works on this object, so {own}, which has the same issuer.name, leaves it alone: give each \
         installation an issuer.name of its own; or, if {own} is to take it over, stop {holder} and set the annotation \
         {ANNOTATION_CONTROLLER}: {own}"
    )
}

fn not_taken_over(named: &str, own: &str) -> String {
    format!(
        "the annotation {ANNOTATION_CONTROLLER} hands this object over to the installation {named}, which has not taken it yet, so {own} \
         leaves it alone: if there is no such installation (<namespace>/<release>), correct or remove the annotation"
    )
}

/// What was said of contested objects. It is said once: if the other installation lives, it says again how the object is.
#[derive(Default)]
pub(crate) struct Said(Mutex<HashMap<String, String>>);

impl Said {
    /// Whether nothing, or something else, was said of the object of this UID.
    pub(crate) fn is_new(&self, uid: &str, message: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(uid).is_none_or(|said| said != message)
    }

    /// That was said.
    pub(crate) fn note(&self, uid: String, message: String) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid, message);
    }

    /// The Lease is lost.
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{OAuthClient, OAuthClientSpec};

    fn of(annotation: Option<&str>, controller: Option<&str>) -> Holding {
        let mut object = OAuthClient::new("worker", OAuthClientSpec::default());
        let annotation = annotation.map(|named| (ANNOTATION_CONTROLLER.to_owned(), named.to_owned()));
        object.metadata.annotations = Some(annotation.into_iter().collect());
        holding(&object, controller, "auth/new", |namespace| namespace != "gone")
    }

    #[test]
    fn an_object_is_its_first_controllers_until_somebody_names_another_or_its_namespace_is_gone() {
        assert_eq!(of(None, None), Holding::Ours);
        assert_eq!(of(None, Some("auth/new")), Holding::Ours);
        assert_eq!(of(None, Some("gone/old")), Holding::Ours);
        assert_eq!(of(Some("auth/new"), Some("auth/old")), Holding::Ours);
        assert_eq!(of(Some("auth/new"), None), Holding::Ours);
        assert_eq!(of(Some("auth/old"), Some("auth/old")), Holding::Theirs);
        assert_eq!(of(Some("auth/third"), Some("auth/old")), Holding::Theirs);
        assert_eq!(of(Some(""), Some("auth/new")), Holding::Ours);
    }

    #[test]
    fn what_nobody_has_decided_says_what_to_do() {
        for (annotation, controller, words) in [
            (None, Some("auth/old"), "set the annotation keywright.dev/controller: auth/new"),
            (Some("auth/lod"), Some("auth/new"), "to the installation auth/lod, which has not taken it yet"),
            (Some("auth/lod"), None, "correct or remove the annotation"),
        ] {
            let Holding::Contested(message) = of(annotation, controller) else { panic!("{annotation:?}, {controller:?}") };
            assert!(message.contains(words), "{message}");
        }
    }

    #[test]
    fn the_same_is_said_once() {
        let said = Said::default();
        assert!(said.is_new("uid", "a"));
        said.note("uid".to_owned(), "a".to_owned());
        assert!(!said.is_new("uid", "a") && said.is_new("uid", "b") && said.is_new("other", "a"));
        said.clear();
        assert!(said.is_new("uid", "a"));
    }
}
