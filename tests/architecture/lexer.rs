//! Rust source as tokens with their lines: enough to see paths, items and braces, whatever stands in comments and literals.
//!
//! A parser from outside (syn) would be built for the tests and again for the macros, and everything after it twice.

use std::{iter::Peekable, str::Chars};

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    /// A name or keyword; `r#` is left out.
    Name(String),
    /// `::`
    Path,
    /// `->`
    Arrow,
    /// `(`, `[` or `{`
    Open(char),
    /// `)`, `]` or `}`
    Close(char),
    /// Any other punctuation.
    Mark(char),
    /// A literal or a lifetime.
    Other,
}

/// A token and the line that it ends in, from 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The token.
    pub token: Token,
    /// Its line.
    pub line: usize,
}

impl Placed {
    /// Whether it is this name.
    pub fn is_name(&self, text: &str) -> bool {
        matches!(&self.token, Token::Name(name) if name == text)
    }

    /// The name that it is.
    pub fn name(&self) -> Option<&str> {
        match &self.token {
            Token::Name(name) => Some(name),
            _ => None,
        }
    }
}

/// The tokens of a source.
pub fn tokens(text: &str) -> Vec<Placed> {
    let mut lexer = Lexer { rest: text.chars().peekable(), line: 1 };
    let mut found = Vec::new();
    while let Some(token) = lexer.next_token() {
        found.push(Placed { token, line: lexer.line });
    }
    found
}

/// Behind the token that closes the one at `open`.
pub fn behind_group(tokens: &[Placed], open: usize) -> usize {
    let mut depth = 0_usize;
    for (at, placed) in tokens.iter().enumerate().skip(open) {
        match placed.token {
            Token::Open(_) => depth += 1,
            Token::Close(_) if depth <= 1 => return at + 1,
            Token::Close(_) => depth -= 1,
            _ => {}
        }
    }
    tokens.len()
}

struct Lexer<'a> {
    rest: Peekable<Chars<'a>>,
    line: usize,
}

