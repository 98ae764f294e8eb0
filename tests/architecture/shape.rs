//! How long files and functions are, how many arguments functions take, and what things are called.

use crate::{
    lexer::{Placed, Token, behind_group},
    sources::Source,
};

/// Most lines of a file.
const FILE: usize = 400;
/// Most lines of a function, from `fn` to its closing brace.
const FUNCTION: usize = 60;
/// Most arguments of a function, `self` not counted.
const ARGUMENTS: usize = 5;
/// Words that name nothing.
const EMPTY_WORDS: [&str; 6] = ["util", "utils", "common", "helper", "helpers", "manager"];
/// Terms of Kubernetes that have such a word in them.
const TERMS: [&str; 1] = ["field_manager"];
/// Keywords that a name follows.
const ITEMS: [&str; 8] = ["const", "enum", "fn", "mod", "static", "struct", "trait", "type"];

/// What is wrong with the length of a file and with the names of its items, each as one sentence.
pub fn faults(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    if source.lines > FILE {
        faults.push(format!("it has {} lines, more than {FILE}", source.lines));
    }
    for (at, placed) in source.tokens.iter().enumerate() {
        let Some(keyword) = placed.name().filter(|name| ITEMS.contains(name)) else { continue };
        let Some(name) = source.tokens.get(at + 1).and_then(Placed::name) else { continue };
        faults.extend(fault_of_name(keyword, name));
    }
    faults
}

/// What is wrong with the functions that are shipped: a test may be one long table.
pub fn faults_of_functions(source: &Source) -> Vec<String> {
    let functions = source.shipped.windows(2).enumerate().filter(|(_, pair)| pair[0].is_name("fn"));
    let named = functions.filter_map(|(at, pair)| pair[1].name().map(|name| (at, name)));
    named.flat_map(|(at, name)| faults_of_function(&source.shipped, at, name)).collect()
}

/// Lints are switched off by `expect` alone, with a reason: it complains once it is no longer needed.
pub fn faults_of_lints(source: &Source) -> Vec<String> {
    let mut faults = Vec::new();
    for (at, placed) in source.tokens.iter().enumerate().filter(|(_, placed)| placed.token == Token::Mark('#')) {
        let inner = usize::from(source.tokens.get(at + 1).is_some_and(|next| next.token == Token::Mark('!')));
        let open = at + 1 + inner;
        let attribute = source.tokens.get(open + 1..behind_group(&source.tokens, open)).unwrap_or_default();
        let begins_with = |name: &str| attribute.first().is_some_and(|first| first.is_name(name));
        if begins_with("allow") {
            faults.push(format!("line {}: a lint is switched off by allow; use expect with a reason", placed.line));
        } else if begins_with("expect") && !attribute.iter().any(|token| token.is_name("reason")) {
            faults.push(format!("line {}: a lint is expected without a reason", placed.line));
        }
    }
    faults
}

fn fault_of_name(keyword: &str, name: &str) -> Option<String> {
    let own = TERMS.iter().fold(name.to_ascii_lowercase(), |name, term| name.replace(term, ""));
    let name_without_terms = if own.len() < name.len() { own.as_str() } else { name };
    let empty = words(name_without_terms).into_iter().find(|word| EMPTY_WORDS.contains(&word.as_str()));
    if let Some(word) = empty {
        return Some(format!("{name} says {word}: name its duty"));
    }
    let prefix = ["get_", "test_"].into_iter().find(|prefix| keyword == "fn" && name.starts_with(prefix));
    prefix.map(|prefix| format!("{name} begins with {prefix}: name what it gives or shows"))
}

fn faults_of_function(tokens: &[Placed], at: usize, name: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let open = parameters(tokens, at + 2);
    let end = behind_group(tokens, open);
    let arguments = count_arguments(tokens.get(open + 1..end - 1).unwrap_or_default());
    if arguments > ARGUMENTS {
        faults.push(format!("{name} takes {arguments} arguments, more than {ARGUMENTS}"));
    }
    let lines = last_line(tokens, end) + 1 - tokens[at].line;
    if lines > FUNCTION {
        faults.push(format!("{name} has {lines} lines, more than {FUNCTION}"));
    }
    faults
}

/// Where the parameter list opens: behind the type parameters.
fn parameters(tokens: &[Placed], from: usize) -> usize {
    let mut depth = 0_usize;
    for (at, placed) in tokens.iter().enumerate().skip(from) {
        match placed.token {
            Token::Mark('<') => depth += 1,
            Token::Mark('>') => depth = depth.saturating_sub(1),
            Token::Open('(') if depth == 0 => return at,
            _ => {}
        }
    }
    from
}

