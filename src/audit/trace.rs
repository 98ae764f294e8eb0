//! `traceparent` (W3C Trace Context, section 3.2): of what a caller says about its trace, the id alone.

/// The trace's id: 32 hexadecimal digits. `None`: the value is not valid.
#[must_use]
pub fn trace_id(traceparent: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(traceparent).ok()?;
    let mut fields = text.splitn(5, '-');
    let mut field = |length| fields.next().filter(|field| is_hexadecimal(field, length));
    let (version, trace, parent, _flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
    // Later versions may have more to say, version 00 has not.
    let fits = version != "ff" && (version != "00" || fields.next().is_none());
    (fits && !is_zeros(trace) && !is_zeros(parent)).then(|| trace.to_owned())
}

fn is_hexadecimal(field: &str, length: usize) -> bool {
    field.len() == length && field.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_zeros(field: &str) -> bool {
    field.bytes().all(|byte| byte == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_valid_one_gives_its_id() {
        for rest in ["00-{}-00f067aa0ba902b7-01", "00-{}-00f067aa0ba902b7-00", "01-{}-00f067aa0ba902b7-01-more-of-it"] {
            assert_eq!(trace_id(rest.replace("{}", TRACE).as_bytes()).as_deref(), Some(TRACE), "{rest}");
        }
    }

    #[test]
    fn any_other_gives_none() {
        for text in [
            "",
            "-",
            "00",
            TRACE,
            "ff-{}-00f067aa0ba902b7-01",
            "00-{}-00f067aa0ba902b7-01-more",
            "00-{}-00f067aa0ba902b7-01-",
            "00-{}-0000000000000000-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-{}-00F067AA0BA902B7-01",
            "00-{}-00f067aa0ba902b7-1",
            "00-{}-00f067aa0ba902b7",
            "00-{}a-00f067aa0ba902b7-01",
            " 00-{}-00f067aa0ba902b7-01",
            "00-é{}-00f067aa0ba902b7-01",
        ] {
            assert_eq!(trace_id(text.replace("{}", TRACE).as_bytes()), None, "{text}");
        }
        assert_eq!(trace_id(b"00-\xff"), None);
    }
}
