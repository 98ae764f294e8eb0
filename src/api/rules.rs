//! The rules that several fields share, in CEL. Not `pattern`: its refusal shows a regular expression, these say what to write.

use kube::core::Rule;

/// A scope token (RFC 6749 §3.3).
const SCOPE: &str = r"matches('^[!#-\\[\\]-~]+$')";
/// A DNS label.
const LABEL: &str = "matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')";
/// A DNS subdomain.
const SUBDOMAIN: &str = "matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')";

fn rule(rule: impl Into<String>, message: &str) -> Rule {
    Rule::new(rule).message(message)
}

pub(super) fn scope() -> Rule {
    rule(format!("self.{SCOPE}"), "a scope is one word of printable ASCII without space, quotation mark and backslash")
}

pub(super) fn scopes() -> Rule {
    rule(
        format!("self.all(s, s.{SCOPE})"),
        "a scope is one word of printable ASCII without space, quotation mark and backslash: write each scope as an entry of its own",
    )
}

pub(super) fn installation() -> Rule {
    rule(
        format!("self.{LABEL}"),
        "issuer is the name of a Keywright installation (its --name): lower-case letters, digits and '-'; the URL is not meant",
    )
}

/// For the whole spec. Absent is `default`, so that one may be written for the other.
pub(super) fn issuer_stays() -> Rule {
    let issuer = |spec: &str| format!("(has({spec}.issuer) ? {spec}.issuer : '{}')", super::DEFAULT_ISSUER);
    rule(
        format!("{} == {}", issuer("self"), issuer("oldSelf")),
        "issuer cannot change, because another installation has other keys and another token endpoint: create a second object of another name for it, or delete this one and create it anew",
    )
}

pub(super) fn client_id() -> Rule {
    rule("self.matches('^[A-Za-z0-9._-]+$')", "a client id has letters, digits, '.', '_' and '-' alone, as in <namespace>.<name>")
}

pub(super) fn resource() -> Rule {
    let name = SUBDOMAIN.replace("('^", "('^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?");
    rule(format!("self.{name}"), "write <namespace>/<name> of a ProtectedResource, or its <name> alone if it is in this namespace")
}

pub(super) fn audience() -> Rule {
    rule(
        r"self.matches('^[A-Za-z][A-Za-z0-9+.-]*:[!$-;=?-\\[\\]-~]+$')",
        "an audience is an absolute URI without a fragment: write https://<name>.<namespace>.svc, or leave audience out, which means that",
    )
}

/// SPIFFE-ID §2.1 and §2.2. RE2 cannot say within one expression that no segment is `.` or `..`.
pub(super) fn spiffe_ids() -> Rule {
    rule(
        "self.all(i, i.matches('^spiffe://[a-z0-9._-]+(/[A-Za-z0-9._-]+)+$') && !i.matches('/[.][.]?(/|$)'))",
        "a SPIFFE ID is spiffe://<trust domain>/<path>, as in spiffe://example.org/ns/billing/sa/worker; it stands for one workload, without wildcards, and no part of its path is '.' or '..'",
    )
}

pub(super) fn object_name() -> Rule {
    rule(format!("self.{SUBDOMAIN}"), "a name has lower-case letters, digits, '-' and '.', and begins and ends with a letter or a digit")
}

pub(super) fn namespaces() -> Rule {
    rule(
        format!("self.all(n, n.{LABEL})"),
        "namespaces are given by name, without wildcards: write each name as an entry, or use namespaceSelector",
    )
}

pub(super) fn clients() -> Rule {
    rule(
        format!("self.all(n, n.{SUBDOMAIN})"),
        "clients are the names of OAuthClients, without namespace and wildcards; for every client of the namespace leave clients out",
    )
}

pub(super) fn duration() -> Rule {
    let pattern = crate::domain::duration::PATTERN;
    rule(format!("self.matches('{pattern}')"), "write a whole number and one unit: 90s, 15m, 24h or 30d")
}

pub(super) fn at_least_a_minute() -> Rule {
    rule(
        "!self.matches('^[1-9][0-9]{0,4}s$') || int(self.substring(0, size(self) - 1)) >= 60",
        "a token is valid for at least a minute: write 1m or more",
    )
}

pub(super) fn at_least_ten_minutes() -> Rule {
    rule(
        format!("!{} || {} >= 600", is_duration("self"), seconds("self")),
        "a replaced secret stays accepted for at least ten minutes, because the kubelet takes minutes to renew mounted files: write 10m or more",
    )
}

pub(super) fn more_than_ten_minutes() -> Rule {
    rule(
        format!("!{} || {} > 600", is_duration("self"), seconds("self")),
        "every is longer than overlap, which is at least ten minutes: write 11m or more",
    )
}

pub(super) fn every_is_longer_than_overlap() -> Rule {
    let (every, overlap) = ("self.every", "self.overlap");
    let given = format!("!{} || {} > {}", is_duration(every), seconds(every), seconds(overlap));
    let compared = format!("(has(self.every) ? {given} : 2592000 > {})", seconds(overlap));
    rule(
        format!("!has(self.overlap) || !{} || (has(self.policy) && self.policy == 'Manual') || {compared}", is_duration(overlap)),
        "overlap is shorter than every (30d where it is left out), or an earlier secret would never go: write a shorter overlap, a longer every, or policy: Manual",
    )
}

pub(super) fn max_overlap_is_at_least_overlap() -> Rule {
    let (longest, overlap) = ("self.maxOverlap", "self.overlap");
    let readable = format!("{} && {}", is_duration(overlap), is_duration(longest));
    rule(
        format!("!has(self.overlap) || !has(self.maxOverlap) || !({readable}) || {} >= {}", seconds(longest), seconds(overlap)),
        "maxOverlap is at least overlap, which every replaced secret gets: write a longer maxOverlap or a shorter overlap",
    )
}

fn is_duration(value: &str) -> String {
    format!("{value}.matches('{}')", crate::domain::duration::PATTERN)
}

/// CEL's own durations know no days.
fn seconds(value: &str) -> String {
    format!("({value}.endsWith('d') ? int({value}.substring(0, size({value}) - 1)) * 86400 : duration({value}).getSeconds())")
}
