//! An error and what caused it, for the last line that a person sees.

use std::error::Error;

/// The error and its causes, outermost first, in one line; what an outer one repeats of an inner one is told once.
#[must_use]
pub fn in_one_line(error: &(dyn Error + 'static)) -> String {
    let mut told = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(found) = cause {
        let text = found.to_string();
        if !told.iter().any(|earlier| earlier.contains(&text)) {
            told.push(text);
        }
        cause = found.source();
    }
    told.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Layer {
        text: &'static str,
        source: Option<Box<Layer>>,
    }

    #[test]
    fn each_cause_is_told_once() {
        let layers = ["request failed", "connect: refused", "refused", "code 111"];
        let error = layers.into_iter().rev().fold(None, |source, text| Some(Box::new(Layer { text, source })));
        assert_eq!(in_one_line(&*error.unwrap()), "request failed: connect: refused: code 111");
    }
}
