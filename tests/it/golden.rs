//! Golden files: what people read, as `tests/golden/` holds it. `UPDATE=1 cargo test` writes them anew.

use std::path::Path;

/// Fails where `actual` is not what the golden file holds.
pub(crate) fn assert_golden(file: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(file);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    let line = expected.lines().zip(actual.lines()).position(|(one, other)| one != other);
    let line = line.unwrap_or_else(|| expected.lines().count().min(actual.lines().count()));
    let at = |text: &str| text.lines().nth(line).unwrap_or("(end)").to_owned();
    assert!(
        expected == actual,
        "{} differs in line {}:\n  there: {}\n  now:   {}\nIf the change is meant: UPDATE=1 cargo test",
        path.display(),
        line + 1,
        at(&expected),
        at(actual),
    );
}
