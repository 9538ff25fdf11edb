//! `tidemill workflows`.

mod documents;
mod graph;
mod remote;

use fleet::config::Overrides;
use fleet::{Declared, Fault, Settings};

use crate::args::{Format, Workflows};
use crate::client::Client;

pub(crate) async fn run(command: Workflows) -> Result<(), Fault> {
    match command {
        Workflows::Validate { files, roles, gates, config, json } => {
            let settings = Settings::load(&Overrides { config, ..Overrides::default() })?;
            let declared = Declared::in_settings(&settings)?.with_roles(&roles).with_gates(&gates)?;
            documents::validate(&files, &declared, json)
        }
        Workflows::Graph { what, svg, mermaid, output, gateway } => {
            let format = Format::of(svg, mermaid, output.as_deref());
            graph::graph(Client::known(&gateway)?.as_ref(), &what, format, output.as_deref()).await
        }
        Workflows::Diff { old, new } => documents::diff(&old, &new),
        Workflows::Test { files } => documents::test(&files),
        Workflows::New { name, steps } => documents::new(&name, &steps),
        Workflows::Register { file, gateway } => remote::register(&Client::of(&gateway)?, &file).await,
        Workflows::Activate { version, runs, gateway } => {
            remote::activate(&Client::of(&gateway)?, &version, runs).await
        }
        Workflows::List { json, gateway } => remote::list(&Client::of(&gateway)?, json).await,
        Workflows::Show { version, gateway } => remote::show(&Client::of(&gateway)?, &version).await,
    }
}
