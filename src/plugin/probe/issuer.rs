//! Gets the tokens from the issuer: with the token of a ServiceAccount, in the body of the request, because the API server keeps an
//! Authorization header for itself; by way of the API server, which reaches what people's machines do not.

use super::{ProbeError, Target, sender};
use crate::{
    api::verification,
    causes,
    cli::ProbeArgs,
    plugin::{
        ClusterError, PluginError,
        cluster::{Answered, Cluster},
    },
};
use k8s_openapi::api::core::v1::ConfigMap;
use serde::Deserialize;
use url::Url;
use zeroize::Zeroizing;

/// Below the issuer's path (`oauth::metadata`).
const PATH: &str = "/oauth2/probe";
/// RFC 7523 §2.2.
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Ports of the chart's Service, which are called as what is spoken there.
const SCHEMES: [&str; 2] = ["https", "http"];
/// What the API server says of a port that is not there, and of one that no pod is behind.
const NOBODY_THERE: &str = "no endpoints available";

#[derive(Deserialize)]
struct Minted {
    tokens: Vec<Token>,
}

/// One of the tokens, which open nothing at an API that is right.
#[derive(Deserialize)]
pub(super) struct Token {
    pub(super) case: String,
    pub(super) token: String,
}

#[derive(Deserialize, Default)]
struct Refusal {
    error: String,
    #[serde(default)]
    error_description: String,
}

/// The tokens for this API.
pub(super) async fn tokens(cluster: &Cluster, target: &Target, arguments: &ProbeArgs) -> Result<Vec<Token>, PluginError> {
    let account = &arguments.service_account;
    let assertion = cluster.service_account_token(account, &target.issuer).await.map_err(|error| match error {
        ClusterError::Missing { namespace, name, .. } => PluginError::Probe(ProbeError::NoAccount { namespace, name }),
        error => PluginError::Cluster(error),
    })?;
    let resource = format!("{}/{}", cluster.namespace, arguments.resource);
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("client_assertion_type", JWT_BEARER).append_pair("client_assertion", &assertion);
    let form = Zeroizing::new(form.append_pair("protected_resource", &resource).finish());
    let Answered { status, body } =
        if arguments.direct { direct(cluster, target, &form).await? } else { through_api_server(cluster, target, &form).await? };
    if status == 200 {
        let minted: Minted = serde_json::from_slice(&body).map_err(|_| PluginError::Probe(ProbeError::NotTheIssuer { status }))?;
        return Ok(minted.tokens);
    }
    let refusal: Refusal = serde_json::from_slice(&body).unwrap_or_default();
    Err(PluginError::Probe(refused(status, &refusal, cluster, arguments)))
}

/// Whoever may call the one port may not call the other: that counts only where neither may be called.
async fn through_api_server(cluster: &Cluster, target: &Target, form: &str) -> Result<Answered, PluginError> {
    let path = format!("{}{PATH}", Url::parse(&target.issuer).map(|url| url.path().trim_end_matches('/').to_owned()).unwrap_or_default());
    let (mut refused, mut nobody) = (String::new(), None);
    for scheme in SCHEMES {
        let service = format!("{scheme}:{}:{scheme}", target.release);
        match cluster.post_to_service((&target.namespace, &service), &path, form).await {
            Err(ClusterError::OutOfReach { why, .. }) if why.contains(NOBODY_THERE) => nobody = Some(why),
            Err(ClusterError::Forbidden { message, .. }) if refused.is_empty() => refused = message,
            Err(ClusterError::Forbidden { .. }) => {}
            answered => return answered.map_err(PluginError::Cluster),
        }
    }
    let (namespace, release) = (target.namespace.clone(), target.release.clone());
    Err(PluginError::Probe(match nobody {
        Some(why) => ProbeError::OutOfReach { why },
        None => ProbeError::NoWay { namespace, release, message: refused },
    }))
}

/// At its URL, trusting the CA in the API's verification ConfigMap, or those of this system.
async fn direct(cluster: &Cluster, target: &Target, form: &str) -> Result<Answered, PluginError> {
    let ca = match &target.config_map {
        Some(name) => {
            let found: ConfigMap = cluster.read(&cluster.namespace, name).await.map_err(PluginError::Cluster)?;
            found.data.and_then(|mut data| data.remove(verification::CA))
        }
        None => None,
    };
    let out_of_reach = |why: String| PluginError::Probe(ProbeError::OutOfReach { why });
    let http = sender::trusting(ca.as_deref()).map_err(out_of_reach)?;
    let failed = |error: reqwest::Error| out_of_reach(causes::in_one_line(&error));
    let request = http.post(format!("{}{PATH}", target.issuer)).header(http::header::CONTENT_TYPE, "application/x-www-form-urlencoded");
    let response = request.body(form.to_owned()).send().await.map_err(failed)?;
    let status = response.status().as_u16();
    Ok(Answered { status, body: response.bytes().await.map_err(failed)?.into() })
}

fn refused(status: u16, refusal: &Refusal, cluster: &Cluster, arguments: &ProbeArgs) -> ProbeError {
    let (namespace, account, resource) = (cluster.namespace.clone(), arguments.service_account.clone(), arguments.resource.clone());
    match (status, refusal.error.as_str()) {
        (403, "access_denied") => ProbeError::MayNotProbe { namespace, account, resource },
        (404, "invalid_request") => ProbeError::SwitchedOff,
        (429 | 503, _) => ProbeError::OutOfReach { why: format!("{status} {}", printable(&refusal.error_description)) },
        (_, "") => ProbeError::NotTheIssuer { status },
        _ => ProbeError::Refused { error: printable(&refusal.error), description: printable(&refusal.error_description) },
    }
}

fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(300).collect()
}
