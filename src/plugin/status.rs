//! `kubectl keywright status`.

use super::{PluginError, cluster::Cluster, report::Report, table, usage};
use crate::{
    ambient,
    api::OAuthClient,
    cli::{Form, StatusArgs},
};
use kube::api::ListParams;

/// One client in detail, or a line for each.
pub(super) async fn status(arguments: &StatusArgs) -> Result<String, PluginError> {
    let cluster = Cluster::connect(&arguments.cluster).await.map_err(PluginError::Cluster)?;
    match &arguments.client {
        Some(name) => one(&cluster, name, arguments.output).await,
        None => all(&cluster, arguments).await,
    }
}

async fn one(cluster: &Cluster, name: &str, form: Form) -> Result<String, PluginError> {
    let client: OAuthClient = cluster.read(&cluster.namespace, name).await.map_err(PluginError::Cluster)?;
    let mut report = Report::of(&client);
    usage::complete(cluster, &mut report).await;
    let warnings = usage::warnings(cluster, &client).await;
    match form {
        Form::Json => Ok(json(&report)),
        Form::Text => Ok(table::detail(&report, ambient::now()) + &warnings),
    }
}

async fn all(cluster: &Cluster, arguments: &StatusArgs) -> Result<String, PluginError> {
    let listed = if arguments.all_namespaces {
        cluster.list_everywhere::<OAuthClient>(&ListParams::default()).await
    } else {
        cluster.list::<OAuthClient>(&cluster.namespace, &ListParams::default()).await
    };
    let reports: Vec<Report> = listed.map_err(PluginError::Cluster)?.iter().map(Report::of).collect();
    match arguments.output {
        Form::Json => Ok(json(&reports)),
        Form::Text if reports.is_empty() && arguments.all_namespaces => Ok("no OAuthClient in any namespace\n".to_owned()),
        Form::Text if reports.is_empty() => Ok(format!("no OAuthClient in the namespace {}\n", cluster.namespace)),
        Form::Text => Ok(table::overview(&reports, arguments.all_namespaces, ambient::now())),
    }
}

fn json(reports: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(reports).unwrap_or_default() + "\n"
}