/// Commas outside of all brackets part them; a receiver is none, and neither is what follows the last comma.
fn count_arguments(parameters: &[Placed]) -> usize {
    let (mut depth, mut count, mut is_empty, mut is_receiver) = (0_usize, 0, true, false);
    for placed in parameters {
        match &placed.token {
            Token::Open(_) | Token::Mark('<') => depth += 1,
            Token::Close(_) | Token::Mark('>') => depth = depth.saturating_sub(1),
            Token::Mark(',') if depth == 0 => {
                count += usize::from(!is_receiver);
                (is_empty, is_receiver) = (true, false);
                continue;
            }
            Token::Name(name) if depth == 0 && name == "self" => is_receiver = true,
            _ => {}
        }
        is_empty = false;
    }
    count + usize::from(!is_empty && !is_receiver)
}

/// The line of the closing brace, or of the semicolon of a function without a body.
fn last_line(tokens: &[Placed], from: usize) -> usize {
    let mut at = from;
    while let Some(placed) = tokens.get(at) {
        match placed.token {
            Token::Mark(';') => return placed.line,
            Token::Open('{') => return tokens[behind_group(tokens, at) - 1].line,
            Token::Open(_) => at = behind_group(tokens, at),
            _ => at += 1,
        }
    }
    0
}

/// `snake_case`, `CamelCase` and `CAPITALS` as their words in lower case.
fn words(name: &str) -> Vec<String> {
    let is_capitals = !name.bytes().any(|byte| byte.is_ascii_lowercase());
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter == '_' || (letter.is_ascii_uppercase() && !is_capitals) {
            words.push(String::new());
        }
        if let Some(word) = words.last_mut().filter(|_| letter != '_') {
            word.push(letter.to_ascii_lowercase());
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::planted;

    fn found(text: &str) -> Vec<String> {
        let source = planted("a", text);
        [faults(&source), faults_of_functions(&source)].concat()
    }

    #[test]
    fn long_files_and_functions_are_found() {
        let body = |lines: usize| format!("fn f() {{\n{}}}\n", "a();\n".repeat(lines - 2));
        assert_eq!(found(&body(60)), [""; 0]);
        assert_eq!(found(&body(61)), ["f has 61 lines, more than 60"]);
        assert_eq!(found(&format!("impl S {{ {} }}", body(61))), ["f has 61 lines, more than 60"]);
        assert_eq!(found(&"\n".repeat(400)), [""; 0]);
        assert_eq!(found(&"\n".repeat(401)), ["it has 401 lines, more than 400"]);
    }

    #[test]
    fn many_arguments_are_found() {
        for text in [
            "fn f(a: A, b: B, c: C, d: D, e: E) {}",
            "fn f(&mut self, a: A, b: B, c: C, d: D, e: E,) {}",
            "fn f(self: Arc<Self>, a: A, b: B, c: C, d: D, e: E) {}",
            "fn f<T: Fn(A, B) -> C>(a: A, b: (B, B), c: HashMap<C, C>, d: fn(D, D) -> D, e: [E; 2]) -> F;",
            "fn f() {}",
        ] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
        for text in ["fn f(a: A, b: B, c: C, d: D, e: E, f: F) {}", "fn f(&self, a: A, b: B, c: C, d: D, e: HashMap<E, E>, f: F);"] {
            assert_eq!(found(text), ["f takes 6 arguments, more than 5"], "{text}");
        }
    }

    #[test]
    fn empty_words_are_found() {
        for text in
            ["mod utils;", "struct KeyManager;", "fn join_helper() {}", "fn get_key() {}", "fn test_key() {}", "const COMMON: u8 = 0;"]
        {
            assert_eq!(found(text).len(), 1, "{text}");
        }
        for text in ["fn forget() {}", "fn commonly() {}", "struct Utility;", "fn f() { x.get_key(); }", "const FIELD_MANAGER: u8 = 0;"] {
            assert_eq!(found(text), [""; 0], "{text}");
        }
    }

    #[test]
    fn lints_switched_off_without_a_word_are_found() {
        let found = |text: &str| faults_of_lints(&planted("a", text)).len();
        assert_eq!(found("#[allow(dead_code)] fn f() {}"), 1);
        assert_eq!(found("#![allow(dead_code, reason = \"x\")]"), 1);
        assert_eq!(found("#[expect(dead_code)] fn f() {}"), 1);
        assert_eq!(found("#[expect(dead_code, reason = \"x\")] #[must_use] fn f() {}"), 0);
    }
}
