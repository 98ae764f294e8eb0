//! The modules of the crate as the compiler finds them: from `src/lib.rs` along every `mod`, without what is for tests alone.

use crate::lexer::{Placed, Token, behind_group, tokens};
use std::path::{Path, PathBuf};

/// One module that is a file.
pub struct Source {
    /// The path of the module from the crate's root: `["keys", "store"]`.
    pub module: Vec<String>,
    /// The file, from the folder of the package.
    pub path: PathBuf,
    /// How many lines it has.
    pub lines: usize,
    /// All its tokens.
    pub tokens: Vec<Placed>,
    /// The tokens of what is not for tests alone.
    pub shipped: Vec<Placed>,
}

/// The modules of the library and of the binary.
pub fn crate_sources() -> Vec<Source> {
    let mut found = Vec::new();
    collect(Path::new("src/lib.rs"), Vec::new(), false, &mut found);
    collect(Path::new("src/main.rs"), vec!["main".to_owned()], false, &mut found);
    found
}

/// A file outside of the library.
pub fn read(path: &Path) -> Source {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    source(path, Vec::new(), &text)
}

/// A source that is not a file, for the tests of the rules themselves.
#[cfg(test)]
pub fn planted(module: &str, text: &str) -> Source {
    let module = module.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect();
    source(Path::new("planted.rs"), module, text)
}

fn source(path: &Path, module: Vec<String>, text: &str) -> Source {
    let tokens = tokens(text);
    Source { module, path: path.to_owned(), lines: text.lines().count(), shipped: without_tests(&tokens), tokens }
}

fn collect(path: &Path, module: Vec<String>, is_test: bool, found: &mut Vec<Source>) {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut source = source(path, module.clone(), &text);
    let shipped = declared_modules(&source.shipped);
    for name in declared_modules(&source.tokens) {
        let below = [module.clone(), vec![name.clone()]].concat();
        let is_test = is_test || !shipped.contains(&name);
        collect(&file_of(path, &name), below, is_test, found);
    }
    if is_test {
        source.shipped.clear();
    }
    found.push(source);
}

/// The names in `mod name;`.
fn declared_modules(tokens: &[Placed]) -> Vec<String> {
    let declared = tokens.windows(3).filter(|three| three[0].is_name("mod") && three[2].token == Token::Mark(';'));
    declared.filter_map(|three| three[1].name().map(str::to_owned)).collect()
}

/// `a/mod.rs` and `lib.rs` look beside themselves, `a.rs` looks in `a/`.
fn file_of(parent: &Path, name: &str) -> PathBuf {
    let folder = parent.parent().unwrap_or(Path::new(""));
    let folder = match parent.file_stem().and_then(|stem| stem.to_str()) {
        Some("lib" | "mod") | None => folder.to_owned(),
        Some(stem) => folder.join(stem),
    };
    let nested = folder.join(name).join("mod.rs");
    if nested.is_file() { nested } else { folder.join(format!("{name}.rs")) }
}

/// Leaves out each item behind `#[cfg(test)]`.
fn without_tests(tokens: &[Placed]) -> Vec<Placed> {
    let mut shipped = Vec::new();
    let mut at = 0;
    while let Some(placed) = tokens.get(at) {
        if is_cfg_test(tokens, at) {
            at = behind_item(tokens, at);
        } else {
            shipped.push(placed.clone());
            at += 1;
        }
    }
    shipped
}

fn is_cfg_test(tokens: &[Placed], at: usize) -> bool {
    let wanted = [Token::Mark('#'), Token::Open('['), word("cfg"), Token::Open('('), word("test"), Token::Close(')'), Token::Close(']')];
    tokens.get(at..at + wanted.len()).is_some_and(|found| found.iter().zip(&wanted).all(|(one, other)| one.token == *other))
}

fn word(text: &str) -> Token {
    Token::Name(text.to_owned())
}

/// Behind the item whose attributes begin at `at`: behind its `;`, or behind its braces.
fn behind_item(tokens: &[Placed], mut at: usize) -> usize {
    while let Some(placed) = tokens.get(at) {
        match placed.token {
            Token::Mark(';') => return at + 1,
            Token::Open('{') => return behind_group(tokens, at),
            Token::Open(_) => at = behind_group(tokens, at),
            _ => at += 1,
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_tests_alone_is_left_out() {
        let text = "a #[cfg(test)] use b; c #[cfg(test)] #[x] mod b { b } d #[cfg(test)] fn b(x: [u8; 4]) { b } e #[cfg(unix)] f";
        let shipped = planted("", text).shipped;
        let names: Vec<_> = shipped.iter().filter_map(Placed::name).collect();
        assert_eq!(names, ["a", "c", "d", "e", "cfg", "unix", "f"]);
    }

    #[test]
    fn every_file_of_the_crate_is_found() {
        let found = crate_sources().len();
        let on_disk = super::super::rust_files(Path::new("src")).len();
        assert_eq!(found, on_disk, "a file that no `mod` names, or one that is named twice");
    }
}
