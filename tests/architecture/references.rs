//! What a module names: every path of its code, in macros and attributes too, resolved as far as a wall needs it.

use crate::{
    lexer::{Placed, Token, behind_group},
    sources::Source,
};
use std::{collections::BTreeSet, sync::LazyLock};

/// What a module touches, without its tests.
#[derive(Default)]
pub struct References {
    /// Paths: `crate::…` for what is in this crate, else from the name of another one.
    pub paths: BTreeSet<String>,
    /// Whether it has `async` or `.await`.
    pub is_asynchronous: bool,
}

/// All that `source` names outside of its tests.
pub fn of(source: &Source) -> References {
    let mut reader = Reader { module: source.module.clone(), inner: Vec::new(), found: References::default() };
    reader.read(&source.shipped);
    reader.found
}

struct Reader {
    module: Vec<String>,
    /// Where the inline modules end that are being read.
    inner: Vec<usize>,
    found: References,
}

impl Reader {
    fn read(&mut self, tokens: &[Placed]) {
        let mut at = 0;
        while let Some(placed) = tokens.get(at) {
            while self.inner.last().is_some_and(|end| *end <= at) {
                self.inner.pop();
                self.module.pop();
            }
            match placed.name() {
                Some("use") => at = self.read_use(tokens, at + 1, &[]),
                Some("mod") if tokens.get(at + 2).is_some_and(|next| next.token == Token::Open('{')) => {
                    self.module.extend(tokens.get(at + 1).and_then(Placed::name).map(str::to_owned));
                    self.inner.push(behind_group(tokens, at + 2));
                    at += 2;
                }
                Some(name) => {
                    self.found.is_asynchronous |= ["async", "await"].contains(&name);
                    at = self.read_path(tokens, at);
                }
                None => at += 1,
            }
        }
    }

    /// `a::b::c`, up to the first thing that is no name.
    fn read_path(&mut self, tokens: &[Placed], mut at: usize) -> usize {
        let mut segments = Vec::new();
        while let Some(name) = tokens.get(at).and_then(Placed::name) {
            segments.push(name.to_owned());
            at += 1;
            if tokens.get(at).is_none_or(|next| next.token != Token::Path) {
                break;
            }
            at += 1;
        }
        // A single name is a local one: only `use` brings a crate by its name alone.
        if segments.len() > 1 {
            self.note(&segments);
        }
        at
    }

    /// One tree of a `use`: `a::b`, `a::{b, c::d}`, `a::*`, `a as b`; gives where it ends.
    fn read_use(&mut self, tokens: &[Placed], mut at: usize, before: &[String]) -> usize {
        let mut segments = before.to_vec();
        while let Some(placed) = tokens.get(at) {
            match &placed.token {
                Token::Name(name) if name == "as" => at += 1,
                Token::Name(name) if name == "self" && !segments.is_empty() => {}
                Token::Name(name) => segments.push(name.clone()),
                Token::Path => {}
                Token::Open('{') => return self.read_use_group(tokens, at + 1, &segments),
                _ => break,
            }
            at += 1;
        }
        self.note(&segments);
        at + usize::from(tokens.get(at).is_some_and(|placed| placed.token == Token::Mark('*')))
    }

    fn read_use_group(&mut self, tokens: &[Placed], mut at: usize, before: &[String]) -> usize {
        while let Some(placed) = tokens.get(at) {
            match placed.token {
                Token::Close('}') => return at + 1,
                Token::Mark(',') => at += 1,
                _ => at = self.read_use(tokens, at, before).max(at + 1),
            }
        }
        at
    }

    fn note(&mut self, segments: &[String]) {
        self.found.paths.extend(self.resolved(segments));
    }

    /// `crate::a::b`, or `other_crate::a::b`; `None` for names that begin in the module itself.
    fn resolved(&self, segments: &[String]) -> Option<String> {
        let absolute = |base: &[String], rest: &[String]| [&["crate".to_owned()], base, rest].concat().join("::");
        match segments.first()?.as_str() {
            "crate" => Some(segments.join("::")),
            "self" if segments.len() > 1 => Some(absolute(&self.module, segments.get(1..)?)),
            "super" => {
                let up = segments.iter().take_while(|segment| *segment == "super").count();
                Some(absolute(self.module.get(..self.module.len().checked_sub(up)?)?, segments.get(up..)?))
            }
            name => CRATES.contains(name).then(|| segments.join("::")),
        }
    }
}

/// The dependencies in Cargo.toml and the standard library.
static CRATES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let manifest = include_str!("../../Cargo.toml");
    let dependencies = manifest.split("\n[").filter(|section| section.split(']').next().is_some_and(|head| head.ends_with("dependencies")));
    let listed = dependencies.flat_map(str::lines).filter_map(|line| line.split_once(" = ")).map(|(key, _)| key.replace('-', "_"));
    listed.chain(["std", "core", "alloc"].map(str::to_owned)).collect()
});

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::planted;

    fn paths(text: &str) -> Vec<String> {
        of(&planted("keys::store", text)).paths.into_iter().collect()
    }

    #[test]
    fn every_way_to_name_a_thing_is_seen() {
        for text in [
            "use kube::Client;",
            "use kube::Client as C;",
            "use {std::fmt, kube::{Client, Api}};",
            "pub(crate) use kube::{self, Client};",
            "fn f(client: &kube::Client) {}",
            "type C = Arc<dyn Fn(kube::Client) -> u8>;",
            "fn f() { kube::Client::new(); }",
            "fn f() { println!(\"{}\", kube::Client::new()); }",
            "#[derive(kube::Client)] struct S;",
            "impl kube::Client for S {}",
            "fn f() -> impl kube::Client<T> {}",
        ] {
            assert!(paths(text).iter().any(|path| path.starts_with("kube::Client")), "{text}: {:?}", paths(text));
        }
        for text in ["// kube::Client", "const A: &str = \"kube::Client\";", "#[cfg(test)] mod tests { use kube::Client; }"] {
            assert_eq!(paths(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn paths_are_resolved_from_the_module() {
        assert_eq!(paths("use super::secret::{Data, life};"), ["crate::keys::secret::Data", "crate::keys::secret::life"]);
        assert_eq!(paths("use super::super::domain;"), ["crate::domain"]);
        assert_eq!(paths("use super::*;"), ["crate::keys"]);
        assert_eq!(paths("fn f() { self::g::h() }"), ["crate::keys::store::g::h"]);
        assert_eq!(paths("mod inner { use super::a; } use super::b;"), ["crate::keys::b", "crate::keys::store::a"]);
        assert_eq!(paths("use crate::{api, domain::names::{A, B}};"), ["crate::api", "crate::domain::names::A", "crate::domain::names::B"]);
        assert_eq!(
            paths("use crate::keys::{self, secret}; pub(crate) fn f(kube: u8, version: u8) {}"),
            ["crate::keys", "crate::keys::secret"]
        );
        assert_eq!(paths("use serde_json::{Value, json}; local::name();"), ["serde_json::Value", "serde_json::json"]);
    }

    #[test]
    fn waiting_is_seen() {
        for (text, is_asynchronous) in [("async fn f() {}", true), ("fn f() { g().await }", true), ("fn f() { /* async */ }", false)] {
            assert_eq!(of(&planted("a", text)).is_asynchronous, is_asynchronous, "{text}");
        }
    }
}
