//! Which namespace owns an audience by its name alone.
//!
//! `https://<anything>.<namespace>.svc[.<cluster domain>][/path]` belongs to that namespace: the names that cluster DNS gives to
//! its Services. Strict, because whoever owns an audience decides who gets tokens for it: lower-case host, no port, no user, no
//! query, no escapes, no dot segments, so that no two of our audiences that a careless verifier takes for one have two owners.

/// The namespace that owns `audience`; `None`: nobody by name.
pub(super) fn owner<'a>(audience: &'a str, cluster_domain: &str) -> Option<&'a str> {
    let rest = audience.strip_prefix("https://")?;
    let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
    let labels: Vec<&str> = service_name(host, cluster_domain)?.split('.').collect();
    let (namespace, anything) = labels.split_last()?;
    let well_formed = !anything.is_empty() && labels.iter().all(|label| is_label(label));
    (well_formed && path.is_none_or(|path| path.is_empty() || is_plain_path(path))).then_some(namespace)
}

/// What stands before `.svc` or `.svc.<cluster domain>`: the longer of the two where both fit, so that there is one owner.
fn service_name<'a>(host: &'a str, cluster_domain: &str) -> Option<&'a str> {
    let qualified = host.strip_suffix(cluster_domain).filter(|_| !cluster_domain.is_empty());
    qualified.and_then(|host| host.strip_suffix(".svc.")).or_else(|| host.strip_suffix(".svc"))
}

/// A DNS label (RFC 1123) in lower case.
fn is_label(label: &str) -> bool {
    (1..=63).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Segments that mean to everybody what they say: no escapes, no query, none that is empty (but the last), `.` or `..`.
pub(super) fn is_plain_path(path: &str) -> bool {
    let path = path.strip_suffix('/').unwrap_or(path);
    path.split('/').all(|segment| !matches!(segment, "" | "." | "..") && segment.bytes().all(is_plain))
}

fn is_plain(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// S11.
    #[test]
    fn a_namespace_owns_the_names_of_its_services() {
        for audience in [
            "https://invoices.shop.svc",
            "https://invoices.shop.svc/",
            "https://invoices.shop.svc/v1/orders",
            "https://invoices.shop.svc.cluster.local",
            "https://invoices.shop.svc.cluster.local/v1/",
            "https://pod-0.invoices.shop.svc",
            "https://invoices.cluster.svc.shop.svc",
        ] {
            assert_eq!(owner(audience, "cluster.local"), Some("shop"), "{audience}");
        }
    }

    /// S11: what looks like another namespace's, or like several, is nobody's.
    #[test]
    fn whatever_is_ambiguous_is_nobodys() {
        for audience in [
            "http://invoices.shop.svc",
            "HTTPS://invoices.shop.svc",
            "https:invoices.shop.svc",
            "https:///invoices.shop.svc",
            "https://shop.svc",
            "https://.shop.svc",
            "https://invoices.shop.svc.",
            "https://invoices..shop.svc",
            "https://Invoices.shop.svc",
            "https://invoices.SHOP.svc",
            "https://invoices.shop.SVC",
            "https://invoices.shop.svc:443",
            "https://invoices.shop.svc:443/x",
            "https://billing@invoices.shop.svc",
            "https://invoices.billing.svc@x.shop.svc",
            "https://invoices.billing.svc:x@x.shop.svc",
            "https://invoices.billing.svc%2f.shop.svc",
            "https://invoices.billing.svc\\.shop.svc",
            "https://*.shop.svc",
            "https://invoices_.shop.svc",
            "https://-invoices.shop.svc",
            "https://invoices.shop.svc?x",
            "https://invoices.shop.svc/?x",
            "https://invoices.shop.svc/a?x=/b",
            "https://invoices.shop.svc//x",
            "https://invoices.shop.svc/./x",
            "https://invoices.shop.svc/../x",
            "https://invoices.shop.svc/x/..",
            "https://invoices.shop.svc/%2e%2e/x",
            "https://invoices.shop.svc/a b",
            "https://invoices.shop.svc.cluster.local.evil.example",
            "https://invoices.shop.svc.evil.example",
            "https://invoices.shop.svcx",
            "https://invoices.shop.svc.cluster.localx",
            "https://invoices.shop.svccluster.local",
            "urn:invoices.shop.svc",
            "",
        ] {
            assert_eq!(owner(audience, "cluster.local"), None, "{audience}");
        }
    }

    #[test]
    fn there_is_one_owner_whatever_the_cluster_is_called() {
        assert_eq!(owner("https://a.b.svc.c.svc", "c.svc"), Some("b"));
        assert_eq!(owner("https://a.b.svc", ""), Some("b"));
        assert_eq!(owner("https://a.b.svc.", ""), None);
    }

    proptest! {
        #[test]
        fn no_text_has_an_owner_that_is_not_the_label_before_svc(text in "(https://)?[a-z.@:/%?-]{0,12}(shop|billing)?[.]svc([.]cluster[.]local)?[/a-z.%?@:]{0,8}") {
            if let Some(namespace) = owner(&text, "cluster.local") {
                let url = url::Url::parse(&text).unwrap();
                let host = url.host_str().unwrap();
                let service = host.strip_suffix(".svc.cluster.local").or_else(|| host.strip_suffix(".svc")).unwrap();
                prop_assert_eq!(service.rsplit('.').next().unwrap(), namespace);
                prop_assert!(url.username().is_empty() && url.port().is_none() && url.query().is_none());
                prop_assert!(url.as_str() == text || url.as_str() == format!("{text}/"), "{} is normalised to {}", text, url);
            }
        }
    }
}
