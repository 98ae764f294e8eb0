//! The custom resource definitions, as the API server gets them.

use super::{OAuthClient, ProtectedResource};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::CustomResourceExt;

/// The definitions of every kind.
#[must_use]
pub fn crds() -> Vec<CustomResourceDefinition> {
    [OAuthClient::crd(), ProtectedResource::crd()].map(tidied).into()
}

/// The same as YAML documents: what `keywright crds` prints.
///
/// # Errors
/// Where a definition cannot be written as YAML.
pub fn crds_yaml() -> Result<String, serde_saphyr::SerializeError> {
    let documents: Result<Vec<_>, _> = crds().iter().map(serde_saphyr::to_string).collect();
    Ok(documents?.join("---\n"))
}

fn tidied(mut crd: CustomResourceDefinition) -> CustomResourceDefinition {
    for version in &mut crd.spec.versions {
        if let Some(schema) = version.schema.as_mut().and_then(|validation| validation.open_api_v3_schema.as_mut()) {
            tidy(schema);
        }
    }
    crd
}

/// No null: absent is the one way to say nothing, and a null would be something else again to CEL and to GitOps tools.
/// No line ends in descriptions: those are where the comments in the source happen to break.
fn tidy(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    schema.description = schema.description.take().map(|text| text.replace('\n', " "));
    for property in schema.properties.iter_mut().flat_map(|properties| properties.values_mut()) {
        tidy(property);
    }
    if let Some(JSONSchemaPropsOrArray::Schema(items)) = &mut schema.items {
        tidy(items);
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        tidy(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files in crds/ and what they must hold.
    fn files() -> Vec<(String, String)> {
        let file = |crd: &CustomResourceDefinition| (format!("{}.yaml", crd.spec.names.plural), serde_saphyr::to_string(crd).unwrap());
        crds().iter().map(file).collect()
    }

    #[test]
    fn the_files_in_crds_are_what_the_types_print() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
        for (name, expected) in files() {
            let path = folder.join(name);
            if std::env::var_os("UPDATE").is_some() {
                std::fs::write(&path, &expected).unwrap();
            }
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(found == expected, "{} differs from the types: run the tests once with UPDATE=1", path.display());
        }
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), files().len());
    }

    /// A default in the schema would show as drift in GitOps tools; a null is not a way to say nothing.
    #[test]
    fn the_schemas_have_no_default_and_no_null() {
        for (name, yaml) in files() {
            let lines = || yaml.lines().map(|line| line.trim_start_matches(['-', ' ']));
            assert_eq!(lines().find(|line| line.starts_with("default:")), None, "{name}");
            assert_eq!(lines().find(|line| line.starts_with("nullable:")), None, "{name}");
        }
    }

    /// A string, list or map without a bound makes CEL rules costly and objects large.
    #[test]
    fn everything_in_a_spec_is_bounded() {
        for crd in crds() {
            let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
            let mut unbounded = Vec::new();
            visit(&schema["openAPIV3Schema"]["properties"]["spec"], "spec", &mut unbounded);
            assert_eq!(unbounded, Vec::<String>::new());
        }
    }

    fn visit(schema: &serde_json::Value, path: &str, unbounded: &mut Vec<String>) {
        let has = |key: &str| schema.get(key).is_some();
        let bounded = match schema["type"].as_str() {
            Some("string") => has("maxLength") || has("enum") || has("format") || path.contains(".claims."),
            Some("array") => has("maxItems"),
            Some("object") => has("maxProperties") || (has("properties") && !has("additionalProperties")),
            _ => true,
        };
        if !bounded {
            unbounded.push(path.to_owned());
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            visit(property, &format!("{path}.{name}"), unbounded);
        }
        for inner in ["items", "additionalProperties"].iter().filter_map(|key| schema.get(key)) {
            visit(inner, &format!("{path}[]"), unbounded);
        }
    }

    #[test]
    fn the_definitions_print_as_yaml_documents() {
        let documents = crds_yaml().unwrap();
        assert_eq!(documents.matches("kind: CustomResourceDefinition").count(), 2);
        assert!(documents.contains("\n---\n"));
    }
}
