//! The resources that the suite reads.

use mcp_protocol::{Resource, ResourceContents, ResourceData, ResourceTemplate};

use crate::tools::PNG;

pub(crate) fn list() -> Vec<Resource> {
    let resource = |uri: &str, name: &str, mime_type: &str| Resource {
        uri: uri.to_owned(),
        name: name.to_owned(),
        description: Some(format!("{name} for the suite.")),
        mime_type: Some(mime_type.to_owned()),
        ..Resource::default()
    };
    vec![
        resource("test://static-text", "Static text", "text/plain"),
        resource("test://static-binary", "Static bytes", "image/png"),
        resource("test://watched-resource", "Watched resource", "text/plain"),
    ]
}

pub(crate) fn templates() -> Vec<ResourceTemplate> {
    vec![ResourceTemplate {
        uri_template: "test://template/{id}/data".to_owned(),
        name: "Template".to_owned(),
        description: Some("Data by its identifier.".to_owned()),
        mime_type: Some("application/json".to_owned()),
        ..ResourceTemplate::default()
    }]
}

pub(crate) fn read(uri: &str) -> Option<ResourceContents> {
    let templated = uri
        .strip_prefix("test://template/")
        .and_then(|rest| rest.strip_suffix("/data"));
    let (mime_type, data) = match uri {
        "test://static-text" => (
            "text/plain",
            ResourceData::Text("This is the content of the static text resource.".to_owned()),
        ),
        "test://static-binary" => ("image/png", ResourceData::Blob(PNG.to_vec())),
        "test://watched-resource" => ("text/plain", ResourceData::Text("Watched.".to_owned())),
        _ => {
            let id = templated?;
            let data = serde_json::json!({
                "id": id, "templateTest": true, "data": format!("Data for ID: {id}")
            });
            ("application/json", ResourceData::Text(data.to_string()))
        }
    };
    Some(ResourceContents {
        uri: uri.to_owned(),
        mime_type: Some(mime_type.to_owned()),
        data,
    })
}
