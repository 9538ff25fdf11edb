//! Drawings: of a document, and of what is registered, with how many runs stand at each step.

use std::collections::BTreeMap;
use std::path::Path;

use fleet::Fault;
use rails::{Graph, Workflow};
use serde_json::Value;

use super::documents::Document;
use crate::args::Format;
use crate::client::{self, Client};
use crate::table;

/// Draws a document, or a registered workflow by its version, or by its name the active one. A gateway is asked for what it
/// has registered, and says how many runs stand where; without one a document is drawn here.
pub(super) async fn graph(
    client: Option<&Client>,
    what: &Path,
    format: Format,
    output: Option<&Path>,
) -> Result<(), Fault> {
    let written = Document::read(what).and_then(|document| document.checked());
    let in_hand = what.exists() || what == Path::new("-");
    let name = match &written {
        Ok(workflow) if in_hand => workflow.version().to_owned(),
        _ => what.display().to_string(),
    };
    let version = match client {
        Some(client) => registered(client, &name).await?,
        None => None,
    };
    let text = match client.zip(version) {
        Some((client, version)) => {
            let (version, format) = (client::escaped(&version), format.as_str());
            client.get_text(&format!("/v1/workflows/{version}/graph?format={format}")).await?
        }
        None => drawn_here(&written?, format)?,
    };
    match output {
        Some(path) => std::fs::write(path, text)
            .map_err(|e| Fault::usage(format!("{} cannot be written: {e}", path.display()))),
        None => {
            print!("{text}");
            Ok(())
        }
    }
}

/// The registered version of this name, or the one that is active under it.
async fn registered(client: &Client, name: &str) -> Result<Option<String>, Fault> {
    let listed = client.get("/v1/workflows").await?;
    let meant =
        |one: &&Value| one["pipeline_version"] == name || one["name"] == name && one["active"] == true;
    let found = listed["workflows"].as_array().into_iter().flatten().find(meant);
    Ok(found.map(|one| table::plain(&one["pipeline_version"])))
}

fn drawn_here(workflow: &Workflow, format: Format) -> Result<String, Fault> {
    let graph = Graph::of(workflow).map_err(|faults| Fault::bug(faults.to_string()))?;
    Ok(match format {
        Format::Mermaid => graph.mermaid(&BTreeMap::new()),
        Format::Svg => graph.svg(&BTreeMap::new()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_gateway_documents_are_drawn_and_versions_are_not_known() {
        let folder = tempfile::tempdir().unwrap();
        let drawing = folder.path().join("site.svg");
        let draw = async |what: &str| graph(None, Path::new(what), Format::Svg, Some(&drawing)).await;
        draw("build_website").await.unwrap();
        assert!(std::fs::read_to_string(&drawing).unwrap().starts_with("<svg"));
        let unknown = draw("build_website@1-0a1b2c3d4e5f").await.unwrap_err();
        assert!(unknown.message.contains("cannot be read"), "{unknown}");
    }
}
