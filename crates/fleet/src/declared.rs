//! What registration knows beside a document: the worker types, and what the configuration declares of roles and gates.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rails::{Catalog, Faults, GatePolicies, Workflow};
use serde_json::Value;

use crate::config::GateFiles;
use crate::{Fault, KnownOutlets, KnownTools, Process, Roles, Settings};

/// What a configuration declares; by default nothing is, and any role and any gate is taken.
#[derive(Debug, Clone, Default)]
pub struct Declared {
    roles: Roles,
    /// `None` where gates are not known here, and not checked.
    gates: Option<Arc<GatePolicies>>,
    /// `None` where tools are not known here, and not checked.
    tools: Option<KnownTools>,
    outlets: KnownOutlets,
}

impl Declared {
    /// What a process's configuration declares.
    #[must_use]
    pub fn of(process: &Process) -> Self {
        Self {
            roles: Roles::of(&process.settings),
            gates: Some(Arc::clone(&process.gates)),
            tools: Some(KnownTools::of(&process.settings)),
            outlets: KnownOutlets::of(&process.settings),
        }
    }

    /// What a configuration declares that no process has read; gates are checked where it names files of them.
    ///
    /// # Errors
    /// [`Fault`] of kind usage, naming file, line and column.
    pub fn in_settings(settings: &Settings) -> Result<Self, Fault> {
        let tools = settings.given("tools").map(|_| KnownTools::of(settings));
        let outlets = KnownOutlets::of(settings);
        Self { roles: Roles::of(settings), gates: None, tools, outlets }
            .with_gates(&settings.shared.gates.files)
    }

    /// With the roles of a section `agent`.
    #[must_use]
    pub fn with_section(self, agent: &Value) -> Self {
        Self { roles: Roles::in_section(agent), ..self }
    }

    /// With exactly these roles, where there are any.
    #[must_use]
    pub fn with_roles(self, names: &[String]) -> Self {
        if names.is_empty() { self } else { Self { roles: self.roles.naming(names), ..self } }
    }

    /// With the gates of these documents, where there are any.
    ///
    /// # Errors
    /// [`Fault`] of kind usage, naming file, line and column.
    pub fn with_gates(self, files: &[PathBuf]) -> Result<Self, Fault> {
        if files.is_empty() {
            return Ok(self);
        }
        let gates = GateFiles { files: files.to_vec() }.read()?;
        Ok(Self { gates: Some(Arc::new(gates)), ..self })
    }

    /// Whether a role acts outside.
    #[must_use]
    pub fn has_acting_roles(&self) -> bool {
        !self.roles.acting().is_empty()
    }

    /// Checks a document as a whole and compiles it, as [`Workflow::register`] does.
    ///
    /// # Errors
    /// [`Faults`]: everything that is wrong, at once.
    pub fn register(&self, yaml: &str, overrides: &BTreeMap<String, Value>) -> Result<Workflow, Faults> {
        let workers: Vec<&str> = streams::WORK_STREAMS.iter().map(|stream| stream.worker).collect();
        let (roles, acting) = (self.roles.known(), self.roles.acting());
        let gates = self.gates.as_deref().map(GatePolicies::known);
        let tools = self.tools.as_ref().map(KnownTools::names);
        let harmless = self.tools.as_ref().map(KnownTools::harmless).unwrap_or_default();
        let outlets = self.outlets.known();
        let catalog = Catalog {
            workers: &workers,
            roles: roles.as_deref(),
            acting_roles: &acting,
            gates: gates.as_deref(),
            tools: tools.as_deref(),
            harmless_tools: &harmless,
            outlets: &outlets,
        };
        Workflow::register(yaml, overrides, &catalog)
    }
}