impl Lexer<'_> {
    fn next_token(&mut self) -> Option<Token> {
        loop {
            let first = self.take()?;
            let second = self.rest.peek().copied();
            return Some(match (first, second) {
                (space, _) if space.is_whitespace() => continue,
                ('/', Some('/')) => {
                    self.take_while(|next| next != '\n');
                    continue;
                }
                ('/', Some('*')) => {
                    self.block_comment();
                    continue;
                }
                ('"', _) => self.string(),
                ('\'', _) => self.character_or_lifetime(),
                (':', Some(':')) => self.two(Token::Path),
                ('-', Some('>')) => self.two(Token::Arrow),
                ('(' | '[' | '{', _) => Token::Open(first),
                (')' | ']' | '}', _) => Token::Close(first),
                (digit, _) if digit.is_ascii_digit() => self.number(),
                (letter, _) if letter.is_alphabetic() || letter == '_' => self.name_or_prefixed(letter),
                _ => Token::Mark(first),
            });
        }
    }

    fn take(&mut self) -> Option<char> {
        let next = self.rest.next()?;
        self.line += usize::from(next == '\n');
        Some(next)
    }

    fn take_while(&mut self, wanted: impl Fn(char) -> bool) -> String {
        let mut taken = String::new();
        while let Some(next) = self.rest.peek().copied().filter(|next| wanted(*next)) {
            taken.push(next);
            self.take();
        }
        taken
    }

    fn two(&mut self, token: Token) -> Token {
        self.take();
        token
    }

    /// They nest.
    fn block_comment(&mut self) {
        self.take();
        let mut depth = 1;
        while depth > 0 {
            match (self.take(), self.rest.peek()) {
                (Some('/'), Some('*')) => {
                    self.take();
                    depth += 1;
                }
                (Some('*'), Some('/')) => {
                    self.take();
                    depth -= 1;
                }
                (None, _) => return,
                _ => {}
            }
        }
    }

    fn string(&mut self) -> Token {
        while let Some(next) = self.take() {
            match next {
                '\\' => drop(self.take()),
                '"' => break,
                _ => {}
            }
        }
        Token::Other
    }

    /// `r"…"`, `r#"…"#`: it ends at a quote with as many signs behind it.
    fn raw_string(&mut self, signs: usize) -> Token {
        while let Some(next) = self.take() {
            if next == '"' && (0..signs).all(|_| self.rest.next_if_eq(&'#').is_some()) {
                break;
            }
        }
        Token::Other
    }

    /// `'x'`, `'\n'` or `'a`.
    fn character_or_lifetime(&mut self) -> Token {
        match self.take() {
            Some('\\') => {
                self.take();
                self.take_while(|next| next != '\'');
                self.take();
            }
            Some(letter) if letter.is_alphanumeric() || letter == '_' => {
                let name = self.take_while(|next| next.is_alphanumeric() || next == '_');
                if name.is_empty() {
                    self.rest.next_if_eq(&'\'');
                }
            }
            _ => drop(self.take()),
        }
        Token::Other
    }

    /// `0..5` has two numbers, `1.5` is one.
    fn number(&mut self) -> Token {
        self.take_while(|next| next.is_alphanumeric() || next == '_');
        let mut ahead = self.rest.clone();
        if ahead.next() == Some('.') && ahead.next().is_some_and(|next| next.is_ascii_digit()) {
            self.take();
            self.take_while(|next| next.is_alphanumeric() || next == '_');
        }
        Token::Other
    }

    fn name_or_prefixed(&mut self, first: char) -> Token {
        let rest = self.take_while(|next| next.is_alphanumeric() || next == '_');
        let name = format!("{first}{rest}");
        let is_prefix = ["r", "b", "c", "br", "cr"].contains(&name.as_str());
        match self.rest.peek() {
            Some('"') if is_prefix && name.contains('r') => {
                self.take();
                self.raw_string(0)
            }
            Some('"') if is_prefix => {
                self.take();
                self.string()
            }
            Some('\'') if name == "b" => {
                self.take();
                self.character_or_lifetime()
            }
            Some('#') if is_prefix && name.contains('r') => {
                let signs = self.take_while(|next| next == '#').len();
                if self.rest.next_if_eq(&'"').is_some() { self.raw_string(signs) } else { self.raw_name() }
            }
            _ => Token::Name(name),
        }
    }

    fn raw_name(&mut self) -> Token {
        Token::Name(self.take_while(|next| next.is_alphanumeric() || next == '_'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        tokens(text).iter().filter_map(|placed| placed.name().map(str::to_owned)).collect()
    }

    #[test]
    fn comments_and_literals_hold_no_names() {
        for text in [
            "// b\na c",
            "/* b /* b */ b */ a c",
            r#"a "b \" b" c"#,
            "a r\"b\\\" c",
            "a r#\"b \" b\"# c",
            "a br##\"b \"# b\"## c",
            "a b\"b\" c",
            "a 'b' c",
            r"a '\'' c",
            r"a '\u{b}' c",
            "a b'b' c",
            "a '\"' c",
            "a<'b> c",
            "a 1.5 0..5 0xb c",
            "a \"b\n b\" c",
        ] {
            assert_eq!(names(text), ["a", "c"], "{text}");
        }
        assert_eq!(names("a.0.b r#type"), ["a", "b", "type"]);
    }

    #[test]
    fn a_token_knows_its_line() {
        let found = tokens("a\n\"\n\"\n/*\n*/ b");
        assert_eq!(found.iter().map(|placed| placed.line).collect::<Vec<_>>(), [1, 3, 5]);
    }

    #[test]
    fn a_group_ends_where_its_bracket_closes() {
        let found = tokens("a (b [c] {d}) e");
        assert_eq!(found[behind_group(&found, 1)].name(), Some("e"));
    }
}
